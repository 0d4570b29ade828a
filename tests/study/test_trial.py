"""The GPU's memory after a launch. The rest of a trial is tested with a real vLLM: test_faults.py, test_optimize.py."""

import asyncio

import pytest

from tuner.measure.gpu import GpuProcess
from tuner.study import trial
from tuner.types import DetectedGpu, Failed, FailureKind

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
