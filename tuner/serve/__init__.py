"""The service: studies over HTTP, a queue that survives restarts, and what watches them."""
