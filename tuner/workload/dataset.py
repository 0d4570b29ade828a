"""A file of conversations in; their first prompts and the answers out, or one sentence with file and line.

It knows nothing of tokens. One JSON object a conversation, a line each (JSONL) or in one array as ShareGPT's own file; what it
may look like stands in tuner/workload/entry.py.
"""

import codecs
import hashlib
import itertools
import json
import re
from collections.abc import Generator
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

from tuner.errors import UsageError
from tuner.types import DataFile
from tuner.workload.entry import EXPECTED, Sample, sample
from tuner.workload.textlines import BROKEN, open_data, unreadable

#: What stands below so many conversations, usable or not, or so many bytes, is never read.
MAX_CONVERSATIONS = 20_000
MAX_BYTES = 512 << 20
#: One conversation.
MAX_CHARACTERS = 16 << 20
_CHUNK_BYTES = 1 << 20

_BETWEEN = re.compile(r"[\s,]*")
_DECODER = json.JSONDecoder()


def inspect_dataset(path: Path) -> tuple[DataFile, tuple[Sample, ...]]:
    """The samples of the first MAX_CONVERSATIONS conversations, and the file with their digest.

    Entries without a user's text are left out, which the file's `notes` say. Raises UsageError where the file cannot be read,
    is not JSON, or has no usable entry.
    """
    samples: list[Sample] = []
    read = 0
    with closing(_entries(path)) as entries:
        for entry in itertools.islice(entries, MAX_CONVERSATIONS):
            read += 1
            if (found := sample(entry)) is not None:
                samples.append(found)
    if not samples:
        raise UsageError(f"{path}: no entry has a user's text: {EXPECTED}")
    digest = hashlib.sha256()
    for one in samples:
        more = [one.system, one.output_tokens] if one.system or one.output_tokens else []
        digest.update(json.dumps([one.prompt, one.answer, *more]).encode() + b"\n")
    left_out = read - len(samples)
    notes = (f"{left_out:,} of the {read:,} entries are left out: they have no user's text",) if left_out else ()
    return DataFile(path=path, digest=digest.hexdigest(), notes=notes), tuple(samples)


@lru_cache(maxsize=1)
def read_dataset(file: DataFile) -> tuple[Sample, ...]:
    """The samples in the file's order; the last file stays in memory. Raises UsageError as above, or if it has changed."""
    found, samples = inspect_dataset(file.path)
    if found.digest != file.digest:
        raise UsageError(f"{file.path} has changed since the workload was read: start again")
    return samples


def _entries(path: Path) -> Generator[dict[str, object]]:
    """One object after another, with no more of the file in memory than the one being read and some of what follows."""
    with open_data(path) as file:
        window = _Window(path, file)
        is_array = window.peek() == "["
        if is_array:
            window.advance(1)
        while (character := window.peek()) == "{":
            yield window.decode()
    if character == "" and is_array and window.is_over:
        raise UsageError(f"{window.where}: the array does not end: the file is cut")
    if character not in ("", "]" if is_array else ""):
        raise UsageError(f"{window.where}: expected a JSON object that is a conversation, found {character!r}")


class _Window:
    """The part of the text that is in memory, and where in it the reading is."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._line = "", 0, 1
        self.is_over = False  # nothing follows what is in memory

    @property
    def where(self) -> str:
        return f"{self._path}:{self._line}"

    def advance(self, count: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + count)
        self._at += count

    def peek(self) -> str:
        """The next character that is neither space nor comma; "" at the end of the file or of what is read of it."""
        while True:
            if between := _BETWEEN.match(self._text, self._at):
                self.advance(len(between.group()))
            if self._file.tell() >= MAX_BYTES:
                return ""
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                return ""

    def decode(self) -> dict[str, object]:
        """The object that begins here. One that is not whole yet looks like one that is wrong: try with twice as much text."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                size = len(self._text) - self._at
                if isinstance(error, ValueError) and size <= MAX_CHARACTERS and self._read_on(size):
                    continue
                reason = getattr(error, "msg", error)
                raise UsageError(
                    f"{self.where}: the conversation that begins here is not valid JSON: {reason}"
                ) from error
            self.advance(end - self._at)
            return cast(dict[str, object], value)

    def _read_on(self, size: int = 0) -> bool:
        """Drop what was read, and append at least `size` bytes; whether there were any."""
        try:
            data = self._file.read(max(_CHUNK_BYTES, size))
            text = self._decoder.decode(data, final=not data)
        except BROKEN as error:
            raise unreadable(self._path, error) from error
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{self._path}: this is not UTF-8 text: convert the file, or unpack it if it is compressed"
            ) from error
        if "\0" in text:
            raise UsageError(f"{self._path}: this is binary data, not text")
        self._text, self._at = self._text[self._at :] + text, 0
        self.is_over = not data
        return bool(data)
