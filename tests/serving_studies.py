"""What tests of the service share: `tuner serve` as a process of its own in a folder, and a client of it."""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waiting import answers, free_port, wait_for

#: A study that takes a few seconds: nothing is predicted, and nothing launched again.
QUICK: Mapping[str, Any] = {"gpu": "t4", "engine": "sim", "trials": 2, "verify": 0, "sampler": "random"}
MEANT = {"X-Tuner": "1", "Content-Type": "application/json"}


@dataclass
class Service:
    """A service that runs, or did."""

    folder: Path
    storage: str
    port: int
    process: "subprocess.Popen[bytes]"
    token: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        return (self.folder / f"serve-{self.port}.txt").read_text()

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers, body. A path without a slash is one of the API."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        given = {**(MEANT if method == "POST" else {}), **(headers or {})}
        if self.token:
            given.setdefault("Authorization", f"Bearer {self.token}")
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            connection.request(method, path if path.startswith("/") else f"/api/v1/{path}", data, given)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, path: str, status: int = 200) -> Any:
        return self._json("GET", path, None, status)

    def post(self, path: str, body: object = None, status: int = 200) -> Any:
        return self._json("POST", path, {} if body is None else body, status)

    def _json(self, method: str, path: str, body: object, status: int) -> Any:
        found, _, data = self.ask(method, path, body)
        assert found == status, data
        return json.loads(data)

    def create(self, name: str, **more: object) -> Any:
        return self.post("studies", {**QUICK, "study": name, **more}, 201)

    def state(self, name: str) -> str:
        return str(self.get(f"studies/{name}")["state"])

    def wait(self, name: str, *states: str, deadline_s: float = 240) -> None:
        wait_for(lambda: self.state(name) in states, deadline_s)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def start(folder: Path, storage: str, *flags: str, token: str | None = None) -> Service:
    """Once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "tuner", "serve", "--port", str(port), "--storage", storage, *flags]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER_")}
    with (folder / f"serve-{port}.txt").open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=clean, stdout=out, stderr=out)
    found = Service(folder, storage, port, process, token)
    wait_for(lambda: process.poll() is not None or answers(f"{found.url}/api/v1/health"), 120)
    assert process.poll() is None, found.said
    return found


@contextmanager
def serving(folder: Path, storage: str | None = None, *flags: str, token: str | None = None) -> Iterator[Service]:
    """A service that ends with the block, if it has not ended."""
    found = start(folder, storage or f"sqlite:///{folder / 'x.db'}", *flags, token=token)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.end()


def events(lines: bytes) -> list[tuple[str, str, Any]]:
    """Name, id and data of whole events."""
    found = []
    for block in lines.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append((fields["event"], fields["id"], json.loads(fields["data"])))
    return found
