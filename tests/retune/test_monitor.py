"""A production server is watched: pages in which each reading finds more requests, and a simulated vLLM that is really used."""

import asyncio
import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from metrics_page import PageServer
from record_samples import STUDY
from retuning import WORKLOAD, UsedServer, stored_study, trial
from simulating import MODEL, simulated

from tuner.decide.drift import Change, Quantity
from tuner.errors import RunError, UsageError
from tuner.measure.production import reading
from tuner.retune import monitor, watching
from tuner.retune.hours import parse_hours
from tuner.retune.monitor import Asked, Look, looks
from tuner.retune.tuned import Tuned, expected_of, tuned_for
from tuner.types import Lengths, SharedPrefix, Workload
from tuner.workload.lengths import mean


@pytest.fixture
def tuned(tmp_path: Path) -> Iterator[Tuned]:
    """Tuned for the lengths of UsedServer; its rate is not compared, for it is that of readings."""
    workload = Workload(
        name="chat", api="chat", users=2, input_tokens=WORKLOAD.input_tokens, output_tokens=WORKLOAD.output_tokens
    )
    store = stored_study(f"sqlite:///{tmp_path / 'x.db'}", workload=workload)
    yield tuned_for(store, "prod")
    store.close()


@pytest.fixture
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch whose readings take no time, however busy this machine is."""
    now_s = [0.0]

    def wait(seconds: float) -> None:
        now_s[0] += seconds

    monkeypatch.setattr(watching, "reading", lambda url, key: _at(url, now_s[0]))
    monkeypatch.setattr(monitor, "windows", partial(watching.windows, wait=wait, clock=lambda: now_s[0]))


def watched(urls: list[str], tuned: Tuned, count: int, told: list[str] | None = None) -> list[Look]:
    asked, lines = Asked(window_s=0.1, duration_s=count * 0.1), [] if told is None else told
    return list(looks([f"{url}/metrics" for url in urls], tuned, asked, lines.append))


@pytest.mark.usefixtures("virtual_time")
def test_traffic_that_does_not_change_is_no_drift(tuned: Tuned) -> None:
    with PageServer(UsedServer().answer) as server:
        seen = watched([server.url], tuned, 25)
    assert not any(look.drifts for look in seen)
    assert seen[-1].windows == 25


@pytest.mark.usefixtures("virtual_time")
def test_longer_answers_are_a_drift_and_become_the_workload(tuned: Tuned) -> None:
    used = UsedServer()
    used.longer = 3.0
    with PageServer(used.answer) as server:
        seen = watched([server.url], tuned, 40)
    drifted = [look for look in seen if look.drifts]
    assert len(drifted) == 1  # what it has become is what is compared with from then on
    look = drifted[0]
    assert look.drifts[0].change == Change(Quantity.OUTPUT, is_up=True)
    assert "output tokens: 38" in look.sentences[0]
    assert look.expected is not None
    assert "times the 128" in look.sentences[0]
    assert look.workload is not None
    assert look.workload.name == "chat-drifted"
    assert mean(look.workload.output_tokens) == pytest.approx(384, rel=0.05)
    assert mean(look.workload.input_tokens) == pytest.approx(256, rel=0.05)


@pytest.mark.usefixtures("virtual_time")
def test_restarts_and_gaps_are_no_drift_and_are_told(tuned: Tuned) -> None:
    used, told = UsedServer(), list[str]()
    asked = Asked(window_s=0.1, duration_s=3.0)
    with PageServer(used.answer) as server:
        for number, look in enumerate(looks([f"{server.url}/metrics"], tuned, asked, told.append)):
            used.away = number in (5, 6, 7)
            if number == 12:
                used.restart()
            assert not look.drifts
    assert sum("answered HTTP 503" in line for line in told) == 1
    assert sum(line.endswith("/metrics can be read again") for line in told) == 1
    assert any("was started anew" in line for line in told)


@pytest.mark.usefixtures("virtual_time")
def test_of_several_replicas_one_may_be_away(tuned: Tuned) -> None:
    away, told = UsedServer(seed=1), list[str]()
    away.away = True
    with PageServer(UsedServer().answer) as one, PageServer(away.answer) as other:
        seen = watched([one.url, other.url], tuned, 6, told)
    assert seen[-1].windows == 6
    assert len(told) == 1


def test_nobody_to_watch_is_said(tuned: Tuned) -> None:
    with pytest.raises(RunError, match="Connection refused"):
        watched(["http://127.0.0.1:1"], tuned, 2)
    with PageServer(lambda: (200, "hello\n")) as server, pytest.raises(UsageError, match="is this a vLLM server"):
        watched([server.url], tuned, 2)


@pytest.mark.usefixtures("virtual_time")
def test_only_the_hours_that_are_asked_for_are_compared(tuned: Tuned) -> None:
    used = UsedServer()
    used.longer = 5.0
    with PageServer(used.answer) as server:
        asked = Asked(window_s=0.05, duration_s=1.0, during=parse_hours("--during", "09:00-17:00"))
        night = [*looks([f"{server.url}/metrics"], tuned, asked, print, now=lambda: datetime(2026, 11, 29, 3, 0))]
    assert all(look.window is None for look in night)


def test_a_machine_that_slept_judges_no_window_twice(tuned: Tuned, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, slept = [0.0], list[float]()

    def wait(seconds: float) -> None:
        now_s[0] += 1000.0 if len(slept) == 25 else seconds
        slept.append(seconds)

    with PageServer(UsedServer().answer) as server:
        url = f"{server.url}/metrics"
        monkeypatch.setattr(watching, "reading", lambda url, key: _at(url, now_s[0]))
        seen = [*watching.windows([url], 10.0, 1050.0, print, wait, lambda: now_s[0])]
    assert [one.window is None for one in seen] == [False, True, False, False, False, False]


def _at(url: str, time_s: float) -> object:
    return replace(reading(url), time_s=time_s)


def test_what_a_workload_says_of_its_traffic() -> None:
    turns = Workload(
        name="t", api="chat", users=8, input_tokens=Lengths(low=10, high=10), output_tokens=Lengths(low=5, high=5),
        turns=Lengths(low=2, high=2), shared_prefix=SharedPrefix(tokens=4, count=1),
    )  # fmt: skip
    found = expected_of(turns)
    assert (found.concurrency, found.rate, found.prefix_share) == (8.0, None, None)
    assert found.inputs is not None
    assert set(found.inputs.tokens) == {10, 25}  # the second turn holds the first one


@pytest.mark.parametrize("study", ["nope", "old"])
def test_a_study_that_cannot_tell_what_it_was_tuned_for(study: str, tmp_path: Path) -> None:
    store = stored_study(f"sqlite:///{tmp_path / 'x.db'}")
    store.create_or_get_study(replace(STUDY, name="old", settings={}))
    store.finish("old", trial(0, max_num_seqs=1))
    with pytest.raises(UsageError, match=r"no study 'nope'|does not know its workload"):
        tuned_for(store, study)
    store.close()


class Users:
    """Requests at a steady rate, to one server; `longer` lengthens the answers."""

    def __init__(self, url: str, rate: float, seed: int) -> None:
        self._url, self._rate, self._random = url, rate, random.Random(seed)
        self.longer, self._ended = 1.0, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Users":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)

    def _run(self) -> None:
        asyncio.run(self._send())

    async def _send(self) -> None:
        began_s, sent = time.monotonic(), 0
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            tasks = set()
            while not self._ended.is_set():
                sent += 1
                task = asyncio.create_task(self._ask(session))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                await asyncio.sleep(max(0.0, began_s + sent / self._rate - time.monotonic()))
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        prompt = [self._random.randint(10, 9999) for _ in range(self._random.randint(64, 448))]
        tokens = round(self._random.randint(32, 224) * self.longer)
        body = {"model": MODEL, "prompt": prompt, "max_tokens": tokens, "ignore_eos": True}
        async with session.post(f"{self._url}/v1/completions", data=json.dumps(body)) as response:
            await response.read()


#: Of the simulated servers below: real requests a second, and real seconds of a window.
_RATE, _WINDOW_S = 40.0, 1.0


def simulated_tuned(folder: Path) -> Tuned:
    store = stored_study(f"sqlite:///{folder / 'simulated.db'}")
    try:
        return tuned_for(store, "prod")
    finally:
        store.close()


def simulated_watch(tuned: Tuned, seed: int, windows: int, changes_at: int | None) -> list[Look]:
    found: list[Look] = []
    with simulated(speed=100.0) as client, Users(client.url, _RATE, seed) as users:
        asked = Asked(window_s=_WINDOW_S, duration_s=windows * _WINDOW_S)
        for look in looks([f"{client.url}/metrics"], tuned, asked, print):
            found.append(look)
            if len(found) == changes_at:
                users.longer = 4.0
            if look.drifts:
                break
    return found


@pytest.mark.long
def test_a_simulated_server_whose_traffic_changes_is_found(tmp_path: Path) -> None:
    found = simulated_watch(simulated_tuned(tmp_path), 0, 80, changes_at=10)
    assert found[-1].drifts, found[-1]
    assert len(found) > 10
    assert found[-1].drifts[0].change == Change(Quantity.OUTPUT, is_up=True)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_ten_whose_traffic_does_not_change_are_not(tmp_path: Path) -> None:
    tuned = simulated_tuned(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        seen = [*pool.map(lambda seed: simulated_watch(tuned, seed, 40, changes_at=None), range(1, 11))]
    assert not [look.sentences for found in seen for look in found if look.drifts]
    assert all(found[-1].windows >= 20 for found in seen)
