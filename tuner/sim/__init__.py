"""A vLLM that is not there: a real HTTP server whose times come from tuner.predict, and what starts it (docs/simulation.md).

`python -m tuner.sim` is a process of its own, started as often as vLLM would be: server.py and what it imports know nothing of
tuner's command line, database or optimizer. engine.py and launcher.py are its other side, in tuner's own process.
"""
