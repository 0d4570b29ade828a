"""Sockets in, whole HTTP/1.1 requests out; the bytes of answers back. It knows no route and no model.

One thread around epoll, without asyncio: it starts in a quarter of the time, and its timers are finer than a millisecond.
"""

import contextlib
import select
import socket
from collections import deque
from dataclasses import dataclass
from typing import NoReturn, Protocol

import httptools

_READ_BYTES = 1 << 16
#: epoll's own timeout is in whole milliseconds, select's is not; a wait below this is none.
_LEAST_WAIT_S = 20e-6
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 422: "Unprocessable Entity"}
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: tuner-sim\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
STREAM_END = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `path` is without the query."""

    method: str
    path: str
    body: bytes


class Application(Protocol):
    """What answers: at once with `Connection.answer`, or later, when it is `due`."""

    def handle(self, connection: "Connection", request: Request) -> None: ...

    def gone(self, connection: "Connection") -> None:
        """The client has left before its answer ended."""
        ...

    def due(self) -> float | None:
        """Send what is due; in how many seconds to be called again (None: when a request comes)."""
        ...


def answer(status: int, content: bytes, content_type: str = "application/json") -> bytes:
    """A whole answer."""
    head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\nserver: tuner-sim\r\n"
    kind = f"content-type: {content_type}\r\n" if content else ""
    return f"{head}{kind}content-length: {len(content)}\r\n\r\n".encode() + content


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Connection:
    """A client's socket. Its requests are handed on one after another: the next one when the answer to the last has ended."""

    def __init__(self, loop: "Loop", sock: socket.socket) -> None:
        self._loop, self.sock = loop, sock
        self._parser = httptools.HttpRequestParser(self)
        self._requests: deque[tuple[Request, bool]] = deque()
        self._url, self._body = b"", bytearray()
        self._backlog = bytearray()  # what the client has not made room for yet
        self._keep_alive = True
        self.is_busy = self.is_closed = False

    def send(self, data: bytes) -> None:
        """As much as there is room for now, the rest as soon as there is."""
        sent = 0
        if not self._backlog:
            with contextlib.suppress(OSError):  # a client that has left is noticed when it is read from
                sent = self.sock.send(data)
        if sent < len(data):
            self._backlog += data[sent:]
            self._loop.watch(self, writing=True)

    def answer(self, status: int, content: bytes, content_type: str = "application/json") -> None:
        self.send(answer(status, content, content_type))
        self.end()

    def end(self) -> None:
        """The answer has ended."""
        self.is_busy = False
        self._next()

    # what the loop calls

    def read(self) -> None:
        try:
            data = self.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.close(self)
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._keep_alive = False
            self.send(answer(400, b"Invalid HTTP request received.", "text/plain; charset=utf-8"))
        self._next()

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            del self._backlog[: self.sock.send(self._backlog)]
        if not self._backlog:
            self._loop.watch(self, writing=False)
            self._next()

    def _next(self) -> None:
        while self._requests and not self.is_busy and self._keep_alive:
            self.is_busy = True
            request, self._keep_alive = self._requests.popleft()
            self._loop.application.handle(self, request)
        if not (self._keep_alive or self.is_busy or self._backlog):
            self._loop.close(self)

    # what httptools calls

    def on_message_begin(self) -> None:
        self._url, self._body = b"", bytearray()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        path = self._url.partition(b"?")[0].decode("latin-1")
        request = Request(self._parser.get_method().decode("latin-1"), path, bytes(self._body))
        self._requests.append((request, self._parser.should_keep_alive()))


class Loop:
    """Reads, and calls the application when it is due, forever."""

    def __init__(self, listener: socket.socket, application: Application) -> None:
        self.application = application
        self._listener = listener
        self._connections: dict[int, Connection] = {}
        self._epoll = select.epoll()
        listener.setblocking(False)
        self._epoll.register(listener, select.EPOLLIN)

    def run(self) -> NoReturn:
        epoll, listener, application = self._epoll, self._listener.fileno(), self.application
        while True:
            wait_s = application.due()
            if wait_s is None or wait_s > _LEAST_WAIT_S:
                select.select([epoll], [], [], wait_s)
            for descriptor, events in epoll.poll(0):
                if descriptor == listener:
                    self._accept()
                elif (connection := self._connections.get(descriptor)) is not None:
                    if events & select.EPOLLOUT:
                        connection.flush()
                    if events & ~select.EPOLLOUT and not connection.is_closed:
                        connection.read()

    def wake_on(self, descriptor: int) -> None:
        """Let what can be read there end a wait, so that a signal's handler runs."""
        self._epoll.register(descriptor, select.EPOLLIN)

    def watch(self, connection: Connection, *, writing: bool) -> None:
        """Wait for room to write, too, or no longer."""
        if not connection.is_closed:
            self._epoll.modify(connection.sock, select.EPOLLIN | (select.EPOLLOUT if writing else 0))

    def close(self, connection: Connection) -> None:
        if connection.is_closed:
            return
        connection.is_closed = True
        del self._connections[connection.sock.fileno()]
        connection.sock.close()
        if connection.is_busy:
            self.application.gone(connection)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections[sock.fileno()] = Connection(self, sock)
                self._epoll.register(sock, select.EPOLLIN)
