"""What this machine allows before a launch. (The GPU's memory is in test_cards.py.)

The rest of a trial is tested with a real vLLM: test_faults.py, test_optimize.py.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from samples import measured

from tuner.errors import LaunchError
from tuner.launch.job import Job, Tell, Turn
from tuner.load.limits import Limits
from tuner.study import trial
from tuner.study.measurement import measure
from tuner.types import Failed, FailureKind, Mark, Measured, Target
from tuner.workload.presets import PRESETS

FEW_FILES = Limits(files=64, ports=30_000, memory_bytes=1 << 33)


def test_a_load_that_this_machine_cannot_make_is_found_before_the_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job has no launcher at all: it is not asked."""
    monkeypatch.setattr(trial, "machine_limits", lambda: FEW_FILES)
    nothing: Any = None
    job = Job(
        launcher=nothing,
        command=nothing,
        log=Path("log"),
        workload=replace(PRESETS["chat"], users=10_000),
        salt=0,
        slos=(),
        gpus=(),
        engine=None,
        timeout_s=1.0,
    )
    outcome = asyncio.run(trial.run_trial(job, nothing, nothing, nothing))
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailureKind.CLIENT_BOUND
    assert "10,000 users need" in outcome.message
    assert not outcome.kind.is_of_the_settings


@pytest.mark.parametrize("may_be_slowed", [False, True])
def test_waiting_for_a_turn_is_no_part_of_the_time_of_a_trial(may_be_slowed: bool) -> None:
    """0.3 s in all, of which 0.1 s are gone before and 0.5 s are waited for; what is left is as long as it was."""

    @asynccontextmanager
    async def turns(phase: Tell) -> AsyncIterator[Turn]:
        await asyncio.sleep(0.5)
        turn = Turn()
        yield turn
        turn.may_be_slowed = may_be_slowed

    async def load(load_s: float) -> Measured:
        nothing: Any = None
        job = Job(
            launcher=nothing,
            command=nothing,
            log=Path("log"),
            workload=PRESETS["chat"],
            salt=0,
            gpus=(),
            turns=turns,
        )

        async def measuring() -> Measured:
            await asyncio.sleep(load_s)
            return measured()

        async with asyncio.timeout(0.3) as clock:
            await asyncio.sleep(0.1)
            return await trial._in_turn(job, clock, measuring, nothing)

    assert (Mark.NEIGHBOURS in asyncio.run(load(0.05)).marks) is may_be_slowed
    with pytest.raises(TimeoutError):
        asyncio.run(load(1.0))


def test_so_it_is_before_a_load_on_a_server_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.study.measurement.machine_limits", lambda: FEW_FILES)
    nowhere = Target(base_url="http://127.0.0.1:1", model="m")
    with pytest.raises(LaunchError, match="10,000 users need") as raised:
        asyncio.run(measure(nowhere, replace(PRESETS["chat"], users=10_000)))
    assert raised.value.failed.kind is FailureKind.CLIENT_BOUND


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (f"4 of 4 requests failed; the first: the server reported an error: {trial._DEAD}.", FailureKind.CRASHED),
        ("4 of 4 requests failed; the first: the answer was cut off", FailureKind.LOAD_FAILED),
    ],
)
def test_a_server_that_says_that_its_engine_is_dead_is_waited_for_until_it_has_ended(
    message: str, kind: FailureKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine that takes longer than others are waited for."""
    monkeypatch.setattr(trial, "_MAYBE_DYING_S", 0.2)
    end_s, log = time.monotonic() + 1.0, tmp_path / "log"
    log.write_text("RuntimeError: the worker died\n")
    group: Any = SimpleNamespace(exit_code=lambda: 1 if time.monotonic() > end_s else None)
    found = asyncio.run(trial._crash_or(Failed(kind=FailureKind.LOAD_FAILED, message=message), group, log, None))
    assert found.kind is kind
