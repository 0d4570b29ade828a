"""A server that speaks vLLM's HTTP and fails on request. For tests only."""
