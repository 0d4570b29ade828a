import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tuner.load.connection import Connection, Connections, Meter, address_of
from tuner.load.stream import EventStream, StreamError
from tuner.types import Target

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
_EVENTS = (
    b'data: {"choices":[{"text":"a"}]}\n\ndata: {"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\ndata: [DONE]\n\n'
)
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(_EVENTS), _EVENTS)
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """Bytes as the test says, for each request of a connection in turn; an empty answer closes it."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = answers
        self.heads: list[bytes] = []
        self.connections = 0

    async def __aenter__(self) -> "RawServer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.target = Target(base_url=f"http://127.0.0.1:{port}/prefix", model="m", api_key="k")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        for answer in self.answers:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            length = int(next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length")).split()[1])
            await reader.readexactly(length)
            writer.write(answer)
            await writer.drain()
            if b"chunked" not in answer and b"Content-Length" not in answer:
                break
        writer.close()


async def _exchange(*answers: bytes, times: int = 1) -> tuple[RawServer, list[EventStream]]:
    streams = []
    async with RawServer(*answers) as server:
        connections = Connections(address := address_of(server.target, "v1/completions"))
        for _ in range(times):
            streams.append(stream := EventStream())
            await connections.exchange(address.request(b"{}"), stream)
        connections.close()
    return server, streams


def test_a_connection_is_used_again_and_the_key_and_the_path_are_sent() -> None:
    server, streams = asyncio.run(_exchange(_CHUNKED, _CHUNKED, _CHUNKED, times=3))
    assert server.connections == 1
    assert [stream.finish().completion_tokens for stream in streams] == [1, 1, 1]
    assert server.heads[0].startswith(b"POST /prefix/v1/completions HTTP/1.1\r\n")
    assert b"Authorization: Bearer k\r\n" in server.heads[0]


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    server, streams = asyncio.run(_exchange(_HEAD + b"\r\n" + _EVENTS, times=2))
    assert server.connections == 2
    assert all(stream.is_done for stream in streams)


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (_HEAD + b"\r\n" + _EVENTS[:40], ConnectionError, "closed"),
        (_CHUNKED[:-20], ConnectionError, "closed"),
        (b"", ConnectionError, "closed"),
        (b"nonsense\r\n\r\n", StreamError, "no HTTP"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nfull", StreamError, "HTTP 503: full"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n",
            StreamError,
            "HTTP 302 to http://elsewhere/: give",
        ),
        (
            b"HTTP/1.1 429 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
            StreamError,
            r"HTTP 429 \(Retry-After: 7\)$",
        ),
        (_HEAD + b"Content-Encoding: br\r\nContent-Length: 1\r\n\r\nx", StreamError, r"is compressed \(br\)"),
        (
            _HEAD + b"Content-Encoding: gzip\r\nContent-Length: 12\r\n\r\n<html></html",
            StreamError,
            "cannot be unpacked",
        ),
    ],
)
def test_whatever_else_is_answered_is_an_error(answer: bytes, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        asyncio.run(_exchange(answer))


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(Target(base_url="http://x", model="m", api_key="secret"))


def test_an_exchange_can_be_ended_from_outside() -> None:
    async def run() -> None:
        async with RawServer(_CHUNKED[:-20] + b"chunked") as server:
            connections = Connections(address := address_of(server.target, "v1/completions"))
            task = asyncio.create_task(connections.exchange(address.request(b"{}"), EventStream()))
            while not connections.busy:
                await asyncio.sleep(0)
            connection: Connection = next(iter(connections.busy))
            connection.abort(TimeoutError())
            with pytest.raises(TimeoutError):
                await task
            assert not connections.busy

    asyncio.run(run())


def test_the_meter_counts_what_waits_behind_others_of_a_round() -> None:
    rounds: list[Callable[[], None]] = []
    meter = Meter(rounds.append)
    first_s, second_s = meter.read(), meter.read()
    assert meter.delay_s == pytest.approx(second_s - first_s)
    rounds[0]()
    third_s = meter.read()
    assert meter.reads == 3
    assert meter.delay_s >= second_s - first_s
    assert meter.last_byte_s == third_s
    assert len(rounds) == 2
