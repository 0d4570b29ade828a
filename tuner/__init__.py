"""tuner: find the vLLM launch settings that are best for your GPU, model and users, by measuring."""

__version__ = "0.1.0"
