"""What tests of the simulated engine share: a server process, the server without sockets on a clock that they set, and what
whole studies leave in their database.
"""

import http.client
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from waiting import answers, free_port, wait_for

from tuner.predict.copies import make_server
from tuner.predict.memory import predict_memory
from tuner.predict.settings import resolve
from tuner.predict.shape import read_shape
from tuner.sim.http import Request
from tuner.sim.server import SimulatedServer
from tuner.sim.tokens import Tokenizer
from tuner.space.files import load_space
from tuner.types import Failed, Value

#: A model whose shape tuner knows without a download.
MODEL = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"


class Client:
    """One kept connection to a server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        self.connection.request(method, path, data, {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        return response.status, response.read()

    def json(self, method: str, path: str, body: object = None) -> Any:
        status, data = self.ask(method, path, body)
        assert status == 200, data
        return json.loads(data)

    def stream(self, path: str, **fields: object) -> list[dict[str, Any]]:
        """The events of a stream that must be whole, without the end mark."""
        status, data = self.ask("POST", path, {"stream": True, **fields})
        assert status == 200, data
        *events, end, rest = data.split(b"\n\n")
        assert (end, rest) == (b"data: [DONE]", b"")
        return [json.loads(event.removeprefix(b"data: ")) for event in events]


def start(port: int, *flags: str, gpu: str = "t4", speed: float = 100.0, model: str = MODEL) -> "subprocess.Popen[str]":
    """`python -m tuner.sim`; what it writes is its stdout."""
    own = ["--gpu", gpu, "--speed", str(speed)]
    command = [sys.executable, "-m", "tuner.sim", *own, "serve", model, *flags, "--port", str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ))


def failed(*flags: str, gpu: str = "t4", speed: float = 1000.0) -> tuple[int, str]:
    """The exit code and the log of a start that must fail."""
    server = start(free_port(), *flags, gpu=gpu, speed=speed)
    log, _ = server.communicate(timeout=60)
    return server.returncode, log


@contextmanager
def simulated(*flags: str, gpu: str = "t4", speed: float = 100.0, model: str = MODEL) -> Iterator[Client]:
    """A server that is ready, and ends with the block."""
    port = free_port()
    server = start(port, *flags, gpu=gpu, speed=speed, model=model)
    try:
        wait_for(lambda: server.poll() is not None or answers(f"http://127.0.0.1:{port}/health"), 60)
        client = Client(f"http://127.0.0.1:{port}")
        yield client
        client.connection.close()
    finally:
        server.terminate()
        server.communicate(timeout=30)


class Wire:
    """Stands in for a client's connection: keeps what it is sent, with the time by `clock`, and calls `ended` when an answer
    has."""

    def __init__(
        self, clock: Callable[[], float] = lambda: 0.0, ended: Callable[["Wire"], None] = lambda wire: None
    ) -> None:
        self.sent: list[bytes] = []
        self.times_s: list[float] = []
        self._clock, self._ended = clock, ended

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        self.times_s.append(self._clock())

    def answer(self, status: int, content: bytes, content_type: str = "application/json") -> None:
        self.send(content)
        self.end()

    def end(self) -> None:
        self._ended(self)


class Stepped:
    """A server without sockets, whose time passes only from one event to the next."""

    def __init__(self, gpu: str, params: dict[str, Value], speed: float = 1.0) -> None:
        card, shape = load_space(gpu).gpu, read_shape(MODEL)
        settings = resolve(params, shape, card)
        assert not isinstance(settings, Failed)
        memory = predict_memory(shape, card, settings)
        scheduler = make_server(shape, card, settings, memory)
        self.now_s, self.speed = 0.0, speed
        tokenizer = Tokenizer(shape.vocab)
        self.server = SimulatedServer(scheduler, settings, memory, tokenizer, MODEL, speed, lambda: self.now_s)

    def post(self, wire: Wire, path: str, **fields: object) -> None:
        request = Request("POST", path, json.dumps(fields).encode())
        self.server.handle(wire, request)  # type: ignore[arg-type]

    def step(self) -> bool:
        """On to what is due next, which is sent; False when there is nothing."""
        wait_s = self.server.due()
        if wait_s is None:
            return False
        self.now_s += max(wait_s, 1e-9)
        self.server.due()
        return True


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """What the folder's database has; nothing before it is there."""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'tuner.db'}?mode=ro", uri=True)) as database:
            return database.execute(sql).fetchall()
    except sqlite3.OperationalError:
        return []


def sessions(folder: Path) -> list[int]:
    """Those of all servers that the folder's studies have launched."""
    return [row[0] for row in rows(folder, "SELECT pgid FROM tuner_launch")]
