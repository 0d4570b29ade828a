"""Where text goes: results to stdout, progress and errors to stderr."""

from rich.console import Console

results = Console()
errors = Console(stderr=True)
