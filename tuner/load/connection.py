"""HTTP/1.1 connections for streaming: a request's bytes in, its events with their arrival times out. Knows no workload.

aiohttp is left out of the hot path: it wakes a task and copies through a StreamReader for every read, which doubles what a
chunk costs, so that TTFT is spoiled at half the rate (`benchmarks/load` shows both). Here a read is parsed where it arrives, by
httptools (llhttp), on uvloop; a task is woken once a request.
"""

import asyncio
import ssl
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol, cast
from urllib.parse import urljoin, urlsplit

import httptools

from tuner.load.stream import StreamError
from tuner.types import Target

#: Less than uvicorn's 5 s, so that no request meets a connection that the server is just closing.
_KEEPALIVE_S = 2.0
_ERROR_BYTES = 500
#: The loop reads what came meanwhile at once; after a longer pause it had been waiting for data.
_AT_ONCE_S = 30e-6


#: What a proxy may compress with although it was asked not to, as zlib's `wbits`.
_COMPRESSED = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class Sink(Protocol):
    """What takes the body of an answer, with the time of each read. An answer that ends with its connection has to be done."""

    @property
    def is_done(self) -> bool: ...
    def feed(self, data: bytes, now_s: float) -> None: ...


class Meter:
    """How long data lay unread because its loop was busy with other connections.

    The loop handles in one go all sockets that have data: whatever is read `d` after the first one of them had lain there
    for `d` at least, and for half of the round before, on the mean, if that ended just then.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._round_began_s: float | None = None
        self._round_ended_s = self._before_s = 0.0
        self.delay_s = 0.0
        self.reads = 0
        self.last_byte_s = perf_counter()

    def read(self) -> float:
        """Call it first thing for each read; the time of the read."""
        self.last_byte_s = now_s = perf_counter()
        self.reads += 1
        began_s = self._round_began_s
        if began_s is None:
            began_s = self._round_began_s = now_s
            if now_s - self._round_ended_s > _AT_ONCE_S:
                self._before_s = 0.0
            self._call_soon(self._end)
        self.delay_s += now_s - began_s + self._before_s
        return now_s

    def _end(self) -> None:
        self._round_ended_s = perf_counter()
        self._before_s = (self._round_ended_s - (self._round_began_s or 0.0)) / 2
        self._round_began_s = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where and how to connect, what the requests' heads say, and what a redirection starts from."""

    url: str
    host: str
    port: int
    ssl: ssl.SSLContext | None
    head: bytes

    def request(self, body: bytes) -> bytes:
        """Head and body of one request."""
        return b"%sContent-Length: %d\r\n\r\n%s" % (self.head, len(body), body)


