"""`tuner chat`: each kind of fault, provoked by a server that has it, is told; and a server without one has none."""

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import tuner
from other_server import MODEL, OtherServer, Timed, delta, usage
from waiting import free_port

from tuner.bench.chat_faults import Asked, Kind, Severity
from tuner.bench.chat_judged import judge, speed
from tuner.bench.chatting import Checked, check
from tuner.load.exchange import Exchange
from tuner.workload.advice import advice_for

KEY = "sk-top-secret-0123456789"
DAYS = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "are",
    "the",
    "days",
    "of",
    "the",
    "week",
]
EVENTS, JSON = "text/event-stream; charset=utf-8", "application/json"
Answer = Callable[[int, Mapping[str, Any]], Iterable[Timed]]


def http(body: bytes, kind: str = JSON, status: str = "200 OK", *more: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close", *more]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def refusal(status: str, message: str) -> bytes:
    return http(json.dumps({"error": {"message": message, "code": int(status[:3])}}).encode(), JSON, status)


def whole(words: list[str], finish: str = "stop", tokens: int | None = None, **message: object) -> bytes:
    counts = {"prompt_tokens": 9, "completion_tokens": len(words) if tokens is None else tokens}
    choice = {"message": {"role": "assistant", "content": " ".join(words), **message}, "finish_reason": finish}
    return http(json.dumps({"choices": [choice], "usage": counts}).encode())


def event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def chunks(words: list[str], finish: str | None = "stop", key: str = "content") -> list[bytes]:
    texts = [word if not number else f" {word}" for number, word in enumerate(words)]
    last = [event(delta({}, finish))] if finish else []
    return [event(delta({"role": "assistant", "content": ""})), *(event(delta({key: text})) for text in texts), *last]


def stream(parts: Iterable[bytes], kind: str = EVENTS, step_s: float = 0.004) -> list[Timed]:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode()
    return [(0.0, head), *((step_s, part) for part in parts)]


def ends(tokens: object = len(DAYS)) -> list[bytes]:
    return [event(usage(tokens)), event("[DONE]")]


def good(words: list[str] = DAYS) -> Answer:
    return answering([(0.0, whole(words))], stream([*chunks(words), *ends(len(words))]))


def answering(plain: Iterable[Timed] | bytes, streamed: Iterable[Timed] | bytes) -> Answer:
    def answer(number: int, body: Mapping[str, Any]) -> Iterable[Timed]:
        found = streamed if body.get("stream") else plain
        return [(0.0, found)] if isinstance(found, bytes) else found

    return answer


def checked(answer: Answer, **how: Any) -> Checked:
    routes = how.pop("routes", None)
    with OtherServer(answer, head=b"", routes=routes) as server:
        return asyncio.run(check(server.url, **{"timeout_s": 5.0, **how}))


def kinds(found: Checked, severity: Severity | None = None) -> set[Kind]:
    return {fault.kind for fault in found.faults if severity in (None, fault.severity)}


def test_a_server_that_works_has_no_fault() -> None:
    found = checked(good())
    assert found.faults == ()
    assert found.works
    assert found.speed is not None
    assert found.speed.ttft_s is not None
    assert found.speed.tokens_per_s is not None
    assert 20 < found.speed.tokens_per_s < 250  # a chunk each 4 ms
    assert found.plain is not None
    assert found.streamed is not None
    assert found.plain.text == found.streamed.text == " ".join(DAYS)


STREAM_OK = stream([*chunks(DAYS), *ends()])
PAGE = b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>"
REFUSALS = {
    "template": (refusal("400 Bad Request", "default chat template is no longer allowed"), Kind.NO_TEMPLATE),
    "page": (http(PAGE, "text/html", "502 Bad Gateway"), Kind.PAGE),
    "key": (refusal("401 Unauthorized", "Incorrect API key provided"), Kind.KEY),
    "forbidden": (refusal("403 Forbidden", "no"), Kind.KEY),
    "model": (refusal("404 Not Found", "The model `maker/model` does not exist."), Kind.MODEL),
    "route": (refusal("404 Not Found", "Not Found"), Kind.NO_ROUTE),
    "busy": (http(b"loading", "text/plain", "503 Service Unavailable", "Retry-After: 7"), Kind.BUSY),
    "error": (refusal("500 Internal Server Error", "EngineCore died"), Kind.FAILED),
    "other": (refusal("400 Bad Request", "max_tokens is too large"), Kind.REFUSED),
    "redirect": (http(b"", JSON, "307 Temporary Redirect", "Location: https://other/v1"), Kind.REDIRECT),
    "closed": (b"", Kind.NO_ANSWER),
}


@pytest.mark.parametrize(("answer", "kind"), REFUSALS.values(), ids=REFUSALS)
def test_what_is_no_answer_is_said_once(answer: bytes, kind: Kind) -> None:
    found = checked(answering(answer, answer))
    assert [fault.kind for fault in found.faults] == [kind]
    assert not found.works


PLAIN_OK = whole(DAYS)
FORMS: dict[str, tuple[Iterable[Timed] | bytes, Iterable[Timed] | bytes, Kind, Severity]] = {
    "empty": (whole([], tokens=1), stream([*chunks([]), *ends(1)]), Kind.EMPTY, Severity.WRONG),
    "endless": (whole(DAYS, "length"), stream([*chunks(DAYS, "length"), *ends()]), Kind.ENDLESS, Severity.WARNING),
    "end mark in the text": (whole([*DAYS, "<|im_end|>"]), STREAM_OK, Kind.ENDS_IN_TEXT, Severity.WRONG),
    "does not stream": (PLAIN_OK, PLAIN_OK, Kind.NOT_STREAMED, Severity.WRONG),
    "streams all": (STREAM_OK, STREAM_OK, Kind.FORM, Severity.WRONG),
    "held back": (PLAIN_OK, [(0.2, b"".join(d for _, d in STREAM_OK))], Kind.BUFFERED, Severity.WRONG),
    "cut": (PLAIN_OK, stream(chunks(DAYS, None)), Kind.CUT, Severity.WRONG),
    "aborted": (PLAIN_OK, stream([*chunks(DAYS, "abort"), *ends()]), Kind.CUT, Severity.WRONG),
    "plain aborted": (whole(DAYS, "abort"), STREAM_OK, Kind.CUT, Severity.WRONG),
    "no done": (PLAIN_OK, stream([*chunks(DAYS), event(usage(len(DAYS)))]), Kind.NO_DONE, Severity.WARNING),
    "no usage": (PLAIN_OK, stream([*chunks(DAYS), event("[DONE]")]), Kind.NO_USAGE, Severity.WARNING),
    "usage too small": (PLAIN_OK, stream([*chunks(DAYS), *ends(2)]), Kind.WRONG_USAGE, Severity.WRONG),
    "usage of 0": (whole(DAYS, tokens=0), STREAM_OK, Kind.WRONG_USAGE, Severity.WRONG),
    "prompts differ": (PLAIN_OK, stream([*chunks(DAYS), event(usage(len(DAYS), 5)), event("[DONE]")]), Kind.WRONG_USAGE,
                       Severity.WRONG),
    "type of stream": (PLAIN_OK, stream([*chunks(DAYS), *ends()], "text/plain"), Kind.CONTENT_TYPE, Severity.WARNING),
    "type of plain": (http(PLAIN_OK.split(b"\r\n\r\n")[1], "text/plain"), STREAM_OK, Kind.CONTENT_TYPE, Severity.WARNING),
    "differ": (whole([*DAYS[:3], "Sunday"]), STREAM_OK, Kind.DIFFER, Severity.WARNING),
    "not JSON": (http(b"hello"), STREAM_OK, Kind.FORM, Severity.WRONG),
    "no choices": (http(b'{"choices": []}'), STREAM_OK, Kind.FORM, Severity.WRONG),
    "error inside": (PLAIN_OK, stream([*chunks(DAYS[:2], None), event('{"error": {"message": "dead"}}'), event("[DONE]")]),
                     Kind.FORM, Severity.WRONG),
    "no event": (PLAIN_OK, stream([*chunks(DAYS), event("{"), *ends()]), Kind.FORM, Severity.WRONG),
}  # fmt: skip


@pytest.mark.parametrize(("plain", "streamed", "kind", "severity"), FORMS.values(), ids=FORMS)
def test_what_is_wrong_with_an_answer_is_said(
    plain: Iterable[Timed] | bytes, streamed: Iterable[Timed] | bytes, kind: Kind, severity: Severity
) -> None:
    found = checked(answering(plain, streamed))
    assert kind in kinds(found, severity), found.faults
    assert found.works == (severity is not Severity.WRONG)
    others = [fault for fault in found.faults if fault.kind not in (kind, Kind.DIFFER)]
    assert others == [], others


def test_a_timeout_is_said_with_its_seconds() -> None:
    found = checked(answering([(3.0, PLAIN_OK)], STREAM_OK), timeout_s=0.3)
    (fault,) = found.faults
    assert fault.kind is Kind.NO_ANSWER
    assert "no answer within 0.3 s" in fault.what


def test_a_template_without_a_system_role_is_told_and_asked_without() -> None:
    def answer(number: int, body: Mapping[str, Any]) -> Iterable[Timed]:
        if body["messages"][0]["role"] == "system":
            return [(0.0, refusal("400 Bad Request", "System role not supported"))]
        return good()(number, body)

    found = checked(answer)
    assert kinds(found) == {Kind.SYSTEM}
    assert found.works
    assert "System role not supported" in found.faults[0].what


@pytest.mark.parametrize(
    ("words", "key", "said", "severity"),
    [
        (["Let", "me", "see", "</think>", *DAYS], "content", "without <think> before it", Severity.WARNING),
        (["<think>", "Hm", "</think>", *DAYS], "content", "between <think> and </think>", Severity.NOTE),
        (["Hm", "so"], "reasoning_content", "a reasoning parser is on", Severity.NOTE),
    ],
)
def test_where_the_reasoning_is_is_told(words: list[str], key: str, said: str, severity: Severity) -> None:
    plain = whole(words) if key == "content" else whole(DAYS, reasoning_content=" ".join(words))
    parts = chunks(words)
    if key != "content":
        parts = [*chunks(words, None, key), *chunks(DAYS)[1:]]
    found = checked(answering(plain, stream([*parts, *ends(len(words) + len(DAYS))])))
    (fault,) = [fault for fault in found.faults if fault.kind is Kind.REASONING]
    assert said in fault.what
    assert fault.severity is severity
    assert found.works


def test_a_reasoning_model_is_asked_as_its_makers_advise() -> None:
    name = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
    routes = {"/v1/models": ("200 OK", json.dumps({"data": [{"id": name}]}).encode())}
    with OtherServer(good(), head=b"", routes=routes) as server:
        found = asyncio.run(check(server.url))
        asked = server.asked
    assert [(one["temperature"], one["top_p"], one["seed"]) for one in asked] == [(0.6, 0.95, 0)] * 2
    assert [message["role"] for one in asked for message in one["messages"]] == ["user", "user"]
    assert found.advice is advice_for(name)
    assert kinds(found) == {Kind.REASONING}  # it did not reason
    assert "ended without </think>" in found.faults[0].what


def test_a_slow_start_is_not_a_stream_that_is_held_back() -> None:
    """A busy server: 20 tokens in 0.4 s, after 10 s of waiting."""
    parts = chunks(DAYS)
    reads = tuple((10.0 + 0.02 * number, part) for number, part in enumerate([*parts, *ends()]))
    streamed = Exchange(status=200, content_type=EVENTS, reads=reads, ended_s=10.4)
    plain = Exchange(status=200, content_type=JSON, reads=((0.3, PLAIN_OK.split(b"\r\n\r\n")[1]),), ended_s=0.3)
    asked = Asked(model=MODEL, max_tokens=256, is_alike=True)
    assert judge(plain, streamed, asked) == ()
    at_once = replace(streamed, reads=tuple((10.0, part) for part in [*parts, *ends()]), ended_s=10.0)
    (fault,) = judge(plain, at_once, asked)
    assert fault.kind is Kind.BUFFERED
    assert speed(plain, at_once).tokens_per_s is None  # what a proxy holds back has no speed
    pieces = tuple((0.1 + 0.5 * (number // 7), part) for number, part in enumerate([*parts, *ends()]))
    bursts = replace(streamed, reads=pieces, ended_s=1.1)
    (fault,) = judge(plain, bursts, asked)
    assert (fault.kind, fault.severity) == (Kind.BUFFERED, Severity.WARNING)


def test_a_server_that_sleeps_is_not_asked() -> None:
    routes = {
        "/v1/models": ("200 OK", json.dumps({"data": [{"id": MODEL}]}).encode()),
        "/is_sleeping": ("200 OK", b'{"is_sleeping": true}'),
    }
    found = checked(good(), routes=routes)
    assert kinds(found) == {Kind.ASLEEP}
    assert not found.works


def test_the_command_says_what_it_found(tmp_path: Path) -> None:
    with OtherServer(good(), head=b"") as server:
        done = tuner(tmp_path, "chat", server.url, "--prompt", "Days?", "--json", "found.json")
        asked = server.asked
    assert done.returncode == 0, done.stdout + done.stderr
    assert "It works." in done.stdout
    assert re.search(r"One user, one answer: first token after \d+ ms, then [\d.]+ tokens/s", done.stdout)
    assert asked[0]["messages"][-1]["content"] == "Days?"
    told = json.loads((tmp_path / "found.json").read_text())
    assert told["works"] is True
    assert told["model"] == MODEL
    assert told["streamed"]["text"] == told["plain"]["text"] == " ".join(DAYS)


def test_the_key_is_sent_and_never_shown(tmp_path: Path) -> None:
    echo = refusal("401 Unauthorized", f"Incorrect API key provided: {KEY}")
    with OtherServer(answering(echo, echo), head=b"") as server:
        done = tuner(tmp_path, "chat", server.url, "--api-key-env", "MY_KEY", "--json", "-", MY_KEY=KEY)
        heads = server.heads
    assert done.returncode == 1
    assert all(f"Authorization: Bearer {KEY}".encode() in head for head in heads)
    assert KEY not in done.stdout + done.stderr
    assert "Incorrect API key provided: [key]" in " ".join(done.stderr.split())
    assert json.loads(done.stdout)["faults"][0]["kind"] == "key refused"


def test_half_a_character_is_no_matter(tmp_path: Path) -> None:
    """An emoji whose halves come in two chunks, and one whose other half never comes."""
    contents = [{"choices": [{"delta": {"content": half}}]} for half in ("\ud83d", "\ude00", "\ud83d")]
    halves = [event(json.dumps(content)) for content in contents]
    plain = http(json.dumps({"choices": [{"message": {"content": "\ud83d"}, "finish_reason": "stop"}]}).encode())
    with OtherServer(answering(plain, stream([*halves, *ends(3)])), head=b"") as server:
        done = tuner(tmp_path, "chat", server.url, "--json", "-")
    assert json.loads(done.stdout)["streamed"]["text"].startswith("\U0001f600")


def test_a_key_that_is_none_is_refused_and_not_shown(tmp_path: Path) -> None:
    for name, arguments in (("MY_KEY", ("--api-key-env", "MY_KEY")), ("TUNER_API_KEY", ())):
        done = tuner(tmp_path, "chat", "http://127.0.0.1:1", *arguments, **{name: f"{KEY}\nX: y"})
        assert done.returncode == 2
        assert "is no key: it has a line break" in done.stderr
        assert KEY not in done.stderr


def test_what_cannot_be_reached_or_used_is_one_sentence(tmp_path: Path) -> None:
    nobody = tuner(tmp_path, "chat", f"http://127.0.0.1:{free_port()}")
    assert nobody.returncode == 1
    assert "wrong: not reachable: no server answers at" in nobody.stdout
    page = {"/v1/models": ("200 OK", PAGE)}
    closed = {"/v1/models": ("401 Unauthorized", b"{}")}
    for routes, said in ((page, "wrong: a page, not an answer: "), (closed, "wrong: key refused: ")):
        with OtherServer(good(), head=b"", routes=routes) as server:
            done = tuner(tmp_path, "chat", server.url)
        assert done.returncode == 1
        assert said in done.stdout
    with OtherServer(good(), head=b"") as server:
        other = tuner(tmp_path, "chat", server.url, "--model", "mine")
        usages = {
            "--prompt is empty": ("--prompt", " "),
            "--max-tokens is 0 and must be 1 to 100,000": ("--max-tokens", "0"),
            "--api-key-env NO_SUCH: there is no such variable": ("--api-key-env", "NO_SUCH"),
            "--json . cannot be written": ("--json", "."),
        }
        for text, arguments in usages.items():
            refused = tuner(tmp_path, "chat", server.url, *arguments)
            assert (refused.returncode, text in refused.stderr) == (2, True), refused
    assert other.returncode == 2
    assert f"has no model 'mine': it serves {MODEL}" in other.stderr
    assert tuner(tmp_path, "chat", "ftp://x").returncode == 2


@pytest.mark.engine
def test_a_real_vllm_works(vllm_url: str, tmp_path: Path) -> None:
    """Of the demo model only what is true is said: its weights are random, so that its answers do not end."""
    done = tuner(tmp_path, "chat", vllm_url, "--max-tokens", "48", "--json", "-")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {fault["kind"] for fault in told["faults"]} <= {"does not stop"}, told["faults"]
    assert told["streamed"]["chunks"]
    assert told["one_user"]["tokens_per_s"] > 0
