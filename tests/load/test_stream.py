import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.load.stream import EventStream, StreamError, Usage

ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}


def _chat(text: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def _bytes(*events: object) -> bytes:
    return b"".join(b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n" for event in events)


def _whole(texts: list[str]) -> bytes:
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "total_tokens": 9, "completion_tokens": len(texts)}}
    return _bytes(ROLE, *map(_chat, texts), usage) + b"data: [DONE]\n\n"


@settings(deadline=None)
@given(texts=st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=8), cuts=st.lists(st.integers(0, 2000)))
def test_bytes_may_be_split_anywhere(texts: list[str], cuts: list[int]) -> None:
    data = _whole(texts)
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    stream = EventStream()
    for time_s, (start, end) in enumerate(pairwise(edges)):
        stream.feed(data[start:end], float(time_s))
    assert stream.finish() == Usage(prompt_tokens=7, completion_tokens=len(texts))
    times = stream.output_times_s()
    assert len(times) == len(texts)
    assert list(times) == sorted(times)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=20))
def test_text_that_looks_like_the_protocol_is_text(text: str) -> None:
    texts = ["\n\ndata: [DONE]\n\n", 'data: {"error"', "\n\n", '"role"', text]
    stream = EventStream()
    stream.feed(_whole(texts), 1.0)
    assert stream.finish().completion_tokens == len(stream.output_times_s()) == 5


def test_each_read_is_one_time_and_the_role_is_no_output() -> None:
    stream = EventStream()
    stream.feed(_bytes(ROLE), 1.0)
    assert not stream.has_output
    stream.feed(_bytes(_chat("a")), 2.0)
    assert stream.has_output
    stream.feed(_bytes(_chat("b"), _chat("c")), 3.0)
    assert list(stream.output_times_s()) == [2.0, 3.0, 3.0]


def test_what_was_said_can_be_asked_for_when_it_was_kept() -> None:
    texts = ["Hel", "lö\n\n", " data: [DONE]"]
    stream = EventStream(keep=True)
    for byte in range(0, len(data := _whole(texts)), 7):
        stream.feed(data[byte : byte + 7], 1.0)
    assert stream.is_done
    assert stream.text() == "".join(texts)


def test_a_role_chunk_with_content_is_output() -> None:
    stream = EventStream()
    stream.feed(_bytes({"choices": [{"delta": {"role": "assistant", "content": "Hi"}}]}), 1.0)
    assert stream.has_output
    assert list(stream.output_times_s()) == [1.0]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b'{"error": "x"}', "reported an error in the stream: x"),
        (b'{"error": {"message": "Loading\\nmodel", "code": 503}}', "reported an error in the stream: Loading"),
        (b'{"choices": [{"message": {"content": "x"}}]}', "does not stream"),
        (b"<html>\n<body>busy</body>\n\n", "not a stream of `data:` events: '<html>"),
        (b"\n\n", "empty"),
        (_bytes(_chat("a")), "without .DONE."),
        (b"data: [DONE]\n\n", "without usage"),
        (_bytes(_chat("a")) + b"data: [DONE]\n\n", "without usage"),
        (_bytes(_chat("a")) + b"data: {", "cut inside an event"),
        (b"data: []\n\ndata: [DONE]\n\n", "not an object"),
        (b"data: \xff\n\ndata: [DONE]\n\n", "not JSON"),
        (_bytes({"error": "out of luck"}) + b"data: [DONE]\n\n", "out of luck"),
        (_bytes({"usage": {"prompt_tokens": None, "completion_tokens": 1}}) + b"data: [DONE]\n\n", "without usage"),
    ],
)
def test_a_stream_that_is_not_whole_says_how(data: bytes, says: str) -> None:
    with pytest.raises(StreamError, match=says):
        _fed(data).finish()


def _fed(data: bytes) -> EventStream:
    stream = EventStream()
    stream.feed(data, 1.0)
    return stream
