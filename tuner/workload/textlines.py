"""A path in; the lines of a text file out, or one sentence. Knows nothing of what they mean.

Made for files that a user names by mistake: folders, pipes that never end, binary files, one line of a gigabyte. Compressed
ones are read as what is in them.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from tuner.errors import UsageError

MAX_LINE_BYTES = 1 << 20
#: What compressed files begin with, and who opens them.
_PACKED: dict[bytes, Callable[[Path], object]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
#: What others begin with, and what to do with them.
_OTHERS = {
    b"PAR1": "a Parquet file: save it as JSONL",
    b"PK\x03\x04": "a zip archive: unpack it",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it",
}
#: What reading raises where the disk, or what was compressed, is broken.
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)


def open_data(path: Path) -> BinaryIO:
    """The file, opened for reading, unpacked if it is compressed. Raises UsageError where it is absent, no regular file, not
    readable or empty."""
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a directory: give the path of a file")
        if path.exists() and not path.is_file():
            raise UsageError(
                f"{path} is not a regular file: what it holds is read more than once, so save it as a file"
            )
        file = path.open("rb")
        if not path.stat().st_size:
            file.close()
            raise UsageError(f"{path}:1: the file is empty")
        head = file.read(8)
        file.seek(0)
        unpack = next((opened for begins, opened in _PACKED.items() if head.startswith(begins)), None)
        other = next((what for begins, what in _OTHERS.items() if head.startswith(begins)), None)
        if unpack is None and other is None:
            return file
        file.close()
        if unpack is None:
            raise UsageError(f"{path} is {other}")
        return cast(BinaryIO, unpack(path))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> UsageError:
    """The sentence for an error of the file system."""
    if isinstance(error, (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)):
        reason = "what is compressed in it is cut or broken"
    else:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UsageError(f"{path} cannot be read: {reason}")


def read_lines(path: Path, file: BinaryIO, max_bytes: int) -> Iterator[str]:
    """The lines that begin in the first `max_bytes`, each read when it is asked for; a byte order mark is dropped.

    Raises UsageError "path:line: ..." on a line that is too long, binary or not UTF-8.
    """
    number = 0
    while file.tell() < max_bytes and (line := _next_line(file, path)):
        number += 1
        yield _text(line, f"{path}:{number}").removeprefix("\ufeff" if number == 1 else "")


def _next_line(file: BinaryIO, path: Path) -> bytes:
    try:
        return file.readline(MAX_LINE_BYTES + 1)
    except BROKEN as error:
        raise unreadable(path, error) from error


def _text(line: bytes, where: str) -> str:
    if b"\0" in line:
        raise UsageError(f"{where}: this is binary data, not text")
    if len(line) > MAX_LINE_BYTES:
        raise UsageError(f"{where}: the line is longer than 1 MiB: write one record a line")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{where}: this is not UTF-8 text: convert the file, or unpack it if it is compressed"
        ) from error
