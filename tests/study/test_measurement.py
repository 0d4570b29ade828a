"""What is between a server and a measurement, on servers whose truth is known. Bounds are wide, for
busy machines: how true the numbers are is shown by benchmarks/load."""

import asyncio
import dataclasses
import os
import signal
from pathlib import Path

import psutil
import pytest
from faults.server import FaultServer
from serving import paced
from waiting import in_a_calm_moment

from tuner.decide.early import Outdo
from tuner.decide.objective import parse_objective
from tuner.decide.slo import parse_slo
from tuner.errors import LaunchError, UsageError
from tuner.launch.fork_server import ForkServer
from tuner.launch.vllm import VllmLauncher
from tuner.load.target import find_target
from tuner.load.workers import Workers
from tuner.study.measurement import measure
from tuner.types import FailureKind, Lengths, Mark, Measured, SharedPrefix, Workload, present
from tuner.workload.presets import PRESETS

CLOSED = Workload(
    name="closed",
    api="completions",
    users=16,
    input_tokens=Lengths(low=64, high=64),
    output_tokens=Lengths(low=16, high=48),
    warmup_s=1.0,
    window_s=3.0,
    precision=0.05,
)
OPEN = dataclasses.replace(CLOSED, name="open", users=None, request_rate=30.0)


def bench(workload: Workload, *arguments: str, slos: str = "", objective: str = "", salt: int = 0) -> Measured:
    async def run(url: str) -> Measured:
        limits = [parse_slo(text) for text in slos.split()]
        goal = [parse_objective(objective)] if objective else []
        return await measure(await find_target(url, None, None), workload, slos=limits, objectives=goal, salt=salt)

    with paced("--ttft", "0.05", "--itl", "0.01", *arguments) as url:
        return asyncio.run(run(url))


@in_a_calm_moment
def test_a_closed_loop_has_the_throughput_that_little_says() -> None:
    """Little's law: users / (TTFT + gaps) requests a second, of 32 tokens on the mean."""
    found = bench(CLOSED)
    expected = 16 * 32 / (0.05 + 31 * 0.01)
    assert found.load.output_throughput == pytest.approx(expected, rel=0.15)
    assert found.load.tpot_s is not None
    assert found.load.tpot_s.mean == pytest.approx(0.01, rel=0.1)
    assert 0.05 <= present(present(found.load.ttft_s).p50) <= 0.08
    assert found.load.failed == 0
    assert found.server is not None
    assert found.server.agreement == pytest.approx(1.0, abs=0.03)
    assert found.server.prefix_cache_hits == 0
    assert found.client is not None
    assert found.client.send_delay_p99_s is None


@in_a_calm_moment
def test_an_open_loop_sends_at_its_rate_and_says_how_late() -> None:
    found = bench(dataclasses.replace(OPEN, burstiness=float("inf")))
    assert found.load.request_rate == 30.0
    assert found.load.request_throughput == pytest.approx(30, rel=0.05)
    assert found.client is not None
    assert found.client.send_delay_p99_s is not None
    assert 0 <= found.client.send_delay_p99_s < 0.5
    assert Mark.SATURATED not in found.marks


def test_what_decides_has_an_interval_and_what_a_window_cannot_tell_is_named() -> None:
    """100 requests tell the mean latencies, and nothing of a 99th percentile."""
    found = bench(OPEN, slos="ttft_p95=5s")
    assert found.load.ci95 is not None
    for name, seen in (("ttft_mean_s", found.load.ttft_s), ("e2el_mean_s", found.load.e2el_s)):
        low, high = found.load.ci95[name]
        assert 0.5 * present(present(seen).mean) < (low + high) / 2 < 2 * present(present(seen).mean)
    assert found.load.output_throughput_ci95 is None
    assert (Mark.IMPRECISE in found.marks) is bool(found.unknown)
    assert "ttft_p95_s" not in found.unknown
    short = bench(dataclasses.replace(OPEN, window_s=2.0, max_window_s=2.0), objective="ttft_p99")
    assert (short.unknown, Mark.IMPRECISE in short.marks) == (("ttft_p99_s",), True)
    goodput = bench(CLOSED, objective="goodput", slos="e2e_p99=10s")
    assert goodput.load.ci95 is not None
    low, high = goodput.load.ci95["goodput"]
    assert 0.9 * (goodput.load.goodput or 0) < low <= high == pytest.approx(goodput.load.goodput)


@in_a_calm_moment
def test_several_workers_share_the_users_and_the_arrivals() -> None:
    async def run(url: str) -> list[Measured]:
        target = await find_target(url, None, None)
        async with Workers(3) as workers:
            return [await measure(target, w, salt=n, workers=workers) for n, w in enumerate((CLOSED, OPEN))]

    with paced("--ttft", "0.05", "--itl", "0.01") as url:
        closed, opened = asyncio.run(run(url))
    assert closed.client is not None
    assert closed.client.workers == 3
    assert closed.load.output_throughput == pytest.approx(16 * 32 / 0.36, rel=0.15)
    assert opened.load.request_throughput == pytest.approx(30, rel=0.35)


