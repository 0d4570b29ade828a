"""The bytes of one streamed answer in; the arrival times of its output chunks and its usage out, or how it failed.

Built for thousands of chunks a second: a read that is one event with a text in it, as nearly all are, is only looked at for
what it holds. Whatever else comes (other framing, an end, an error, a chunk without text) is parsed as it arrives.

What carries no text is no output, wherever it stands: the role, an empty keep-alive chunk, a content filter's verdict, the
usage. An answer of nothing but tokens without a text (special ones) has its empty chunks as output.
"""

import json
import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.load.events import MAX_EVENT_BYTES, EventParser, TooLong

_BREAK = ord("\n")
_DATA = b"data: "
_DONE = b"[DONE]"
#: How older llama.cpp begins the line of an error.
_OLD_ERROR = b"error:"
#: A text that is not empty, under the names that it has in chunks.
_SAYS = re.compile(rb'"(?:content|text|reasoning_content|reasoning)": ?"[^"]')
#: What has to be looked at besides: an error, a usage, how the answer ended.
_TELLS = re.compile(rb'"(?:error|usage)": ?[^n ]|"finish_reason": ?["{]')
#: Under these names stands what the user sees.
_ANSWER = ("content", "text")
#: A chunk holds a token, but a parser of reasoning or tools may make two of one.
_LEAST_TOKENS = 0.5
#: How an answer ends that is none, in the words of several servers.
_NOT_WHOLE = ("error", "abort", "cancelled")


class StreamError(Exception):
    """The stream is not what a whole answer looks like; the text is one phrase."""


class NoUsage(StreamError):
    """All is well but for the server's count of the tokens, which is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The server's own count of the request's tokens. `hidden_tokens` are those of them that it says were never sent."""

    prompt_tokens: int
    completion_tokens: int
    hidden_tokens: int = 0


