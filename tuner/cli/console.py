"""Where text goes: results to stdout, progress and errors to stderr."""

import sys

from rich.console import Console

#: A file or a pipe has no width: tables are not folded there.
results = Console(width=None if sys.stdout.isatty() else 200)
errors = Console(stderr=True)
