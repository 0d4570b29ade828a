"""Servers that do not do what was asked, or do it otherwise: it is told, marked, or no matter."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from commands import tuner
from other_server import (
    PREFILL_S,
    STEP_S,
    STREAM,
    OtherServer,
    Timed,
    delta,
    end,
    plain,
    tokens,
    usage,
    whole,
)
from test_streams import SMALL, measured
from waiting import in_a_calm_moment

from tuner.bench.keys import key_for, withheld
from tuner.bench.sides import Conditions, url_side
from tuner.cli.keys import say_withheld
from tuner.cli.measurements import mark_sentences
from tuner.errors import LaunchError, RunError, UsageError
from tuner.load.target import find_target
from tuner.measure.server_page import kv_cache_tokens_of, totals
from tuner.types import Mark, Workload

WORKLOAD = """name: small
api: chat
users: 2
input_tokens: 9
output_tokens: 8
warmup_s: 0.2
window_s: 0.6
max_window_s: 1
precision: 0.9
stall_s: 3
"""


def answering(answer: Callable[[int], list[Timed]], **how: object) -> OtherServer:
    return OtherServer(lambda number, body: answer(body["max_tokens"]), **how)  # type: ignore[arg-type]


def said(server: OtherServer) -> tuple[set[Mark], str]:
    found = measured(server)
    return set(found.marks), " ".join(mark_sentences([found], SMALL))


@pytest.mark.parametrize(("given", "share"), [(4, "50.0%"), (16, "200.0%"), (7, "87.5%")])
def test_answers_of_another_length_are_told_and_marked(given: int, share: str) -> None:
    """A server that has no ignore_eos ends when the model does; one with a limit of its own ends there."""
    with answering(lambda count: whole(given)) as server:
        marks, sentences = said(server)
    assert Mark.OTHER_LENGTHS in marks
    assert f"answers are {share} as long as what was asked for" in sentences


def test_a_comparison_of_answers_of_other_lengths_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(WORKLOAD)
    with answering(lambda count: whole(count // 2)) as server:
        names = ("compare", server.url, server.url, "--workload", "w.yaml", "--repeats", "1")
        refused = tuner(tmp_path, *names)
        taken = tuner(tmp_path, *names, "--answers", "as-they-come")
    assert refused.returncode == 1
    assert "pair 1 of 1, A: the server's answers are " in refused.stderr  # already after the warm-up
    assert "A's answers are 50% as long as what was asked for, so the sides may not do the same work" in refused.stderr
    assert taken.returncode == 0
    assert "other lengths" in taken.stdout


def test_a_server_whose_every_second_answer_is_empty_fails() -> None:
    empty = [(PREFILL_S, plain(delta({"role": "assistant", "content": ""}))), *end(0)]
    server = OtherServer(lambda number, body: whole(body["max_tokens"]) if number % 2 else empty)
    with server, pytest.raises(LaunchError, match="the answer is empty: 0 tokens"):
        measured(server)


def buffered(count: int) -> list[Timed]:
    return [(PREFILL_S + count * STEP_S, b"".join(data for _, data in whole(count)))]


def in_two_pieces(count: int) -> list[Timed]:
    data = b"".join(data for _, data in whole(count))
    half_s, middle = PREFILL_S + count * STEP_S / 2, len(data) // 2
    return [(half_s, data[:middle]), (half_s, data[middle:])]


def first_chunk_full(count: int) -> list[Timed]:
    return [(PREFILL_S, plain(delta({"content": "word " * (count - 3)}))), *tokens(4)[1:], *end(count)]


def in_fours(count: int) -> list[Timed]:
    """As vLLM with a stream_interval: the first token alone."""
    four = (4 * STEP_S, plain(delta({"content": "word word word word"})))
    return [*tokens(1), *((count - 1) // 4) * [four], *end(1 + 4 * ((count - 1) // 4))]


@pytest.mark.parametrize("answer", [buffered, in_two_pieces, first_chunk_full])
def test_chunks_that_come_together_are_marked(answer: Callable[[int], list[Timed]]) -> None:
    with answering(answer) as server:
        marks, sentences = said(server)
    assert Mark.BUNCHED in marks
    assert "TPOT and ITL are those of what stands between, not the server's" in sentences


@in_a_calm_moment
def test_chunks_of_several_tokens_are_none_that_come_together() -> None:
    with answering(lambda count: in_fours(count + 5)) as server:
        found = measured(server)
    assert found.load.chunk_tokens == pytest.approx(4.0)
    assert not {Mark.BUNCHED, Mark.HIDDEN_TOKENS} & set(found.marks)


@pytest.mark.parametrize(
    "details", [{"completion_tokens_details": {"reasoning_tokens": 90}}, {}], ids=["told", "untold"]
)
def test_tokens_that_were_not_sent_are_marked(details: dict[str, object]) -> None:
    def answer(count: int) -> list[Timed]:
        return [*tokens(count), (0.0, plain(usage(count + 90, **details))), (0.0, plain("[DONE]"))]

    with answering(answer) as server:
        marks, sentences = said(server)
    assert Mark.HIDDEN_TOKENS in marks
    assert Mark.BUNCHED not in marks
    assert "the server counts tokens that it did not send" in sentences


def test_reasoning_that_is_streamed_is_not_hidden() -> None:
    details = {"completion_tokens_details": {"reasoning_tokens": 5}}

    def answer(count: int) -> list[Timed]:
        thought = [(after_s, plain(delta({"reasoning_content": "word "}))) for after_s, _ in tokens(count)]
        return [*thought, (0.0, plain(usage(count, **details))), (0.0, plain("[DONE]"))]

    with answering(answer) as server:
        assert Mark.HIDDEN_TOKENS not in measured(server).marks


def test_without_usage_the_servers_tokenizer_counts() -> None:
    """The answers are twelve tokens long for it, whatever was asked for."""
    counted = ("200 OK", b'{"count": 12, "max_model_len": 4096, "tokens": []}')
    with answering(lambda count: [*tokens(count), (0.0, plain("[DONE]"))], routes={"/tokenize": counted}) as server:
        marks, sentences = said(server)
    assert {Mark.COUNTED, Mark.OTHER_LENGTHS} <= marks
    assert "the server told no usage" in sentences
    assert any(head.startswith(b"POST /tokenize") for head in server.heads)


@pytest.mark.parametrize(
    "routes",
    [
        {"/tokenize": ("200 OK", b'{"tokens": [1, 2]}'), "/detokenize": ("200 OK", b'{"content": " the of"}')},
        {"/tokenize": ("200 OK", b'{"tokens": [1]}'), "/detokenize": ("200 OK", b'{"text": " the of"}')},
        {"/tokenize": ("200 OK", b"[[1, 2]]"), "/detokenize": ("200 OK", b'" the"')},
        {"/detokenize": ("401 Unauthorized", b'{"error": "no such route for this key"}')},
        {"/detokenize": ("400 Bad Request", b"")},
        {"/detokenize": ("422 Unprocessable Entity", b'{"detail": []}')},
        {"/detokenize": ("307 Temporary Redirect", b"")},
        {"/detokenize": ("500 Internal Server Error", b"")},
        {"/detokenize": ("200 OK", b"<html>gateway \xff</html>")},
    ],
    ids=["llama.cpp", "SGLang", "lists", "401", "400", "422", "307", "500", "HTML"],
)
def test_a_tokenizer_of_another_form_is_none(routes: dict[str, tuple[str, bytes]]) -> None:
    with answering(whole, routes=routes) as server:
        assert measured(server).load.failed == 0
    assert "ignore_eos" not in server.asked[0]


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
def test_an_answer_that_is_compressed_unasked_is_read(pack: Callable[[bytes], bytes]) -> None:
    name = "gzip" if pack is gzip.compress else "deflate"
    head = STREAM.replace(b"\r\n\r\n", f"\r\nContent-Encoding: {name}\r\n\r\n".encode())
    with answering(lambda count: [(PREFILL_S, pack(b"".join(data for _, data in whole(count))))], head=head) as server:
        assert measured(server).load.failed == 0


def test_an_answer_without_a_length_ends_with_done_where_the_connection_stays_open() -> None:
    def answer(count: int) -> list[Timed]:
        return [*whole(count), (30.0, b"")]

    with answering(answer, head=b"HTTP/1.1 200 OK\r\n\r\n") as server:
        assert measured(server).load.failed == 0


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("429 Too Many Requests\r\nRetry-After: 20", "HTTP 429 (Retry-After: 20)"),
        ("503 Service Unavailable", "HTTP 503"),
        ("307 Temporary Redirect\r\nLocation: /x/v1/chat/completions", "/x/v1/chat/completions: give http://127.0.0.1"),
    ],
)
def test_a_refusal_says_what_to_do(head: str, says: str) -> None:
    line = f"HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n".encode()
    with answering(lambda count: [], head=line) as server, pytest.raises(LaunchError) as raised:
        measured(server)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (
            "503 Service Unavailable\r\nRetry-After: 9",
            b'{"error": "Loading model"}',
            "loads its model .*try again in 9 s",
        ),
        ("401 Unauthorized", b"", "wants a key"),
        (
            "308 Permanent Redirect\r\nLocation: http://b/p/v1/models",
            b"",
            "to http://b/p/v1/models: give http://b/p as",
        ),
        ("404 Not Found", b"", "what stands before its /v1"),
        ("200 OK", b'{"models": []}', "without a list of models"),
        ("200 OK", b'{"data": []}', "lists no model"),
        ("200 OK", b"<html>\xff</html>", "a page for a browser"),
    ],
)
def test_a_server_that_cannot_be_asked_says_what_to_do(status: str, body: bytes, says: str) -> None:
    with answering(whole, routes={"/v1/models": (status, body)}) as server, pytest.raises(RunError, match=says):
        asyncio.run(find_target(server.url, None, None))


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/completions", "/v1/models"])
def test_an_address_may_be_copied_with_its_route(suffix: str) -> None:
    with answering(whole) as server:
        assert asyncio.run(find_target(server.url + suffix, None, None)).base_url == server.url


def test_a_connection_that_was_closed_meanwhile_is_made_again() -> None:
    """Some servers close a connection after a few answers, and say so only by closing it."""

    class Closing(OtherServer):
        async def _exchange(self, reader, writer):  # type: ignore[no-untyped-def]
            if len(self.heads) % 5 == 4:
                self.heads.append(b"")
                raise ConnectionError
            await super()._exchange(reader, writer)

    with Closing(lambda number, body: whole(body["max_tokens"])) as server:
        assert measured(server, replace(SMALL, window_s=1.0)).load.failed == 0


def test_what_a_server_calls_itself_is_no_command_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(WORKLOAD)
    models = json.dumps({"data": [{"id": "m\x1b[31m\x07\x9b2J"}]}).encode()
    with answering(whole, routes={"/v1/models": ("200 OK", models)}) as server:
        done = tuner(tmp_path, "bench", server.url, "--workload", "w.yaml")
    assert "model m\\x1b[31m\\x07\\x9b2J" in done.stdout
    assert not {"\x1b", "\x07", "\x9b"} & set(done.stdout + done.stderr)


DATASET = '{"prompt": "ba do", "output_tokens": 6}\n{"prompt": "me nu", "output": "a b c d e f g h i j k l m n o p"}\n'


def test_a_datasets_answers_have_their_own_lengths_without_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(DATASET)
    (tmp_path / "w.yaml").write_text(
        WORKLOAD.replace("input_tokens: 9\noutput_tokens: 8\n", "dataset: d.jsonl\noutput_tokens: 50\n")
    )
    with answering(whole) as server:
        done = tuner(tmp_path, "bench", server.url, "--workload", "w.yaml")
    assert done.returncode == 0, done.stderr
    assert {6, 8} <= {body["max_tokens"] for body in server.asked} <= {*range(1, 9)}  # the first ones are under way


def test_a_measurement_in_which_nothing_ended_is_no_result(tmp_path: Path) -> None:
    rows = "".join(f"2023-11-16 18:15:4{second}.5,37,{tokens}\n" for second, tokens in ((6, 44), (7, 70), (7, 55)))
    (tmp_path / "t.csv").write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}")
    (tmp_path / "w.yaml").write_text("api: chat\ntrace: {path: t.csv, speedup: 20}\nwarmup_s: 0\nstall_s: 3\n")
    with answering(whole) as server:
        done = tuner(tmp_path, "bench", server.url, "--workload", "w.yaml", "--json", "r.json")
    assert done.returncode == 1
    assert "so nothing was measured: make w" in done.stderr
    assert "or a trace slower (speedup)" in done.stderr
    assert not (tmp_path / "r.json").exists()


def page(engine: int, usage_perc: float) -> str:
    """What one engine of several adds to vLLM's /metrics."""
    label = f'{{engine="{engine}",model_name="m"}}'
    info = f'vllm:cache_config_info{{block_size="16",engine="{engine}",num_gpu_blocks="{100 + engine}"}} 1.0'
    values = {"prompt_tokens_total": 10 + engine, "num_requests_running": 3, "kv_cache_usage_perc": usage_perc}
    return "".join(f"vllm:{name}{label} {value}\n" for name, value in values.items()) + info + "\n"


