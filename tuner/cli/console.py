"""Where text goes, results to stdout, progress and errors to stderr, and what ends a command from outside."""

import os
import signal
import sys
from pathlib import Path

from rich.console import Console

from tuner.errors import UsageError

#: A file or a pipe has no width, unless COLUMNS says one: lines are not folded there.
ENDLESS = 100_000
results = Console(width=None if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit() else ENDLESS)
errors = Console(stderr=True)


def say(console: Console, text: str) -> None:
    """A line as it is: not folded, and nothing in it is markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def heed_signals() -> None:
    """Ctrl-C and SIGTERM end the command in order, also where a shell that starts us with & has Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def check_writable(flag: str, path: Path) -> None:
    """Before minutes are spent on what would be written there. Raises UsageError."""
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{flag} {path} cannot be written: name a file in a folder that exists and can be written")


def write_file(flag: str, path: Path, text: str) -> None:
    """Raises UsageError when it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{flag} {path} cannot be written: {error.strerror}") from error


def write_json(json: str | None, text: str) -> None:
    """To --json's file or stdout, if it is given. Raises UsageError when the file cannot be written after all."""
    if json == "-":
        sys.stdout.write(text)
    elif json is not None:
        write_file("--json", Path(json), text)
