"""Answers to GET /metrics that are none, each from a server that writes bytes; both who read them say the same."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import pytest
from metrics_page import Page, PageServer

from tuner.errors import LaunchError, RunError
from tuner.load.target import find_target
from tuner.measure import production, scrape
from tuner.measure.production import metrics_url, page, scrapes
from tuner.measure.server import ServerSampler

OK = b"HTTP/1.1 200 OK\r\n\r\n"
ENDLESS = itertools.repeat(b"# x\n" * 20_000)


@asynccontextmanager
async def writing(parts: Callable[[bytes], Iterable[bytes]], pause_s: float = 0.0) -> AsyncIterator[str]:
    """The URL of a server that answers each request, given to `parts`, with some bytes, one after another."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for part in parts(await reader.readuntil(b"\r\n\r\n")):
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def said(parts: Callable[[bytes], Iterable[bytes]], pause_s: float = 0.0, key: str | None = None) -> str:
    """The sentence of the one who reads a page, which is that of the sampler, too."""

    async def run() -> str:
        async with writing(parts, pause_s) as url:
            with pytest.raises(RunError) as told:
                await asyncio.to_thread(page, f"{url}/metrics", key)
            with pytest.raises(LaunchError) as failed:
                async with ServerSampler(url, key=key):
                    pass
            assert str(told.value) == str(failed.value)
            assert str(told.value).startswith(f"{url}/metrics ")
            return str(told.value)

    return asyncio.run(run())


def test_a_page_without_end_is_given_up() -> None:
    assert said(lambda _: itertools.chain([OK], ENDLESS)).endswith("cannot be read: it is larger than 16 MiB")


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nX-Drip: ", OK])
def test_a_page_that_drips_is_given_up(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "TIMEOUT_S", 0.4)
    sentence = said(lambda _: itertools.chain([head], itertools.repeat(b"x" if head else b"")), pause_s=0.05)
    assert sentence.endswith("cannot be read: it has not ended after 0.4 s")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", r"wants a key \(HTTP 401\): set TUNER_API_KEY$"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", r"wants a key \(HTTP 403\)"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: /m2\r\n\r\n",
            r"redirects \(HTTP 302\) to http://127.*/m2: give that server's",
        ),
        (b"HTTP/1.1 307 X\r\nLocation: http://a:b@c/?k=s3cr3t\r\n\r\n", r"to \*\*\*@c/\?\*\*\*: give"),
        (b"HTTP/1.1 302 Found\r\n\r\n", "answered HTTP 302: is this a vLLM server"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "answered HTTP 404: is this a vLLM server"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "answered HTTP 502$"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "its answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nvllm:", "its answer ends in the middle"),
        (OK + b"\xff\xfe\x00", "is no text"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=none\r\n\r\n\xff", "is no text"),
    ],
)
def test_what_is_no_page_is_said_in_one_sentence(answer: bytes, sentence: str) -> None:
    assert re.search(sentence, said(lambda _: [answer]))


def test_the_key_is_sent_and_its_refusal_is_said() -> None:
    seen: list[bytes] = []

    def refuse(request: bytes) -> list[bytes]:
        seen.append(request)
        return [b"HTTP/1.1 401 Unauthorized\r\n\r\n"]

    sentence = said(refuse, key="sekret")
    assert sentence.endswith("/metrics refuses the key (HTTP 401)")
    assert len(seen) == 2
    assert all(b"Authorization: Bearer sekret\r\n" in one for one in seen)


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/completions/", "/v1/models", "/v1/", "/metrics"])
def test_a_route_that_was_copied_along_is_left_out(route: str) -> None:
    assert metrics_url(f"http://h:8000/llm{route}") == "http://h:8000/llm/metrics"


def test_a_broken_page_between_others_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(production, "_SAMPLE_S", 0.05)
    good, calls = Page().text(), itertools.count()
    bad = ["<html>", 'vllm:num_requests_running{model="a', "vllm:num_requests_running abc"]

    def answer() -> tuple[int, str]:
        call = next(calls)
        return 200, bad[call - 1] if 1 <= call <= len(bad) else good

    with PageServer(answer) as server:
        assert len(list(scrapes(metrics_url(server.url), 0.6))) == next(calls) - len(bad)


def test_a_server_without_tls_is_told_in_the_words_of_tls() -> None:
    """Its number is 1, as that of "Operation not permitted"."""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        writer.close()

    async def run() -> list[str]:
        async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
            secured = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(RunError) as read:
                await asyncio.to_thread(page, f"{secured}/metrics", None)
            with pytest.raises(RunError) as asked:
                await find_target(secured, None, None)
        return [str(read.value), str(asked.value)]

    for sentence in asyncio.run(run()):
        assert re.search(r"SSL|TLS|ssl", sentence)
        assert "not permitted" not in sentence