class EventStream:
    """Feed it every read with its time, then ask `finish()`. Bytes may be split anywhere. With `keep` the text can be asked
    for afterwards, and all bytes are held for it. `events` is how many events have come."""

    __slots__ = (
        "_add_time",
        "_blank_times_s",
        "_envelope_bytes",
        "_error",
        "_has_reasoning",
        "_kept",
        "_now_s",
        "_output_bytes",
        "_parser",
        "_times_s",
        "_usage",
        "events",
        "first_s",
        "first_text_bytes",
        "is_done",
    )

    def __init__(self, *, keep: bool = False) -> None:
        self._parser = EventParser(self._event)
        self._times_s, self._blank_times_s = array("d"), array("d")
        self._add_time = self._times_s.append
        self._kept: list[bytes] | None = [] if keep else None
        self._usage = b""  # the last event that has one
        self._error: str | None = None
        self._now_s = self.first_s = 0.0
        self._envelope_bytes = self._output_bytes = 0
        self._has_reasoning = False
        self.events = 0
        self.first_text_bytes = 0
        self.is_done = False

    def feed(self, data: bytes, now_s: float) -> None:
        """Take what has come. Raises StreamError when it can be no stream of events."""
        # JSON has no raw line break inside, so one line and two breaks are one whole event, as nearly all reads are.
        if (
            self._parser.is_clean
            and self._envelope_bytes
            and data.find(b"\n") == len(data) - 2
            and data[-1] == _BREAK
            and data.startswith(_DATA)
            and _SAYS.search(data)
            and not _TELLS.search(data)
        ):
            self.events += 1
            self._output_bytes += len(data) - 8
            self._add_time(now_s)
            if self._kept is not None:
                self._kept.append(data[6:])
            return
        self._now_s = now_s
        try:
            self._parser.feed(data)
        except TooLong as error:
            raise StreamError(f"an event is longer than {MAX_EVENT_BYTES} bytes") from error

    @property
    def has_output(self) -> bool:
        """Whether a chunk with output has come."""
        return bool(self._times_s)

    @property
    def text_bytes(self) -> int:
        """About as many bytes of text have come: what chunks after the first are longer than the second one without its
        text."""
        return self.first_text_bytes + self._output_bytes - max(0, len(self._times_s) - 1) * self._envelope_bytes

    def output_times_s(self) -> "array[float]":
        """Arrivals of the chunks with output so far."""
        return self._times_s or self._blank_times_s

    def text(self, *, whole: bool = False) -> str:
        """The answer of a stream that was kept; the `whole` one has its reasoning, too. Decodes every event."""
        return "".join(_text(_decode(data), whole=whole) for data in self._kept or ())

    def finish(self) -> Usage:
        """The usage of a stream that was read to its end. Raises StreamError when it is not whole."""
        if not self.is_done and self._parser.rest().strip() == _DONE:  # some servers leave out its last line break
            self.is_done = True
        if self._error is not None:
            raise StreamError(self._error)
        if not self.is_done and (not self.events or self._parser.no_event().startswith(_OLD_ERROR)):
            raise StreamError(_no_stream(self._parser.no_event()))
        if not self.is_done:
            rest = self._parser.rest()
            where = f"inside an event: {_excerpt(rest)}" if rest else "it ended without [DONE]"
            raise StreamError(f"the stream was cut{' ' if rest else ': '}{where}")
        if not self._usage:
            raise NoUsage("the stream ended without usage")
        return self._checked(_usage(_decode(self._usage)))

    def _checked(self, usage: Usage | None) -> Usage:
        if usage is None:
            raise StreamError(f"the stream ended without usage that can be read: {_excerpt(self._usage)}")
        if usage.completion_tokens < _LEAST_TOKENS * len(self._times_s):
            raise StreamError(
                f"the server's usage says {usage.completion_tokens} tokens of an answer that came in"
                f" {len(self._times_s)} chunks"
            )
        if self._has_reasoning:
            return Usage(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
        return usage

    def _event(self, data: bytes, kind: str) -> None:
        """Whatever the quick look is not enough for."""
        if (end := data.strip()) == _DONE or not end:
            self.is_done = self.is_done or end == _DONE
            return
        if not self.events:
            self.first_s = self._now_s
        self.events += 1
        if self._kept is not None:
            self._kept.append(data)
        if self._envelope_bytes and _SAYS.search(data) and not _TELLS.search(data) and kind == "message":
            self._output_bytes += len(data)
            self._add_time(self._now_s)
            return
        if self._error is not None:
            return
        value = _decode(data)
        self._error = _failure(value, kind)
        if value.get("usage"):
            self._usage = data
        match value.get("choices"):
            case [dict(choice), *_]:
                self._chunk(choice, data)

    def _chunk(self, choice: Mapping[str, Any], data: bytes) -> None:
        if (ended := _reason(choice.get("finish_reason"))) in _NOT_WHOLE:
            self._error = self._error or f"the answer was not finished: the server says {ended!r}"
        said = _said(choice)
        if not said:
            if "role" not in (choice.get("delta") or ()):
                self._blank_times_s.append(self._now_s)
            return
        if not self._times_s:
            self.first_text_bytes = _length(said, data)
            self._has_reasoning = any("reason" in key or "think" in key for key in said)
        else:
            self._envelope_bytes = self._envelope_bytes or len(data) - _length(said, data)
            self._output_bytes += len(data)
        self._times_s.append(self._now_s)


def _decode(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise StreamError(f"an event is not JSON: {_excerpt(data)}") from error
    if not isinstance(value, dict):
        raise StreamError(f"an event is not an object: {_excerpt(data)}")
    return value


def _said(choice: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a chunk that are output, by their names: a text, reasoning, calls of tools."""
    parts = choice.get("delta") or choice.get("message") or {"text": choice.get("text")}
    return {key: value for key, value in parts.items() if value and key != "role"} if isinstance(parts, dict) else {}


def _text(value: Mapping[str, Any], *, whole: bool) -> str:
    match value.get("choices"):
        case [dict(choice), *_]:
            said = _said(choice)
            return "".join(text for key, text in said.items() if isinstance(text, str) and (whole or key in _ANSWER))
    return ""


def _length(said: Mapping[str, Any], data: bytes) -> int:
    """The bytes that the texts take in the JSON."""
    found = 0
    for value in said.values():
        plain, escaped = (json.dumps(value, ensure_ascii=ascii).encode().strip(b'"') for ascii in (False, True))
        found += len(plain if plain in data else escaped)
    return min(found, len(data))


def _reason(value: object) -> object:
    """Of a finish: a word, or SGLang's {"type": word}."""
    return value.get("type") if isinstance(value, dict) else value


def _usage(value: Mapping[str, Any]) -> Usage | None:
    match value.get("usage"):
        case {"prompt_tokens": prompt, "completion_tokens": completion, **rest}:
            counts = _count(prompt), _count(completion)
            details = rest.get("completion_tokens_details")
            hidden = _count(details.get("reasoning_tokens")) if isinstance(details, dict) else None
            if counts[0] is not None and counts[1] is not None:
                return Usage(prompt_tokens=counts[0], completion_tokens=counts[1], hidden_tokens=hidden or 0)
    return None


def _count(value: object) -> int | None:
    """A whole number, also where a server writes it as 12.0 or "12"."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else -1.0
    except ValueError:
        return None
    return int(number) if number >= 0 and number.is_integer() else None


def _failure(value: Mapping[str, Any], kind: str) -> str | None:
    """What an event says of a failure, in the forms of several servers; None of a chunk that says nothing of it."""
    choices = value.get("choices")
    inside = choices[0].get("error") if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    if error := value.get("error") or inside:
        return f"the server reported an error in the stream: {_message(error)}"
    if kind == "error" or value.get("object") == "error" or ("choices" not in value and _says_why(value)):
        return f"the server reported an error in the stream: {_message(value)}"
    return None


def _says_why(value: Mapping[str, Any]) -> bool:
    return bool(value.get("detail")) or ("message" in value and "code" in value)


def _message(error: object) -> str:
    match error:
        case str(text) | {"message": str(text)} | {"detail": str(text)}:
            return text
    return _excerpt(json.dumps(error).encode())


def _no_stream(data: bytes) -> str:
    """What a body is that holds no event."""
    if not data:
        return "the stream is empty"
    try:
        value = json.loads(data.removeprefix(_OLD_ERROR))
    except ValueError:
        return f"the answer is not a stream of `data:` events: {_excerpt(data)}"
    if isinstance(value, dict):
        if failure := _failure(value, "error" if data.startswith(_OLD_ERROR) else "message"):
            return failure
        if "choices" in value:
            return "the server does not stream: it answered with one JSON object, whose tokens have no times"
    return f"the answer is not a stream of `data:` events: {_excerpt(data)}"


def _excerpt(data: bytes) -> str:
    return repr(data[:120].decode("utf-8", "replace"))
