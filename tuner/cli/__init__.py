"""The command line: each command parses, calls one function, prints. Results on stdout, progress and errors on stderr."""

import sys

from tuner.cli.commands import app


def run() -> None:
    """The console script; commands.py turns errors into a sentence and an exit code."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `tuner trials | head`
        sys.stderr.close()
        sys.exit(0)
