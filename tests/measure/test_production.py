import asyncio
import itertools
import random
import socket
import threading
from pathlib import Path

import aiohttp
import pytest
from metrics_page import Page, PageServer

from tuner.cli.workload import comment_on
from tuner.errors import RunError, UsageError
from tuner.load.target import find_target
from tuner.measure import production
from tuner.measure.imitation import imitation
from tuner.measure.production import metrics_url, scrapes
from tuner.measure.traffic import Scrape, traffic
from tuner.types import Target
from tuner.workload.lengths import mean
from tuner.workload.presets import load_workload, workload_yaml

REQUESTS = 60
PREFIX = 256


@pytest.mark.parametrize(
    "address", ["http://h:8000", "h:8000", "h:8000/", "http://h:8000/metrics", "h:8000/v1", "http://h:8000/v1/metrics/"]
)
def test_the_address_may_be_given_in_many_ways(address: str) -> None:
    assert metrics_url(address) == "http://h:8000/metrics"


def test_a_server_behind_a_path_or_tls() -> None:
    assert metrics_url("https://gate.example/llm") == "https://gate.example/llm/metrics"


@pytest.mark.parametrize(
    "address", ["", "ftp://h", "http://", "h:port", "h:99999", "a b", "http://h?x=1", "http://[::1"]
)
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(UsageError, match="is no server's URL: give one such as http://localhost:8000"):
        metrics_url(address)


@pytest.mark.parametrize(
    "address", ["http://me:s3cr3t@h", "me:s3cr3t@h:1", '"http://me:s3cr3t@h"', "http://h?key=s3cr3t"]
)
def test_a_password_in_an_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(UsageError, match=r"holds a user name or password|is no server's URL") as caught:
        metrics_url(address)
    assert "s3cr3t" not in str(caught.value)


def test_pages_are_read_until_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(production, "_SAMPLE_S", 0.1)
    page = Page()

    def answer() -> tuple[int, str]:
        page.finish(100, 10)
        return 200, page.text()

    with PageServer(answer) as server:
        seen = list(scrapes(metrics_url(server.url), 0.4))
    assert [scrape.finished for scrape in seen] == list(range(1, len(seen) + 1))
    assert 2 <= len(seen) <= 5  # fewer where the machine is busy
    assert seen[-1].time_s - seen[0].time_s >= 0.4


def test_a_server_that_is_away_for_a_moment_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(production, "_SAMPLE_S", 0.05)
    page, calls = Page(), itertools.count()

    def answer() -> tuple[int, str]:
        return (503 if next(calls) in (1, 2) else 200), page.text()

    with PageServer(answer) as server:
        seen = list(scrapes(metrics_url(server.url), 1.0))
    assert len(seen) == next(calls) - 2
    assert seen[-1].time_s - seen[0].time_s >= 1.0


def test_a_server_that_stays_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(production, "_SAMPLE_S", 0.05)
    monkeypatch.setattr(production, "_AWAY_S", 0.2)
    calls = itertools.count()
    with (
        PageServer(lambda: (503 if next(calls) else 200, Page().text())) as server,
        pytest.raises(RunError, match="/metrics answered HTTP 503"),
    ):
        list(scrapes(metrics_url(server.url), 60.0))


def test_a_server_that_was_started_anew_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(production, "_SAMPLE_S", 0.05)
    old = Page()
    old.finish(100, 10)
    pages = itertools.chain([old.text()], itertools.repeat(Page().text()))
    with (
        PageServer(lambda: (200, next(pages))) as server,
        pytest.raises(RunError, match="went backwards: the server was started anew"),
    ):
        list(scrapes(metrics_url(server.url), 60.0))


def test_nobody_listening_is_said() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(RunError, match=r"/metrics cannot be read: Connection refused$"):
            next(scrapes(metrics_url(f"127.0.0.1:{probe.getsockname()[1]}"), 1.0))


def test_another_server_is_said() -> None:
    with PageServer(lambda: (404, "")) as server, pytest.raises(RunError, match="answered HTTP 404: is this a vLLM"):
        next(scrapes(metrics_url(server.url), 1.0))


@pytest.mark.engine
@pytest.mark.timeout(400)
def test_the_traffic_of_a_real_vllm_is_imitated(vllm_url: str, tmp_path: Path) -> None:
    """Requests of known lengths whose prompts begin alike; the workload that is written must be like them."""
    dice = random.Random(3)
    lengths = [(dice.randint(280, 700), dice.randint(4, 40)) for _ in range(REQUESTS)]

    async def run() -> list[Scrape]:
        target = await find_target(vllm_url, None, None)
        seen: list[Scrape] = []
        done = threading.Event()
        watching = asyncio.create_task(asyncio.to_thread(watch, target, seen, done))
        while not seen:
            await asyncio.sleep(0.05)
        await asyncio.gather(*(ask(target, *pair, after_s=place / 10) for place, pair in enumerate(lengths)))
        done.set()
        await watching
        return seen

    found = traffic(asyncio.run(run()))
    assert found.requests == REQUESTS
    assert found.request_rate == pytest.approx(REQUESTS / found.duration_s, rel=0.05)
    text = workload_yaml(imitation(found, "completions", "live"), comment_on(found, "http://live"))
    (tmp_path / "live.yaml").write_text(text)
    workload = load_workload(str(tmp_path / "live.yaml"))
    assert mean(workload.input_tokens) == pytest.approx(sum(prompt for prompt, _ in lengths) / REQUESTS, rel=0.02)
    assert mean(workload.output_tokens) == pytest.approx(sum(answer for _, answer in lengths) / REQUESTS, rel=0.02)
    assert workload.shared_prefix is not None
    assert PREFIX * 0.7 <= workload.shared_prefix.tokens <= PREFIX


def watch(target: Target, seen: list[Scrape], done: threading.Event) -> None:
    for scrape in scrapes(metrics_url(target.base_url), 300.0):
        was_done = done.is_set() and len(seen) > 1 and seen[-1].finished == scrape.finished
        seen.append(scrape)
        if was_done:
            break


async def ask(target: Target, prompt: int, answer: int, after_s: float) -> None:
    await asyncio.sleep(after_s)
    tokens = [7] * PREFIX + [random.randint(10, 200) for _ in range(prompt - PREFIX)]
    body = {"model": target.model, "prompt": tokens, "max_tokens": answer, "ignore_eos": True}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{target.base_url}/v1/completions", json=body) as response,
    ):
        assert response.status == 200
        await response.read()
