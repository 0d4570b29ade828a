"""What this machine allows before a launch, and the GPU's memory after it.

The rest of a trial is tested with a real vLLM: test_faults.py, test_optimize.py.
"""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner.errors import LaunchError
from tuner.launch.job import Job
from tuner.load.limits import Limits
from tuner.measure.gpu import GpuProcess
from tuner.study import trial
from tuner.study.measurement import measure
from tuner.types import DetectedGpu, Failed, FailureKind, Target
from tuner.workload.presets import PRESETS

GIB = 1024**3
CARD = DetectedGpu(
    index=1, uuid="GPU-1", name="NVIDIA L4", memory_bytes=24 * GIB, compute_capability=(8, 9), driver="550.1"
)


def after_launch(
    monkeypatch: pytest.MonkeyPatch, used: list[int | None], holders: list[GpuProcess], deadline_s: float = 60.0
) -> Failed | None:
    """`used` is what the card says from one look to the next; the last stays."""
    monkeypatch.setattr(trial, "_MEMORY_BACK_DEADLINE_S", deadline_s)
    monkeypatch.setattr(trial, "memory_used_bytes", lambda index: used.pop(0) if len(used) > 1 else used[0])
    monkeypatch.setattr(trial, "processes", lambda index: holders)
    return asyncio.run(trial._memory_held([CARD], [GIB]))


def test_memory_that_comes_back_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert after_launch(monkeypatch, [9 * GIB, 9 * GIB, GIB + 2**20], []) is None


def test_memory_that_stays_away_fails_the_trial_and_names_who_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    held = after_launch(monkeypatch, [9 * GIB], [GpuProcess(pid=4711, memory_bytes=8 * GIB)], deadline_s=0.6)
    assert held is not None
    assert held.kind is FailureKind.GPU_MEMORY_HELD
    assert held.message.startswith("GPU memory held by pid 4711 (not ours): GPU 1 has 8.0 GiB less than before")
    assert not held.kind.is_of_the_settings


def test_a_card_that_does_not_tell_its_memory_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert after_launch(monkeypatch, [None], []) is None


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


def test_so_it_is_before_a_load_on_a_server_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.study.measurement.machine_limits", lambda: FEW_FILES)
    nowhere = Target(base_url="http://127.0.0.1:1", model="m")
    with pytest.raises(LaunchError, match="10,000 users need") as raised:
        asyncio.run(measure(nowhere, replace(PRESETS["chat"], users=10_000)))
    assert raised.value.failed.kind is FailureKind.CLIENT_BOUND
