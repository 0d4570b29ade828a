"""A model of a vLLM server, without a GPU: what fits (memory.py), how long a step takes (step.py), what users see (serve.py).

A model's config.json, a card's data sheet and launch settings in; predictions out. Nothing here starts or measures anything.
"""
