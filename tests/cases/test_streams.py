"""Streams as servers, gateways and proxies send them: what the standard allows is counted, what is wrong is told."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from other_server import (
    MODEL,
    PREFILL_S,
    STEP_S,
    STREAM,
    Frame,
    OtherServer,
    Timed,
    delta,
    end,
    plain,
    tokens,
    usage,
    whole,
)
from waiting import in_a_calm_moment

from tuner.errors import LaunchError
from tuner.load.stream import EventStream, StreamError
from tuner.study.measurement import measure
from tuner.types import Lengths, Mark, Measured, Target, Workload, present

SMALL = Workload(
    name="small",
    api="chat",
    users=2,
    input_tokens=Lengths(low=9, high=9),
    output_tokens=Lengths(low=8, high=8),
    warmup_s=0.2,
    window_s=0.6,
    max_window_s=1.0,
    precision=0.9,
    stall_s=3.0,
)


def measured(server: OtherServer, workload: Workload = SMALL) -> Measured:
    return asyncio.run(measure(Target(base_url=server.url, model=MODEL), workload))


def lines(end_of_line: str, before: str = "", space: str = " ", after: str = "") -> Frame:
    """A framing: what stands before, between and after the data."""
    return lambda data: f"{before}data:{space}{data}\n{after}\n".replace("\n", end_of_line).encode()


def _pretty(data: str) -> bytes:
    if data == "[DONE]":
        return plain(data)
    return "".join(f"data: {line}\n" for line in json.dumps(json.loads(data), indent=1).split("\n")).encode() + b"\n"


FRAMES: dict[str, Frame] = {
    "plain": plain,
    "no space": lines("\n", space=""),
    "CRLF": lines("\r\n"),
    "CR": lines("\r"),
    "event": lines("\n", before="event: message\n"),
    "event, CRLF, no space": lines("\r\n", before="event:message\n", space=""),
    "event after": lines("\n", after="event: message\n"),
    "id and retry": lines("\n", before="id: 7\nretry: 3000\n"),
    "comment": lines("\n", before=": keep-alive\n"),
    "comments between": lines("\n", before=":\n\n: PROCESSING\n\n\n"),
    "blank lines": lines("\n", after="\n\n"),
    "unknown field": lines("\n", before="trace: 5\nflag\n"),
    "several lines of data": _pretty,
    "mixed ends of lines": lambda data: f"event: message\r\ndata: {data}\n\r".encode(),
    "empty event": lines("\n", before="data:\n\n"),
}


def text(frame: Frame, count: int = 3) -> bytes:
    return b"".join(data for _, data in whole(count, frame))


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(1, 4000), max_size=6), bom=st.booleans())
def test_every_framing_of_the_standard_is_counted_however_it_is_cut(frame: Frame, cuts: list[int], bom: bool) -> None:
    data = b"\xef\xbb\xbf" * bom + text(frame)
    stream = fed(data, sorted({cut % len(data) for cut in cuts}))
    assert stream.finish().completion_tokens == len(stream.output_times_s()) == 3
    assert stream.is_done


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_every_framing_byte_by_byte(frame: Frame) -> None:
    data = text(frame).replace(b"word ", "日本😀".encode())
    stream = fed(data, list(range(1, len(data))), keep=True)
    assert stream.finish().completion_tokens == len(stream.output_times_s()) == 3
    assert stream.text() == 3 * "日本😀"
    assert stream.text_bytes == 3 * len("日本😀".encode())


def fed(data: bytes, cuts: list[int], *, keep: bool = False) -> EventStream:
    stream = EventStream(keep=keep)
    for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
        stream.feed(data[start:stop], 1.0)
    return stream


ROLE = delta({"role": "assistant", "content": ""})
#: What comes before the first token, at once, and is no token.
SILENT: dict[str, list[str]] = {
    "content filter": ['{"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}', ROLE],
    "two empty": [ROLE, delta({"content": ""})],
    "no role": [delta({"content": ""})],
    "null delta": [delta(None)],
    "null content": [delta({"content": None, "tool_calls": []})],
    "roles to keep alive": [ROLE, ROLE, ROLE],
    "no choices at all": ['{"id": "x", "timings": {"queue_ms": 1}}'],
    "empty text": ['{"choices": [{"index": 0, "text": "", "finish_reason": null}]}'],
}


@pytest.mark.parametrize("silent", SILENT.values(), ids=SILENT)
def test_what_carries_no_text_is_no_output_wherever_it_stands(silent: list[str]) -> None:
    stream = EventStream()
    for place, data in enumerate([*silent, delta({"content": "a"}), *silent, delta({"content": "b"}), *silent]):
        stream.feed(plain(data), float(place))
    stream.feed(plain(delta({}, "length")) + plain(usage(2)) + plain("[DONE]"), 99.0)
    count = len(silent)
    assert list(stream.output_times_s()) == [count, 2 * count + 1]
    assert stream.finish().completion_tokens == 2


def test_an_answer_of_special_tokens_has_its_empty_chunks_as_output() -> None:
    stream = EventStream()
    for place, data in enumerate([ROLE, delta({"content": ""}), delta({"content": ""}, "length"), usage(2), "[DONE]"]):
        stream.feed(plain(data), float(place))
    assert list(stream.output_times_s()) == [1.0, 2.0]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "tool_calls", "refusal"])
def test_output_has_many_names(name: str) -> None:
    value: object = [{"index": 0, "function": {"arguments": "x"}}] if name == "tool_calls" else "hmm"
    stream = EventStream()
    for place, data in enumerate([ROLE, *4 * [delta({name: value})], usage(4), "[DONE]"]):
        stream.feed(plain(data), float(place))
    assert list(stream.output_times_s()) == [1.0, 2.0, 3.0, 4.0]


OUTAGE = {"message": "upstream is gone", "code": 502}
#: How an answer fails although its status is 200, and what is said.
FAILED: dict[str, tuple[list[str | bytes], str]] = {
    "error": ([json.dumps({"error": OUTAGE})], "upstream is gone"),
    "error as text": (['{"error": "upstream is gone"}'], "upstream is gone"),
    "error beside choices": ([delta({"content": ""}, "error", error=OUTAGE)], "upstream is gone"),
    "error in a choice": (
        ['{"choices": [{"delta": {}, "error": {"message": "upstream is gone"}}]}'],
        "upstream is gone",
    ),
    "error with text": ([delta({"content": "x"}, error=OUTAGE)], "upstream is gone"),
    "event: error": ([b'event: error\ndata: {"message": "upstream is gone"}\n\n'], "upstream is gone"),
    "object error": (['{"object": "error", "message": "upstream is gone", "code": 50000}'], "upstream is gone"),
    "detail": (['{"detail": "upstream is gone"}'], "upstream is gone"),
    "aborted": ([delta({}, "abort")], "was not finished: the server says 'abort'"),
    "aborted, an object": ([delta({}, {"type": "abort", "message": "x"})], "the server says 'abort'"),
    "finish error": ([delta({"content": "x"}, "error")], "the server says 'error'"),
}


@pytest.mark.parametrize("closed", [True, False], ids=["with usage and end", "cut"])
@pytest.mark.parametrize(("events", "says"), FAILED.values(), ids=FAILED)
def test_an_answer_that_failed_is_no_success(events: list[str | bytes], says: str, closed: bool) -> None:
    stream = EventStream()
    parts = [ROLE, delta({"content": "a"}), delta({"content": "b"}), *events, *([usage(2), "[DONE]"] if closed else [])]
    for part in parts:
        stream.feed(part if isinstance(part, bytes) else plain(part), 1.0)
    with pytest.raises(StreamError, match=says):
        stream.finish()


def test_a_field_that_says_that_there_is_no_error_is_none() -> None:
    stream = EventStream()
    for data in (ROLE, *2 * [delta({"content": "a"}, error=None, usage=None)], usage(2), "[DONE]"):
        stream.feed(plain(data), 1.0)
    assert stream.finish().completion_tokens == 2


@pytest.mark.parametrize(
    ("counts", "tokens"),
    [((4, 9), 4), ((4.0, 9.0), 4), (("4", "9"), 4), ((0, 9), None), ((1, 9), None), ((None, 9), None), ((-4, 9), None)],
)
def test_a_usage_that_cannot_be_is_told(counts: tuple[object, object], tokens: int | None) -> None:
    stream = EventStream()
    for data in (ROLE, *4 * [delta({"content": "a"})], usage(*counts), "[DONE]"):
        stream.feed(plain(data), 1.0)
    if tokens is not None:
        assert stream.finish().completion_tokens == tokens
        return
    with pytest.raises(StreamError, match="usage"):
        stream.finish()


def _by_turns(*answers: Callable[[int], list[Timed]]) -> OtherServer:
    return OtherServer(lambda number, body: answers[number % len(answers)](body["max_tokens"]))


@in_a_calm_moment
def test_all_framings_are_measured_alike() -> None:
    """Each answer has the next framing: there is no other way to have none fail, and one TTFT and TPOT."""
    frames = list(FRAMES.values())
    with _by_turns(*(lambda count, frame=frame: whole(count, frame) for frame in frames)) as server:
        found = measured(server, replace(SMALL, users=4))
    assert found.load.failed == 0
    assert found.load.chunk_tokens == pytest.approx(1.0)
    assert present(present(found.load.ttft_s).p50) == pytest.approx(PREFILL_S, abs=0.02)
    assert found.load.tpot_s is not None
    assert found.load.tpot_s.p50 == pytest.approx(STEP_S, rel=0.4)
    assert not {Mark.OTHER_LENGTHS, Mark.BUNCHED, Mark.HIDDEN_TOKENS, Mark.COUNTED} & set(found.marks)


@pytest.mark.parametrize(
    "head",
    [
        STREAM,
        b"HTTP/1.1 100 Continue\r\n\r\n" + STREAM,
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + STREAM,
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    ],
    ids=["chunked", "100", "103", "1.0", "until it closes"],
)
def test_every_way_to_send_a_body_is_read(head: bytes) -> None:
    with OtherServer(lambda number, body: whole(body["max_tokens"]), head=head) as server:
        assert measured(server).load.failed == 0


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            lambda count: [*tokens(count), (0.0, plain("[DONE]"))],
            "ended without usage, and the server has no /tokenize",
        ),
        (lambda count: [*tokens(count), (0.0, plain(usage(count)))], "it ended without [DONE]"),
        (lambda count: [(0.0, plain(ROLE)), *end(0)], "the answer is empty: 0 tokens"),
        (lambda count: [], "the stream is empty"),
        (lambda count: [(0.0, b'{"choices": [{"message": {"content": "x"}}]}')], "the server does not stream"),
        (lambda count: [(0.0, b'{"error": {"message": "no such model"}}')], "no such model"),
    ],
    ids=["no usage", "no end", "no token", "nothing", "JSON", "error"],
)
def test_what_is_not_counted_says_why(answer: Callable[[int], list[Timed]], says: str) -> None:
    with _by_turns(answer) as server, pytest.raises(LaunchError) as raised:
        measured(server)
    assert says in str(raised.value)
