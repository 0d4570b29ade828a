"""The ground truth of the load benchmarks must itself be true: the wire, the pace, and what it says of itself."""

import http.client
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from waiting import in_a_calm_moment, wait_for

SERVER = Path(__file__).parents[1] / "benchmarks" / "paced_server.py"


class Client:
    """One kept connection to the server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        self.connection.request(method, path, data)
        response = self.connection.getresponse()
        return response.status, response.read()

    def json(self, method: str, path: str, body: object = None) -> Any:
        status, data = self.ask(method, path, body)
        assert status == 200, data
        return json.loads(data)

    def stream(self, path: str, **fields: object) -> list[dict[str, Any]]:
        """The chunks of a stream that must be whole."""
        body = {"stream": True, "stream_options": {"include_usage": True}, **fields}
        status, data = self.ask("POST", path, body)
        assert status == 200, data
        *events, end, rest = data.split(b"\n\n")
        assert (end, rest) == (b"data: [DONE]", b"")
        return [json.loads(event.removeprefix(b"data: ")) for event in events]

    def metric(self, name: str) -> int:
        lines = dict(line.rsplit(" ", 1) for line in self.ask("GET", "/metrics")[1].decode().splitlines())
        return int(lines[f'vllm:{name}{{engine="0"}}'])

    def close(self) -> None:
        self.connection.close()


@contextmanager
def paced_server(*arguments: str) -> Iterator[Client]:
    process = subprocess.Popen([sys.executable, SERVER, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    client = Client(process.stdout.readline().strip())
    try:
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(("group", "held"), [(1, [1, 1, 1, 1, 1, 1, 1]), (4, [1, 4, 2])])
def test_a_completion_is_vllms_stream(group: int, held: list[int]) -> None:
    with paced_server("--ttft", "0.01", "--itl", "0.001", "--tokens-per-chunk", str(group)) as client:
        *events, last, usage = client.stream("/v1/completions", prompt=[300] * 7, max_tokens=7)
        assert [len(event["choices"][0]["text"].split()) for event in (*events, last)] == held
        assert {event["choices"][0]["finish_reason"] for event in events} == {None}
        assert last["choices"][0]["finish_reason"] == "length"
        assert usage["choices"] == []
        assert usage["usage"] == {"prompt_tokens": 7, "total_tokens": 14, "completion_tokens": 7}
        assert client.metric("generation_tokens_total") == 7
        assert client.metric("prompt_tokens_total") == 7


def test_a_chat_begins_with_the_role_and_counts_as_tokenize_does() -> None:
    messages = [{"role": "user", "content": "Text: w300 w301 the"}]
    with paced_server("--ttft", "0.01", "--itl", "0.001") as client:
        role, *answer, usage = client.stream("/v1/chat/completions", messages=messages, max_tokens=3)
        assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        text = "".join(event["choices"][0]["delta"]["content"] for event in answer)
        assert client.json("POST", "/tokenize", {"prompt": text})["count"] == 3
        counted = client.json("POST", "/tokenize", {"messages": messages, "add_generation_prompt": True})
        assert counted["tokens"] == [1, 2, 5, 300, 301, 5, 3, 1, 2]
        assert usage["usage"]["prompt_tokens"] == counted["count"]
        role, last, usage = client.stream("/v1/chat/completions", messages=messages, max_tokens=1)
        assert "role" in role["choices"][0]["delta"]
        assert last["choices"][0]["finish_reason"] == "length"
        assert client.json("POST", "/detokenize", {"tokens": [300, 5, 4095]}) == {"prompt": "w300 w4095"}


def test_an_answer_that_is_not_streamed_is_whole() -> None:
    with paced_server("--ttft", "0.01", "--itl", "0.001", "--model", "mine") as client:
        assert client.json("GET", "/v1/models")["data"][0]["id"] == "mine"
        answer = client.json("POST", "/v1/completions", {"prompt": "w300 w301", "max_tokens": 5})
        assert answer["usage"] == {"prompt_tokens": 2, "total_tokens": 7, "completion_tokens": 5}
        assert client.metric("generation_tokens_total") == 5


@in_a_calm_moment
def test_tokens_come_when_they_are_due() -> None:
    with paced_server("--ttft", "0.2", "--itl", "0.05") as client:
        client.stream("/v1/completions", prompt=[300], max_tokens=5)
        client.stream("/v1/completions", prompt=[300], max_tokens=1)
        stats = client.json("GET", "/stats")
        long, short = stats["requests"]
        for request in (long, short):
            assert 0.2 <= request["first_send_s"] - request["received_s"] < 0.3
        assert 0.15 <= long["last_send_s"] - long["first_send_s"] + stats["late_s"]["max"] < 0.3
        assert short["last_send_s"] - short["first_send_s"] < 0.05
        assert [long["tokens"], short["tokens"]] == [5, 1]
        assert client.json("DELETE", "/stats") == {}
        assert client.json("GET", "/stats")["requests"] == []


@in_a_calm_moment
def test_steps_come_at_ticks() -> None:
    with paced_server("--ttft", "0.03", "--itl", "0.2", "--step") as client:
        client.stream("/v1/completions", prompt=[300], max_tokens=3)
        (request,) = client.json("GET", "/stats")["requests"]
        tick = math.ceil((request["received_s"] + 0.03) / 0.2) * 0.2
        assert tick <= request["first_send_s"] < tick + 0.1
        assert tick + 0.4 - 1e-6 <= request["last_send_s"] < tick + 0.5


def test_a_client_that_leaves_is_forgotten() -> None:
    with paced_server("--ttft", "0.01", "--itl", "0.05") as client:
        body = {"prompt": [300], "max_tokens": 1000, "stream": True}
        leaving = Client(client.url)
        leaving.connection.request("POST", "/v1/completions", json.dumps(body))
        with leaving.connection.getresponse() as response:
            assert response.readline().startswith(b"data: ")
        leaving.close()
        wait_for(lambda: client.metric("num_requests_running") == 0)
        (request,) = client.json("GET", "/stats")["requests"]
        assert 1 <= request["tokens"] < 1000


def test_what_a_slow_reader_has_no_room_for_is_kept() -> None:
    tokens = 40_000  # 10 MB, more than the sockets hold
    with paced_server("--ttft", "0.01", "--itl", "0.00001") as client:
        body = {"prompt": [300], "max_tokens": tokens, "stream": True, "stream_options": {"include_usage": True}}
        client.connection.request("POST", "/v1/completions", json.dumps(body))
        other = Client(client.url)
        wait_for(lambda: other.metric("generation_tokens_total") == tokens)
        data = client.connection.getresponse().read()
        assert data.count(b"\n\n") == tokens + 2
        assert data.endswith(b"data: [DONE]\n\n")
        assert client.ask("GET", "/health") == (200, b"")
        other.close()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/completions", b"{", 400),
        ("/v1/completions", b"[]", 400),
        ("/v1/completions", {"max_tokens": 3}, 400),
        ("/v1/completions", {"prompt": [], "max_tokens": 3}, 400),
        ("/v1/completions", {"prompt": [300], "max_tokens": -1}, 400),
        ("/nowhere", {}, 404),
    ],
)
def test_a_bad_request_is_refused_and_the_next_one_served(path: str, body: object, status: int) -> None:
    with paced_server("--ttft", "0.01", "--itl", "0.001") as client:
        assert client.ask("POST", path, body)[0] == status
        assert len(client.stream("/v1/completions", prompt=[300], max_tokens=2)) == 3


def test_bad_arguments_are_refused() -> None:
    done = subprocess.run([sys.executable, SERVER, "--itl", "0"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "--itl and --tokens-per-chunk must be positive" in done.stderr
