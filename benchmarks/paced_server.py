"""A server with vLLM's routes and wire format whose tokens come at exactly known times: the ground truth of load generators.

    python benchmarks/paced_server.py --ttft 0.055 --itl 0.010 [--step] [--port 0] [--tokens-per-chunk 1] [--model paced]

Prints its URL when it is ready. The first token of a request is sent `ttft` seconds after the request's last byte came in,
every further one `itl` seconds after the one before, without drift. With --step all streams get their tokens at the same ticks
(multiples of `itl`), first tokens last, as from an engine's steps. With --tokens-per-chunk K the chunks after the first hold
K tokens and come K times as seldom, like vLLM's stream_interval. An answer that is not streamed comes whole after `ttft`.

Every word is one token: `w300` is token 300, other words are token 5. GET /stats is the server's own truth, on the clock of
time.perf_counter(): each ended request, and how late its sends were. DELETE /stats forgets it. GET /metrics is vLLM's.
The server does not know what its clients measure. One core streams more than 60,000 chunks a second.
"""

import argparse
import contextlib
import gc
import json
import math
import resource
import select
import socket
import sys
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from paced_wire import MAX_MODEL_LEN, STREAM_HEAD, Answer, detokenize, http_answer, metrics, models, tokenize

#: Sends between two looks at the sockets; a request that arrives meanwhile is noticed that much later.
SENDS_PER_TURN = 32
BACKLOG = 4096
READ_BYTES = 65536


@dataclass(slots=True, eq=False)
class Connection:
    """A client's socket and the one request that it may have open."""

    sock: socket.socket
    send: Callable[[bytes], int]
    inbox: bytearray = field(default_factory=bytearray)
    backlog: bytearray = field(default_factory=bytearray)  # what the client has not made room for yet
    left: int = 0  # chunks yet to be sent; 0: no request is open
    due_s: float = 0.0
    chunk: bytes = b""
    first: bytes = b""  # in place of the first chunk
    ending: tuple[bytes, ...] = ()  # in place of the last chunk
    chunks: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    received_s: float = 0.0
    first_send_s: float = 0.0

    def hold(self, data: bytes) -> int:
        """Stands in for `send` while there is a backlog."""
        self.backlog += data
        return len(data)


