"""What the client, vLLM, the GPU and the CPU saw during the steady window. Knows nothing of trials or settings."""
