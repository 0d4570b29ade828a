"""Scripts that run outside tuner, two of them in vLLM's interpreter: they import nothing of tuner."""
