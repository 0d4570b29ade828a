"""The simulated server beside a real vLLM with the same model: the same requests get answers of the same form."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from simulating import Client, simulated
from waiting import wait_for

pytestmark = pytest.mark.engine

USAGE = {"stream_options": {"include_usage": True}}
RUNNING = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
WORDS = {"messages": [{"role": "user", "content": "Text: one two three"}]}
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
#: What the simulation says of itself, where vLLM says which build it is.
OWN = ("id", "system_fingerprint", "owned_by", "permission", "created", "root")


@pytest.fixture(scope="module")
def both(vllm_url: str, demo_model: Path) -> Iterator[tuple[Client, Client]]:
    with simulated("--max-model-len", "2048", model=str(demo_model), speed=1.0) as ours:
        theirs = Client(vllm_url)
        yield theirs, ours
        theirs.connection.close()


def form(value: Any) -> Any:
    """Keys in their order, and the kinds of values."""
    match value:
        case dict():
            return [(key, None if key in OWN else form(inner)) for key, inner in value.items()]
        case list():
            return [form(inner) for inner in value[:1]]
        case bool() | None:
            return value
        case int() | float():
            return "number"
    return "text"


def asked(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    (model,) = client.json("GET", "/v1/models")["data"]
    return {"model": model["id"], "temperature": 0, **body}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {**WORDS, "max_tokens": 4, "min_tokens": 4, "ignore_eos": True, **USAGE}),
        (CHAT, {**WORDS, "max_tokens": 4, "min_tokens": 4, "ignore_eos": True, **RUNNING}),
        (CHAT, {**WORDS, "max_tokens": 3, "ignore_eos": True}),
        (CHAT, {**WORDS, "max_tokens": 1, "ignore_eos": True, **USAGE}),
        (TEXT, {"prompt": [[300, 301]], "max_tokens": 4, "min_tokens": 4, "ignore_eos": True, **USAGE}),
        (TEXT, {"prompt": "one two", "max_tokens": 4, "ignore_eos": True, **RUNNING}),
        (TEXT, {"prompt": [300], "max_tokens": 2, "ignore_eos": True}),
    ],
)
def test_streams(both: tuple[Client, Client], path: str, body: dict[str, Any]) -> None:
    """Event by event, of an answer that came token by token."""
    theirs, ours = (token_by_token(client, path, body) for client in both)
    assert different(theirs) == different(ours)


def token_by_token(client: Client, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Asked again until no event has two tokens, as vLLM's have where the machine is busy and the answer waits to be sent."""
    events: list[dict[str, Any]] = []
    role = path == CHAT  # the first event has no token

    def came() -> bool:
        events[:] = client.stream(path, **asked(client, body))
        return sum(bool(event["choices"]) for event in events) == role + int(body["max_tokens"])

    wait_for(came)
    return events


def different(events: list[dict[str, Any]]) -> list[Any]:
    """The forms of the events, each once where it comes again and again."""
    forms = [form(event) for event in events]
    return [one for at, one in enumerate(forms) if at == 0 or one != forms[at - 1]]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", CHAT, {**WORDS, "max_tokens": 4, "ignore_eos": True}),
        ("POST", TEXT, {"prompt": "one two", "max_tokens": 4, "ignore_eos": True}),
        ("POST", "/tokenize", {"prompt": "one two"}),
        ("POST", "/tokenize", WORDS),
        ("POST", "/detokenize", {"tokens": [300, 301]}),
        ("GET", "/v1/models", None),
        ("GET", "/version", None),
    ],
)
def test_whole_answers(both: tuple[Client, Client], method: str, path: str, body: dict[str, Any] | None) -> None:
    theirs, ours = (client.json(method, path, asked(client, body) if body else None) for client in both)
    assert form(theirs) == form(ours)


@pytest.mark.parametrize("path", ["/health", "/ping", "/v1/nothing", TEXT])
def test_what_has_no_body_or_no_route(both: tuple[Client, Client], path: str) -> None:
    theirs, ours = (client.ask("GET", path) for client in both)
    assert theirs == ours


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", TEXT, {"model": "no-such-model", "prompt": "a"}),
        ("POST", TEXT, {"prompt": [300] * 3000}),
        ("POST", TEXT, {"prompt": "a", "max_tokens": 0}),
        ("POST", TEXT, {"prompt": "a", "max_tokens": 4, "min_tokens": 8}),
    ],
)
def test_refusals(both: tuple[Client, Client], method: str, path: str, body: dict[str, Any]) -> None:
    """The same status, kind and field, and the same sentence up to names."""
    theirs, ours = (client.ask(method, path, asked(client, body)) for client in both)
    assert theirs[0] == ours[0], (theirs, ours)
    found = [json.loads(data)["error"] for _, data in (theirs, ours)]
    assert [(e["type"], e["param"], e["code"]) for e in found[:1]] == [
        (e["type"], e["param"], e["code"]) for e in found[1:]
    ]
    assert found[0]["message"].split(".")[0] == found[1]["message"].split(".")[0]


def test_every_name_of_the_metrics_page_is_vllms(both: tuple[Client, Client]) -> None:
    theirs, ours = (client.ask("GET", "/metrics")[1].decode() for client in both)
    pattern = re.compile(r"^(vllm:\w+?)\{(.*?)\} ", re.MULTILINE)
    known = {name: set(re.findall(r"(\w+)=", labels)) for name, labels in pattern.findall(theirs)}
    for name, labels in pattern.findall(ours):
        assert name in known
        if name == "vllm:cache_config_info":
            assert set(re.findall(r"(\w+)=", labels)) <= known[name]
        else:
            assert set(re.findall(r"(\w+)=", labels)) == known[name], name
    for page in (theirs, ours):
        assert re.search(r"^# TYPE vllm:request_prompt_tokens histogram$", page, re.MULTILINE)