def test_a_page_of_several_engines_is_summed_and_its_shares_are_meaned() -> None:
    text = page(0, 0.2) + page(1, 0.6) + page(2, 0.4)
    found = totals(text)
    assert found["vllm:prompt_tokens_total"] == 33
    assert found["vllm:num_requests_running"] == 9
    assert found["vllm:kv_cache_usage_perc"] == pytest.approx(0.4)
    assert kv_cache_tokens_of(text) == 16 * (100 + 101 + 102)


def test_keys_go_where_they_are_meant_to(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(WORKLOAD)
    with answering(whole) as server:
        done = tuner(tmp_path, "bench", server.url, "--workload", "w.yaml", OPENAI_API_KEY="sk-1", TUNER_API_KEY="")
        assert done.returncode == 0, done.stderr
        assert all(b"Authorization: Bearer sk-1\r\n" in head for head in server.heads if b"/v1/chat" in head)


@pytest.mark.parametrize(
    ("url", "send", "sent"),
    [
        ("http://127.0.0.1:8000", False, True),
        ("localhost:8000", False, True),
        ("http://[::1]:8000", False, True),
        ("https://api.example", False, True),
        ("http://192.0.2.1:8000", False, False),
        ("http://127.0.0.1.example", False, False),
        ("gpu-box:8000", False, False),
        ("http://192.0.2.1:8000", True, True),
    ],
)
def test_a_key_for_something_else_goes_nowhere_in_plain_text_unasked(
    url: str, send: bool, sent: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TUNER_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert key_for(url, send=send) == ("sk-1" if sent else None)
    assert withheld(url, send=send) is not sent
    say_withheld([url], send_key=send)
    assert (f"OPENAI_API_KEY is not sent to {url}" in capsys.readouterr().err) is not sent
    monkeypatch.setenv("TUNER_API_KEY", "own")
    assert (key_for(url, send=send), withheld(url, send=send)) == ("own", False)


@pytest.mark.parametrize("name", ["TUNER_API_KEY", "OPENAI_API_KEY"])
@pytest.mark.parametrize("key", ["sk-1\nHost: elsewhere", "sk-1 ", "sk-\u00e9"])
def test_a_key_that_no_header_can_hold_is_refused_before_it_is_sent(
    name: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("TUNER_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, key)
    conditions = Conditions(workload=Workload(name="w", api="chat"), slos=(), model=None, gpus=())
    with pytest.raises(
        UsageError, match=f"the key in {name} is no key: it has a line break, blanks at an end"
    ) as raised:
        url_side("http://127.0.0.1:1", conditions)
    assert key not in str(raised.value)