def address_of(target: Target, route: str) -> Address:
    """The address of `route`, e.g. "v1/completions", on a server."""
    parts = urlsplit(target.base_url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    lines = [
        f"POST {parts.path.rstrip('/')}/{route} HTTP/1.1",
        f"Host: {parts.netloc.rpartition('@')[2]}",
        "Content-Type: application/json",
        "Accept: text/event-stream",
        "Accept-Encoding: identity",
        "User-Agent: tuner",
    ]
    if target.api_key is not None:
        lines.append(f"Authorization: Bearer {target.api_key}")
    head = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
    url = f"{target.base_url.rstrip('/')}/{route}"
    return Address(url=url, host=host, port=port, ssl=ssl.create_default_context() if secure else None, head=head)


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, meter: Meter, url: str = "") -> None:
        """`url` is what is asked for."""
        self._meter, self._url = meter, url
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._stream: Sink | None = None
        self._done: asyncio.Future[None] | None = None
        self._now_s = self.last_byte_s = self.idle_since_s = perf_counter()
        self._status = 0
        self._error = b""
        self._headers: dict[bytes, str] = {}
        self._unpack: zlib._Decompress | None = None
        self._is_endless = False
        self.is_answered = False

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes, stream: Sink) -> None:
        """Send a request and feed `stream` until the answer has ended.

        Raises StreamError for an answer that is no stream, ConnectionError when the server closes early, TimeoutError when
        `abort` was called; the connection is closed then.
        """
        assert self._transport is not None
        self._stream, self._status, self._error, self.is_answered = stream, 0, b"", False
        self.last_byte_s = perf_counter()
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            await self._done
        except BaseException:
            self.close()
            raise
        finally:
            self._done = self._stream = None
            self.idle_since_s = perf_counter()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def abort(self, error: Exception) -> None:
        """End the running exchange with an error."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not of asyncio's class

    def data_received(self, data: bytes) -> None:
        self.is_answered = True
        self._now_s = self.last_byte_s = self._meter.read()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            # what a callback raises arrives as the cause
            self.abort(error.__context__ if isinstance(error.__context__, StreamError) else _no_http(data, error))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._done is None or self._done.done():
            return
        if self._status == 200 and self._stream is not None and self._stream.is_done:
            self._done.set_result(None)  # a body without a length ends with its connection
        else:
            self._done.set_exception(ConnectionError(str(exc) if exc else "the server closed it"))

    # what httptools calls

    def on_message_begin(self) -> None:
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        packed = self._headers.get(b"content-encoding", "identity").lower()
        self._is_endless = not self._headers.keys() & {b"content-length", b"transfer-encoding"}
        self._unpack = zlib.decompressobj(_COMPRESSED[packed]) if packed in _COMPRESSED else None
        if self._unpack is None and packed != "identity":
            raise StreamError(f"the answer is compressed ({packed}), although it was asked for as it is")

    def on_body(self, body: bytes) -> None:
        if self._unpack is not None:
            try:
                body = self._unpack.decompress(body)
            except zlib.error as error:
                raise StreamError(f"the answer cannot be unpacked: {error}") from error
        if self._status == 200 and self._stream is not None:
            self._stream.feed(body, self._now_s)
            if self._is_endless and self._stream.is_done and self._done is not None and not self._done.done():
                self._done.set_result(None)  # it has no length, and the server leaves the connection open
                self.close()
        elif len(self._error) < _ERROR_BYTES:
            self._error += body

    def on_message_complete(self) -> None:
        if self._done is None or self._done.done() or self._status < 200:  # 100 and 103 come before the answer
            return
        if self._status == 200:
            self._done.set_result(None)
            if not self._parser.should_keep_alive():
                self.close()
        else:
            text = self._error[:_ERROR_BYTES].decode("utf-8", "replace")
            self._done.set_exception(StreamError(f"HTTP {self._status}{self._advice()}: {text}".removesuffix(": ")))

    def _advice(self) -> str:
        """What the head of a refusal says of what to do."""
        if (target := self._headers.get(b"location")) and 300 <= self._status < 400:
            url = urljoin(self._url, target)
            base, version, _ = url.partition("/v1/")
            return f" to {url}: give {base if version else 'what stands before its /v1'} as the URL"
        after = self._headers.get(b"retry-after")
        return f" (Retry-After: {after})" if after else ""


class Connections:
    """Connections to one address; those that are free are used again."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._free: list[Connection] = []
        self.busy: dict[Connection, Sink] = {}
        self.meter = Meter(asyncio.get_running_loop().call_soon)

    async def exchange(self, request: bytes, stream: Sink) -> None:
        """As `Connection.exchange`, on a free or a new connection; raises OSError when none can be made. Where the server has
        just closed a free one, which it may, a new one is made."""
        used = self._take()
        try:
            await self._on(used or await self._connect(), request, stream)
        except ConnectionError:
            if used is None or used.is_answered:
                raise
            await self._on(await self._connect(), request, stream)

    async def _on(self, connection: Connection, request: bytes, stream: Sink) -> None:
        self.busy[connection] = stream
        try:
            await connection.exchange(request, stream)
        finally:
            del self.busy[connection]
        if connection.is_open:
            self._free.append(connection)

    def close(self) -> None:
        for connection in (*self._free, *self.busy):
            connection.close()

    def _take(self) -> Connection | None:
        while self._free:
            connection = self._free.pop()
            if connection.is_open and perf_counter() - connection.idle_since_s < _KEEPALIVE_S:
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        address = self._address
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self.meter, address.url), address.host, address.port, ssl=address.ssl
        )
        return connection


def _no_http(data: bytes, error: httptools.HttpParserError) -> StreamError:
    return StreamError(f"the answer is no HTTP ({error}): {data[:60]!r}")