class PacedServer:
    """Streams wait in the order in which they are due: all pauses are alike, so two plain queues stay sorted."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._ttft_s: float = arguments.ttft
        self._itl_s: float = arguments.itl
        self._step: bool = arguments.step
        self._group: int = arguments.tokens_per_chunk
        self._model: str = arguments.model
        self._first: deque[Connection] = deque()
        self._following: deque[Connection] = deque()
        self._connections: dict[int, Connection] = {}
        self._generated = self._prompted = self._requests = 0
        self._looked_s = 0.0
        self._forget()
        self._epoll = select.epoll()
        self._listener = socket.create_server(("127.0.0.1", arguments.port), backlog=BACKLOG)
        self._listener.setblocking(False)
        self._epoll.register(self._listener, select.EPOLLIN)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        listener, connections = self._listener.fileno(), self._connections
        while True:
            due_s = min((queue[0].due_s for queue in (self._first, self._following) if queue), default=None)
            wait_s = None if due_s is None else max(due_s - perf_counter(), 0.0)
            if wait_s != 0.0:  # epoll's own timeout is in whole milliseconds
                select.select([self._epoll], [], [], wait_s)
            ready = self._epoll.poll(0)
            self._looked_s = perf_counter()  # all that is ready had arrived by now
            for descriptor, events in ready:
                if descriptor == listener:
                    self._accept()
                    continue
                connection = connections[descriptor]
                if events & select.EPOLLOUT:
                    self._flush(connection)
                if events & ~select.EPOLLOUT:
                    self._read(connection)
            self._send_due()

    # Tokens

    def _send_due(self) -> None:
        first, following = self._first, self._following
        pause_s, slack_s = self._itl_s * self._group, self._itl_s / 2 if self._step else 0.0
        now_s = perf_counter()
        sends, due_s = 0, now_s
        while sends < SENDS_PER_TURN:
            queue = first if first and (not following or first[0].due_s + slack_s < following[0].due_s) else following
            if not queue or queue[0].due_s > now_s:
                break
            connection = queue.popleft()
            connection.left -= 1
            if connection.left < 0:  # closed meanwhile
                continue
            due_s = connection.due_s
            sends += 1
            if queue is first:
                connection.first_send_s = perf_counter()
                self._generated += 1 - self._group
            if connection.left == 0:
                self._finish(connection)
                continue
            chunk = connection.first if queue is first else connection.chunk
            try:
                sent = connection.send(chunk)
            except OSError:
                sent = 0
            if sent != len(chunk):
                self._hold(connection, chunk[sent:])
            connection.due_s = due_s + pause_s
            following.append(connection)
        if sends:
            self._generated += sends * self._group
            self._late_s.append(perf_counter() - due_s)

    def _finish(self, connection: Connection) -> None:
        self._record(connection, connection.tokens)
        for part in connection.ending:
            self._send(connection, part)
        self._generated += connection.tokens - 1 - (connection.chunks - 1) * self._group
        if connection.inbox:
            self._take_requests(connection)

    # Sockets

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections[sock.fileno()] = Connection(sock, sock.send)
                self._epoll.register(sock, select.EPOLLIN)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.inbox += data
        self._take_requests(connection)

    def _close(self, connection: Connection) -> None:
        if connection.left:
            sent = connection.chunks - connection.left
            self._record(connection, 1 + (sent - 1) * self._group if sent else 0)
            connection.left = 0
        if self._connections.pop(connection.sock.fileno(), None):
            connection.sock.close()

    def _send(self, connection: Connection, data: bytes) -> None:
        try:
            sent = connection.send(data)
        except OSError:
            sent = 0
        if sent != len(data):
            self._hold(connection, data[sent:])

    def _hold(self, connection: Connection, data: bytes) -> None:
        connection.backlog += data
        connection.send = connection.hold
        self._epoll.modify(connection.sock, select.EPOLLIN | select.EPOLLOUT)

    def _flush(self, connection: Connection) -> None:
        with contextlib.suppress(OSError):
            del connection.backlog[: connection.sock.send(connection.backlog)]
        if not connection.backlog:
            connection.send = connection.sock.send
            self._epoll.modify(connection.sock, select.EPOLLIN)

    # Requests

    def _take_requests(self, connection: Connection) -> None:
        """Answers the whole requests that have come in, one after another."""
        inbox = connection.inbox
        while connection.left == 0 and (end := inbox.find(b"\r\n\r\n")) >= 0:
            head = inbox[:end].decode("latin-1")
            headers = dict(line.lower().split(":", 1) for line in head.split("\r\n")[1:] if ":" in line)
            size = end + 4 + int(headers.get("content-length", "0"))
            if len(inbox) < size:
                return
            content = bytes(inbox[end + 4 : size])
            del inbox[:size]
            method, path = head.split(" ", 2)[:2]
            try:
                answer = self._route(connection, method, path.partition("?")[0], content)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                answer = http_answer({"error": {"message": f"bad request: {error!r}"}}, status="400 Bad Request")
            self._send(connection, answer)

    def _route(self, connection: Connection, method: str, path: str, content: bytes) -> bytes:
        """What is sent at once."""
        match method, path:
            case "POST", "/v1/completions" | "/v1/chat/completions":
                return self._generate(connection, json.loads(content))
            case "POST", "/tokenize":
                tokens = tokenize(json.loads(content))
                return http_answer({"count": len(tokens), "max_model_len": MAX_MODEL_LEN, "tokens": tokens})
            case "POST", "/detokenize":
                return http_answer({"prompt": detokenize(json.loads(content)["tokens"])})
            case "GET", "/v1/models":
                return http_answer(models(self._model))
            case "GET", "/health":
                return http_answer(b"")
            case "GET", "/metrics":
                counted = {"generated": self._generated, "prompted": self._prompted}
                page = metrics(**counted, running=len(self._following), waiting=len(self._first))
                return http_answer(page, content_type="text/plain; version=1.0.0; charset=utf-8")
            case "GET", "/stats":
                return http_answer(self._stats())
            case "DELETE", "/stats":
                self._forget()
                return http_answer({})
        return http_answer({"error": {"message": f"no route {method} {path}"}}, status="404 Not Found")

    def _generate(self, connection: Connection, body: dict[str, Any]) -> bytes:
        tokens = int(body.get("max_completion_tokens") or body.get("max_tokens") or 16)
        prompt_tokens = len(tokenize(body))
        if tokens < 1 or prompt_tokens < 1:
            raise ValueError("neither the prompt nor max_tokens may be empty")
        self._requests += 1
        self._prompted += prompt_tokens
        connection.tokens, connection.prompt_tokens = tokens, prompt_tokens
        connection.received_s = connection.first_send_s = self._looked_s
        answer = Answer("messages" in body, self._requests, self._model, prompt_tokens, tokens)
        if body.get("stream"):
            opening = answer.opening()
            connection.first = opening + answer.chunk(1)
            connection.chunk = answer.chunk(self._group)
            end = answer.end(usage=bool((body.get("stream_options") or {}).get("include_usage")))
            if tokens == 1:
                last = opening + answer.chunk(1, finish_reason="length")
            else:
                last = answer.chunk((tokens - 2) % self._group + 1, finish_reason="length")
            connection.ending = (last, end)
            connection.chunks = 1 + math.ceil((tokens - 1) / self._group)
        else:
            connection.ending, connection.chunks = (http_answer(answer.whole()),), 1
        connection.left = connection.chunks
        due_s = self._looked_s + self._ttft_s
        connection.due_s = math.ceil(due_s / self._itl_s) * self._itl_s if self._step else due_s
        self._first.append(connection)
        return STREAM_HEAD if body.get("stream") else b""

    # What the server tells of itself

    def _record(self, connection: Connection, tokens: int) -> None:
        self._ended.append(
            (connection.received_s, connection.first_send_s, perf_counter(), tokens, connection.prompt_tokens)
        )

    def _forget(self) -> None:
        self._ended: list[tuple[float, float, float, int, int]] = []
        self._late_s = array("d")  # one sample a turn: of its last send

    def _stats(self) -> dict[str, Any]:
        names = ("received_s", "first_send_s", "last_send_s", "tokens", "prompt_tokens")
        late_s = sorted(self._late_s) or [0.0]
        share = {
            name: late_s[min(int(len(late_s) * at), len(late_s) - 1)] for name, at in (("p50", 0.5), ("p99", 0.99))
        }
        return {
            "requests": [dict(zip(names, ended, strict=True)) for ended in self._ended],
            "late_s": {"mean": sum(late_s) / len(late_s), **share, "max": late_s[-1]},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ttft", type=float, default=0.055, help="seconds")
    parser.add_argument("--itl", type=float, default=0.010, help="seconds")
    parser.add_argument("--step", action="store_true", help="all streams get their tokens at the same ticks")
    parser.add_argument("--tokens-per-chunk", type=int, default=1)
    parser.add_argument("--model", default="paced")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.ttft < 0 or arguments.itl <= 0 or arguments.tokens_per_chunk < 1:
        parser.error("--itl and --tokens-per-chunk must be positive, and --ttft not negative")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = PacedServer(arguments)
    gc.disable()  # nothing here makes cycles, and a collection would make tokens late
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        server.serve()


if __name__ == "__main__":
    main()
