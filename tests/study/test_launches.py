"""Launches that begin at once, each in a thread of its own as in the slots."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from record_samples import STUDY
from samples import measured

from tuner.launch.caches import COLD, Caches
from tuner.launch.job import Job
from tuner.record.store import Store
from tuner.sim.engine import SimEngine
from tuner.space.files import load_space
from tuner.study.engines import simulated_setup
from tuner.study.launches import run_recorded
from tuner.study.options import Options
from tuner.types import Failed, FailureKind, Outcome

FAILED = Failed(kind=FailureKind.CRASHED, message="it died", starting=True)


@pytest.mark.parametrize("first", [measured(), FAILED])
def test_on_a_cold_host_one_fills_the_caches_while_the_others_wait(tmp_path: Path, first: Outcome) -> None:
    """Where the first start fails, the next one is the first."""
    lock, now, seen, told = threading.Lock(), list[int](), list[tuple[bool, int]](), list[str]()

    async def run(job: Job, *_: Any) -> Outcome:
        is_short = job.workload.window_s <= 5
        with lock:
            now.append(job.salt)
            seen.append((is_short, len(now)))
        await asyncio.sleep(0.3)
        with lock:
            now.remove(job.salt)
        return first if len(seen) == 1 else measured()

    space = load_space("t4")
    setup = simulated_setup(Options(engine="sim", gpu="t4"), space, SimEngine(space.gpu))
    setup = replace(setup, study=STUDY.name, caches=Caches(tmp_path), run=run, logs=tmp_path / "logs")
    watch: Any = SimpleNamespace(note=told.append, phase=lambda _: None, underway=lambda _: None)
    store = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    store.create_or_get_study(STUDY)

    def launch(number: int) -> Outcome:
        return run_recorded(setup, store, watch, number, setup.launcher.command({}), {})

    with ThreadPoolExecutor(3) as pool:
        outcomes = [*pool.map(launch, range(3))]
    store.close()
    failures = [outcome for outcome in outcomes if outcome == first and outcome is FAILED]
    shorts = 1 + len(failures)
    assert seen[:shorts] == [(True, 1)] * shorts  # each by itself
    assert [is_short for is_short, _ in seen[shorts:]] == [False] * (3 - len(failures))
    assert max(at_once for _, at_once in seen[shorts:]) > 1
    assert told == [COLD] * shorts
