"""Where text goes, results to stdout, progress and errors to stderr, and what ends a command from outside."""

import signal
import sys

from rich.console import Console

#: A file or a pipe has no width: tables are not folded there.
results = Console(width=None if sys.stdout.isatty() else 200)
errors = Console(stderr=True)


def say(console: Console, text: str) -> None:
    """A line as it is: not folded, and nothing in it is markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def heed_signals() -> None:
    """Ctrl-C and SIGTERM end the command in order, also where a shell that starts us with & has Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
