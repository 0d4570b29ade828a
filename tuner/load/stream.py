"""The bytes of one server-sent-event stream in; the arrival times of its output chunks and its usage out.

Built for thousands of chunks a second: while the stream runs it only counts events, and it decodes the JSON of the first and
the last two at the end. So it never looks at the text; broken JSON in the middle goes unseen, broken framing does not.
"""

import json
from array import array
from collections import deque
from dataclasses import dataclass
from typing import Any

_SEPARATOR = b"\n\n"
_BREAK = ord("\n")
_DATA = b"data: "
_DONE = b"data: [DONE]"
#: A chunk is a few hundred bytes. An event beyond this is no chunk, and memory is not for the server to fill.
MAX_EVENT_BYTES = 1 << 20


class StreamError(Exception):
    """The stream is not what a whole answer looks like; the text is one phrase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The server's own count of the request's tokens."""

    prompt_tokens: int
    completion_tokens: int


class EventStream:
    """Feed it every read with its time, then ask `finish()`. Bytes may be split anywhere. With `keep` the text can be asked
    for afterwards, and all bytes are held for it."""

    __slots__ = ("_add_last", "_add_time", "_carry", "_first", "_is_plain", "_kept", "_last", "_times_s")

    def __init__(self, *, keep: bool = False) -> None:
        self._carry = b""
        self._first: bytes | None = None
        self._last: deque[bytes] = deque(maxlen=2)  # each holds one whole event or more: the last two events are here
        self._times_s = array("d")
        self._kept: list[bytes] | None = [] if keep else None
        self._is_plain = False  # begun, nothing carried, nothing kept
        self._add_time, self._add_last = self._times_s.append, self._last.append

    def feed(self, data: bytes, now_s: float) -> None:
        """Count the events that `data` completes. Raises StreamError when it is no stream of `data:` events."""
        # JSON has no raw line break inside, so one line and two breaks are one whole event, as nearly all reads are.
        if self._is_plain and data.find(b"\n") == len(data) - 2 and data[-1] == _BREAK and data.startswith(_DATA):
            self._add_time(now_s)
            self._add_last(data)
        else:
            self._feed(data, now_s)

    def _feed(self, data: bytes, now_s: float) -> None:
        if self._carry:
            data = self._carry + data
        events = data.count(_SEPARATOR)
        if events == 0:
            self._is_plain = False
            self._keep(data)
            return
        end = data.rindex(_SEPARATOR) + 2
        whole = data[:end]
        # JSON has no raw line break inside, so this counts events, never text.
        if not whole.startswith(_DATA) or whole.count(b"\n\ndata: ") != events - 1:
            raise StreamError(f"not a stream of `data:` events: {_excerpt(whole)}")
        if self._first is None:
            self._first = whole[: whole.index(_SEPARATOR)]
        self._keep(data[end:])
        self._last.append(whole)
        self._times_s.extend([now_s] * events)
        if self._kept is not None:
            self._kept.append(whole)
        self._is_plain = not self._carry and self._kept is None

    def _keep(self, rest: bytes) -> None:
        if len(rest) > MAX_EVENT_BYTES:
            raise StreamError(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        self._carry = rest

    @property
    def has_output(self) -> bool:
        """Whether a chunk with output has come (two events are enough: at most the first carries only the role)."""
        return len(self._times_s) > 1 or (self._first is not None and not _is_role_only(self._first))

    @property
    def first_s(self) -> float:
        """When the first event came; there is one."""
        return self._times_s[0]

    @property
    def events(self) -> int:
        """How many events have come."""
        return len(self._times_s)

    @property
    def is_done(self) -> bool:
        """Whether the last event is the end mark."""
        return bool(self._last) and self._last[-1].endswith(_DONE + _SEPARATOR)

    def output_times_s(self) -> "array[float]":
        """Arrivals of the chunks with output so far: without the role, usage, error and end events."""
        start = 1 if self._first is not None and _is_role_only(self._first) else 0
        silent = sum(not _carries_output(event) for event in self._tail()[-2:])
        return self._times_s[start : len(self._times_s) - silent]

    def text(self) -> str:
        """All output of a stream that was kept. Decodes every event."""
        events = b"".join(self._kept or ()).split(_SEPARATOR)
        return "".join(_text(event) for event in events if event.startswith(_DATA) and event != _DONE)

    def _tail(self) -> list[bytes]:
        return b"".join(self._last).split(_SEPARATOR)[:-1]

    def finish(self) -> Usage:
        """The usage of a stream that was read to its end. Raises StreamError when it is not whole."""
        if self._first is None:
            raise StreamError(f"the stream is empty{': ' + _excerpt(self._carry) if self._carry else ''}")
        tail = self._tail()
        for event in tail[-2:]:
            if event.startswith(b'data: {"error"'):
                raise StreamError(f"the server reported an error in the stream: {_error_message(event)}")
        if self._carry:
            raise StreamError(f"the stream was cut inside an event: {_excerpt(self._carry)}")
        if tail[-1] != _DONE:
            raise StreamError("the stream was cut: it ended without [DONE]")
        return _usage(tail[-2] if len(tail) > 1 else b"")


def _decode(event: bytes) -> dict[str, Any]:
    try:
        value = json.loads(event.removeprefix(_DATA))
    except ValueError as error:
        raise StreamError(f"an event is not JSON: {_excerpt(event)}") from error
    if not isinstance(value, dict):
        raise StreamError(f"an event is not an object: {_excerpt(event)}")
    return value


def _text(event: bytes) -> str:
    match _decode(event).get("choices"):
        case [{"delta": {"content": str(text)}}, *_] | [{"text": str(text)}, *_]:
            return text
    return ""


def _carries_output(event: bytes) -> bool:
    try:
        return bool(_decode(event).get("choices"))
    except StreamError:
        return False


def _usage(event: bytes) -> Usage:
    usage = _decode(event).get("usage") if event else None
    match usage:
        case {"prompt_tokens": int(prompt), "completion_tokens": int(completion)}:
            return Usage(prompt_tokens=prompt, completion_tokens=completion)
    raise StreamError("the stream ended without usage")


def _is_role_only(event: bytes) -> bool:
    """vLLM's first chat chunk says who speaks and carries no output; it comes together with the first token."""
    if b'"role"' not in event:
        return False
    try:
        choices = _decode(event).get("choices")
    except StreamError:
        return False
    match choices:
        case [{"delta": {"role": str(), **rest}}, *_]:
            return not any(rest.values())
    return False


def _error_message(event: bytes) -> str:
    match _decode(event):
        case {"error": {"message": str(message)}} | {"error": str(message)}:
            return message
    return _excerpt(event)


def _excerpt(data: bytes) -> str:
    return repr(data[:120].decode("utf-8", "replace"))
