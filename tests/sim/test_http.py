"""HTTP as clients speak it: kept, pipelined and closed connections, bodies in pieces, slow readers, and what is no HTTP."""

import json
import socket
import threading
import time

import pytest

from tuner.sim.http import STREAM_END, STREAM_HEAD, Connection, Loop, Request, chunk

BIG = b"x" * (8 << 20)


class Echo:
    """Answers with what was asked; /later after 30 ms, /big with more than a socket holds, /stream in chunks."""

    def __init__(self) -> None:
        self.left: list[Connection] = []
        self._later: list[tuple[float, Connection]] = []

    def handle(self, connection: Connection, request: Request) -> None:
        if request.path == "/later":
            self._later.append((time.perf_counter() + 0.03, connection))
        elif request.path == "/never":
            return
        elif request.path == "/big":
            connection.answer(200, BIG)
        elif request.path == "/stream":
            connection.send(STREAM_HEAD + chunk(b"one") + chunk(b"two") + STREAM_END)
            connection.end()
        else:
            connection.answer(200, json.dumps([request.method, request.path, request.body.decode()]).encode())

    def gone(self, connection: Connection) -> None:
        self.left.append(connection)

    def due(self) -> float | None:
        while self._later and self._later[0][0] <= time.perf_counter():
            self._later.pop(0)[1].answer(200, b"later")
        return max(self._later[0][0] - time.perf_counter(), 0.0) if self._later else None


@pytest.fixture(scope="module")
def echo() -> tuple[Echo, tuple[str, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    application = Echo()
    threading.Thread(target=Loop(listener, application).run, daemon=True).start()
    return application, listener.getsockname()


def talk(address: tuple[str, int], data: bytes, until: bytes) -> bytes:
    """Send, and read until the answer ends with `until`."""
    with socket.create_connection(address, timeout=20) as client:
        client.sendall(data)
        found = b""
        while not found.endswith(until):
            part = client.recv(1 << 20)
            assert part, found[-100:]
            found += part
        return found


def request(path: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_requests_on_one_connection_are_answered_in_their_order(echo: tuple[Echo, tuple[str, int]]) -> None:
    """Also where the second one comes while the first one waits for its answer."""
    found = talk(echo[1], request("/later") + request("/a?b=c", b"body"), b'"body"]')
    assert found.index(b"later") < found.index(b'["POST", "/a", "body"]')


def test_a_body_may_come_in_pieces_and_in_chunks(echo: tuple[Echo, tuple[str, int]]) -> None:
    with socket.create_connection(echo[1], timeout=20) as client:
        for part in (b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Le", b"ngth: 4\r\n\r\nab", b"cd"):
            client.sendall(part)
            time.sleep(0.01)
        assert client.recv(4096).endswith(b'["POST", "/x", "abcd"]')
    head = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert talk(echo[1], head + chunk(b"ab") + chunk(b"c") + STREAM_END, b'"abc"]')


def test_a_slow_reader_gets_all_of_it(echo: tuple[Echo, tuple[str, int]]) -> None:
    with socket.create_connection(echo[1], timeout=20) as client:
        client.sendall(request("/big") + request("/after"))
        time.sleep(0.05)
        found = b""
        while not found.endswith(b'"/after", ""]'):
            found += client.recv(1 << 16)
    assert found.count(b"x") == len(BIG)


def test_a_stream_is_chunked(echo: tuple[Echo, tuple[str, int]]) -> None:
    found = talk(echo[1], request("/stream"), STREAM_END)
    assert found == STREAM_HEAD + b"3\r\none\r\n3\r\ntwo\r\n" + STREAM_END


def test_who_asks_for_it_is_hung_up_on(echo: tuple[Echo, tuple[str, int]]) -> None:
    with socket.create_connection(echo[1], timeout=20) as client:
        client.sendall(request("/a", b"", "Connection: close"))
        found = b""
        while part := client.recv(4096):
            found += part
    assert found.endswith(b'["POST", "/a", ""]')


def test_a_client_that_leaves_is_noticed_once(echo: tuple[Echo, tuple[str, int]]) -> None:
    application, address = echo
    application.left.clear()
    with socket.create_connection(address, timeout=20) as client:
        client.sendall(request("/never"))
        time.sleep(0.05)
    assert talk(address, request("/a"), b"]")
    end = time.monotonic() + 20
    while not application.left and time.monotonic() < end:
        time.sleep(0.01)
    assert len(application.left) == 1


def test_what_is_no_http_is_refused(echo: tuple[Echo, tuple[str, int]]) -> None:
    with socket.create_connection(echo[1], timeout=20) as client:
        client.sendall(b"hello\r\n\r\n")
        found = b""
        while part := client.recv(4096):
            found += part
    assert found.startswith(b"HTTP/1.1 400 ")
