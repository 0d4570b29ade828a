"""Settings in, a running server out: find vLLM, resolve settings, start, wait until ready, stop."""
