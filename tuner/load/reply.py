"""What came back of one request for a chat in; what it says out: the texts, how it ended, the server's count. Pure.

It reads plain answers and streams alike, in the forms of several servers, and never raises: what cannot be read is named.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tuner.load.events import EventParser, TooLong
from tuner.load.exchange import Exchange

_DONE = b"[DONE]"
#: Where reasoning stands that the server has taken out of the text (vLLM's two names, and others').
_REASONING = ("reasoning_content", "reasoning")
_EXCERPT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """`text` is the answer, `reasoning` what the server says beside it. `times_s` are those of the chunks with output, in
    seconds since the request was sent; none of a plain answer. `prompt_tokens` and `output_tokens` are the server's own count,
    None without. `is_stream` is whether it came as events, `is_done` whether [DONE] ended it. `problem` is what is wrong with
    its form, or an error that it has inside."""

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    times_s: tuple[float, ...] = ()
    is_stream: bool = False
    is_done: bool = False
    has_calls: bool = False
    problem: str | None = None

    @property
    def said(self) -> str:
        return self.reasoning + self.text


def is_page(found: Exchange) -> bool:
    """Whether it is a page for a browser."""
    return "html" in found.content_type.lower() or found.body.lstrip()[:15].lower().startswith((b"<!doctype", b"<html"))


def message_of(found: Exchange) -> str:
    """What a server says of an error, in its own words, shortened."""
    try:
        value = json.loads(found.body)
    except (ValueError, RecursionError):
        return _short(found.body.decode("utf-8", "replace"))
    return _short(_message(value))


def reply_of(found: Exchange) -> Reply:
    """What an answer with HTTP 200 says."""
    body = found.body.lstrip()
    if "event-stream" in found.content_type.lower() or body.startswith((b"data:", b"event:", b":")):
        return _stream(found)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return Reply(problem=f"it is neither JSON nor a stream of events: {_short(body.decode('utf-8', 'replace'))!r}")
    if not isinstance(value, dict) or not isinstance(value.get("choices"), list) or not value["choices"]:
        return Reply(problem=f"it has no choices: {_message(value)!r}")
    return _reply([(0.0, value)], is_stream=False)


def _stream(found: Exchange) -> Reply:
    events: list[tuple[float, bytes]] = []
    ended: list[bytes] = []
    parser = EventParser(lambda data, kind: ended.append(data))
    try:
        for at_s, piece in found.reads:
            parser.feed(piece)
            events += [(at_s, data) for data in ended]
            ended.clear()
    except TooLong:
        return Reply(is_stream=True, problem="an event of it has no end")
    if parser.rest().strip() == _DONE:  # some servers leave out its last line break
        events.append((found.ended_s, _DONE))
    values, problem = [], None
    for at_s, data in events:
        if data.strip() in (_DONE, b""):
            continue
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            values.append((at_s, value))
        else:
            problem = f"an event of it is no JSON object: {_short(data.decode('utf-8', 'replace'))!r}"
    made = _reply(values, is_stream=True, is_done=any(data.strip() == _DONE for _, data in events))
    return replace(made, problem=made.problem or problem)


def _reply(values: list[tuple[float, dict[str, Any]]], *, is_stream: bool, is_done: bool = False) -> Reply:
    text, reasoning, times_s = [], [], []
    finish: str | None = None
    prompt = output = None
    has_calls, problem = False, None
    for at_s, value in values:
        if error := value.get("error"):
            problem = problem or f"it reports an error: {_short(_message(error))!r}"
        if counts := _counts(value.get("usage")):
            prompt, output = counts
        for choice in _choices(value):
            said = _said(choice)
            reason = choice.get("finish_reason")
            reason = reason.get("type") if isinstance(reason, dict) else reason  # SGLang's
            finish = str(reason) if reason else finish
            has_calls = has_calls or bool(said.get("tool_calls"))
            words = [str(said[key]) for key in _REASONING if isinstance(said.get(key), str)][:1]
            content = said.get("content")
            content = content if isinstance(content, str) else ""
            if is_stream and (content or any(words) or said.get("tool_calls")):
                times_s.append(at_s)
            reasoning += words
            text.append(content)
    return Reply(
        text=_whole(text),
        reasoning=_whole(reasoning),
        finish_reason=finish,
        prompt_tokens=prompt,
        output_tokens=output,
        times_s=tuple(times_s),
        is_stream=is_stream,
        is_done=is_done,
        has_calls=has_calls,
        problem=problem,
    )


def _whole(texts: list[str]) -> str:
    """Joined: halves of a character that came in two chunks are one, and one without the other is a question mark."""
    return "".join(texts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _choices(value: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    choices = value.get("choices")
    if isinstance(choices, list):
        yield from (choice for choice in choices[:1] if isinstance(choice, dict))


def _said(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    said = choice.get("delta") or choice.get("message")
    return said if isinstance(said, dict) else {}


def _counts(usage: object) -> tuple[int, int] | None:
    match usage:
        case {"prompt_tokens": int(prompt), "completion_tokens": int(output)} if prompt >= 0 and output >= 0:
            return prompt, output
    return None


def _message(value: object) -> str:
    match value:
        case {"error": error}:
            return _message(error)
        case {"message": str(text)} | {"detail": str(text)} | str(text):
            return text
    return json.dumps(value)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}..."