@pytest.mark.engine
@pytest.mark.long
def test_the_highest_rate_that_meets_the_slos_is_found_in_one_launch(
    engine_python: Path, demo_model: Path, tmp_path: Path
) -> None:
    """A real vLLM that serves two requests at once: above what these two can do, requests wait for their first token. What
    this machine can do is measured first."""
    two = dataclasses.replace(CLOSED, users=2, precision=0.5)
    search = dataclasses.replace(OPEN, find_rate=True, window_s=0.2, warmup_s=0.5, precision=0.5)
    launcher = VllmLauncher(
        python=engine_python, model=str(demo_model), fixed={"max_num_seqs": 2, "max_model_len": 1024}
    )
    told: list[str] = []

    async def run() -> tuple[Measured, float, float]:
        with ForkServer(engine_python, {"OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}) as engine:
            command = launcher.command({})
            async with launcher.launch(command, tmp_path / "log", lambda launch: None, engine) as (endpoint, _):
                alone = (await measure(endpoint, two)).load
                limit_s = max(0.15, 5 * present(present(alone.ttft_s).p50))
                low = dataclasses.replace(search, request_rate=round(present(alone.request_throughput) / 8, 2))
                slo = parse_slo(f"ttft_p50={1000 * limit_s:.0f}ms")
                return await measure(endpoint, low, slos=[slo], phase=told.append), limit_s, present(low.request_rate)

    found, limit_s, begun = asyncio.run(run())
    assert present(present(found.load.ttft_s).p50) <= limit_s, told
    assert found.load.request_rate is not None
    assert found.load.request_rate > begun, told
    assert Mark.SATURATED not in found.marks
    assert [text for text in told if "miss the SLOs" in text or "too many" in text]


def test_where_no_rate_meets_the_slos_the_lowest_that_was_tried_is_given() -> None:
    search = dataclasses.replace(OPEN, find_rate=True, request_rate=400.0, window_s=1.0, warmup_s=0.5)
    missed = bench(search, slos="ttft_p50=10ms")
    assert present(present(missed.load.ttft_s).p50) > 0.01
    assert missed.load.request_rate == pytest.approx(400 / 64)


def test_looking_for_a_rate_needs_a_limit() -> None:
    with pytest.raises(UsageError, match="give some"):
        bench(dataclasses.replace(OPEN, find_rate=True))


def test_goodput_counts_the_requests_that_meet_every_limit() -> None:
    assert bench(CLOSED, slos="ttft_p99=10ms").load.goodput == 0
    every = bench(CLOSED, slos="ttft_p99=60s tpot_p99=60s").load
    assert every.goodput == pytest.approx(every.request_throughput)


@pytest.mark.parametrize("preset", ["multi-turn", "prefix"])
def test_conversations_and_shared_prefixes_are_whole_streams(preset: str) -> None:
    workload = dataclasses.replace(PRESETS[preset], users=4, warmup_s=1.0, window_s=2.0, precision=0.5)
    if workload.shared_prefix:
        workload = dataclasses.replace(workload, shared_prefix=SharedPrefix(tokens=32, count=2))
    found = bench(dataclasses.replace(workload, output_tokens=Lengths(low=4, high=8)))
    assert found.load.failed == 0
    assert present(found.load.completed) > 10


def test_a_worker_that_is_killed_fails_the_load_and_says_so() -> None:
    async def run() -> None:
        async with FaultServer(token_s=0.01) as server, Workers(2) as workers:
            task = asyncio.create_task(measure(server.endpoint(Path("log")), CLOSED, workers=workers))
            while not server.open:
                await asyncio.sleep(0.02)
            victim = next(c for c in psutil.Process().children() if "tuner.load.worker" in c.cmdline())
            os.kill(victim.pid, signal.SIGKILL)
            await task

    with pytest.raises(
        LaunchError, match=r"a process of the load generator ended by itself \(exit code -9\)"
    ) as raised:
        asyncio.run(run())
    assert raised.value.failed.kind is FailureKind.CLIENT_BOUND
    assert raised.value.failed.kind.is_transient
    assert not [c for c in psutil.Process().children() if "tuner.load.worker" in c.cmdline()]


def test_a_load_generator_without_time_is_marked_and_tried_with_more_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.measure.marks.BUSY", 0.0)
    monkeypatch.setattr("tuner.study.measurement.most_workers", lambda: 3)
    found = bench(dataclasses.replace(CLOSED, warmup_s=0.5, window_s=0.5, precision=0.5))
    assert Mark.CLIENT_BOUND in found.marks
    assert found.client is not None
    assert found.client.workers == 3
    assert found.server is not None
    assert found.server.prefix_cache_hits == 0


@in_a_calm_moment
def test_what_cannot_outdo_the_best_is_stopped_early_and_says_how_good_it_is_at_the_best() -> None:
    """The paced server gives 1,422 tok/s; a best of three times as much is out of reach, one that is a little better is not."""
    long = dataclasses.replace(CLOSED, window_s=8.0, max_window_s=8.0)
    best = Outdo(trial=1, metric="output_throughput", maximize=True, value=4300.0, margin=0.1, noise=0.01)

    async def run(url: str, outdo: Outdo) -> Measured:
        return await measure(await find_target(url, None, None), long, outdo=outdo)

    with paced("--ttft", "0.05", "--itl", "0.01") as url:
        stopped = asyncio.run(run(url, best))
        whole = asyncio.run(run(url, dataclasses.replace(best, value=1450.0)))
    assert Mark.STOPPED_EARLY in stopped.marks
    assert Mark.IMPRECISE not in stopped.marks
    assert 2.0 <= present(stopped.load.window_s) < 6.0
    assert stopped.at_best is not None
    assert 1.0 < stopped.at_best < 2.0
    assert stopped.load.output_throughput == pytest.approx(whole.load.output_throughput, rel=0.15)
    assert Mark.STOPPED_EARLY not in whole.marks
    assert whole.at_best is None
    assert present(whole.load.window_s) >= 8.0
