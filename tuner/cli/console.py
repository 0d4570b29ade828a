"""Where text goes, results to stdout, progress and errors to stderr."""

import ipaddress
import os
import re
import shutil
import sys
from pathlib import Path

from rich.console import Console

from tuner.errors import RunError, UsageError, is_full

#: A name of the DNS (RFC 1123), also with the underscores of container networks.
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.(?!-)[A-Za-z0-9_-]{1,63})*\.?")
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160)) if chr(code) not in "\n\t"}

#: A file or a pipe has no width, unless COLUMNS says one: lines are not folded there.
ENDLESS = 100_000
results = Console(width=None if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit() else ENDLESS)
errors = Console(stderr=True)


def say(console: Console, text: str) -> None:
    """A line as it is: not folded, and nothing in it is markup, or a command to the terminal."""
    console.print(plain(text), markup=False, highlight=False, soft_wrap=True)


def plain(text: str) -> str:
    """With control characters as text: names of servers, files and models come from elsewhere, and a terminal obeys."""
    return text.translate(_CONTROL)


def check_address(host: str, port: int) -> None:
    """Raises UsageError for what no server can listen on."""
    if not 1 <= port <= 65535:
        raise UsageError(f"--port is {port} and must be 1 to 65535")
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        if not _HOST.fullmatch(host) or len(host) > 253:
            raise UsageError(
                f"--host is {host!r} and must be an address or a name, such as 127.0.0.1, :: or localhost"
            ) from error


def check_writable(flag: str, path: Path) -> None:
    """Before minutes are spent on what would be written there. Raises UsageError."""
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{flag} {path} cannot be written: name a file in a folder that exists and can be written")


def write_file(flag: str, path: Path, text: str) -> None:
    """All of it or nothing: what was there stays when it cannot be written. Raises UsageError, RunError for a full disk."""
    if path.exists() and not path.is_file():  # a pipe, a device
        _write(flag, path, path, text)
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _write(flag, path, part, text)
        if path.exists():
            shutil.copymode(path, part)
        part.replace(path.resolve())
    except OSError as error:
        raise UsageError(f"{flag} {path} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _write(flag: str, named: Path, path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        if is_full(error):
            raise RunError(
                f"{flag} {named} cannot be written, the disk is full: free some space and run it again"
            ) from error
        raise UsageError(f"{flag} {named} cannot be written: {error.strerror}") from error


def write_json(json: str | None, text: str) -> None:
    """To --json's file or stdout, if it is given. Raises UsageError when the file cannot be written after all."""
    if json == "-":
        sys.stdout.write(text)
    elif json is not None:
        write_file("--json", Path(json), text)
