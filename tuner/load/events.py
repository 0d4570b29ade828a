"""The bytes of a server-sent-event stream in, split anywhere; its events out, as the standard has them. Knows no JSON.

WHATWG HTML, 9.2.6 "Interpreting an event stream": a byte order mark is dropped; lines end with CRLF, LF or CR; a line that
begins with a colon is a comment; `data:` lines are joined by line breaks, with or without a space after the colon; `id:`,
`retry:` and unknown fields are not for us; a blank line ends an event, and an event without data is none.
"""

from collections.abc import Callable

#: A chunk is a few hundred bytes. An event beyond this is no chunk, and memory is not for the server to fill.
MAX_EVENT_BYTES = 1 << 20
#: How much is remembered of bytes that are no event, for a message about them.
_HEAD_BYTES = 4096
_BOM = b"\xef\xbb\xbf"

#: Called with the data of an event, and its type ("message" where it says none).
OnEvent = Callable[[bytes, str], None]


class TooLong(Exception):
    """More bytes than any event has, and no event."""


class EventParser:
    """Feed it; it calls `on_event` for each event that is complete. `is_clean` says that it is between two events with nothing
    held back, so that whole events may be taken past it."""

    __slots__ = ("_data", "_has_begun", "_head", "_line", "_on_event", "_silent", "_skips_lf", "_type", "is_clean")

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._line = bytearray()  # one that is not ended yet
        self._data: list[bytes] = []
        self._type = ""
        self._has_begun = self._skips_lf = False
        self._silent = 0
        self._head = b""
        self.is_clean = False

    def feed(self, data: bytes) -> None:
        """Raises TooLong."""
        if not data:
            return
        if self._skips_lf:
            data = data.removeprefix(b"\n")
        for line in data.splitlines(keepends=True):
            if line[-1] not in b"\r\n":
                self._line += line
            elif self._line:
                self._end_line(bytes(self._line) + line.rstrip(b"\r\n"))
                self._line.clear()
            else:
                self._end_line(line.rstrip(b"\r\n"))
        self._skips_lf = data.endswith(b"\r")
        if self._silent + len(self._line) > MAX_EVENT_BYTES:
            raise TooLong
        self.is_clean = self._has_begun and not (self._line or self._data or self._type or self._skips_lf)

    def rest(self) -> bytes:
        """The data of an event that was never ended; the standard says that it is none."""
        name, _, value = bytes(self._line).partition(b":")
        return b"\n".join([*self._data, *([value.removeprefix(b" ")] if name == b"data" else [])])

    def no_event(self) -> bytes:
        """The beginning of what has come and is no event."""
        return (self._head + self._line)[:_HEAD_BYTES]

    def _end_line(self, line: bytes) -> None:
        if not self._has_begun:
            self._has_begun = True
            line = line.removeprefix(_BOM)
        if not line:
            if self._data:
                self._on_event(b"\n".join(self._data), self._type or "message")
                self._data, self._silent = [], 0
            self._type = ""
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._silent += len(line)
        elif name == b"event":
            self._type = value.decode("utf-8", "replace")
        elif name not in (b"", b"id", b"retry"):
            self._silent += len(line)
            self._head = (self._head + line)[:_HEAD_BYTES]
