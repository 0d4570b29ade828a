"""The memory of cards before and after a launch; NVML is played at its door, all else is real."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest
from samples import measured

from tuner.measure.gpu import GpuProcess
from tuner.study import cards
from tuner.study.cards import Before, free_cards, judged
from tuner.types import Command, DetectedGpu, Failed, FailureKind, Mark, Outcome

GIB = 1024**3
CARD = DetectedGpu(
    index=1, uuid="GPU-1", name="NVIDIA L4", memory_bytes=24 * GIB, compute_capability=(8, 9), driver="550.1"
)
OTHER = GpuProcess(pid=4711, memory_bytes=8 * GIB)
NO_MEMORY = Failed(kind=FailureKind.OUT_OF_MEMORY, message="CUDA out of memory")


def nvml(
    monkeypatch: pytest.MonkeyPatch, used_gib: list[float | None], holders: list[GpuProcess], deadline_s: float = 60.0
) -> None:
    """`used_gib` is what the card says from one look to the next; the last stays."""

    def memory(uuid: str) -> tuple[int, int] | None:
        now = used_gib.pop(0) if len(used_gib) > 1 else used_gib[0]
        return None if now is None else (int(now * GIB), 24 * GIB)

    monkeypatch.setattr(cards, "_MEMORY_BACK_DEADLINE_S", deadline_s)
    monkeypatch.setattr(cards, "_BELIEVED_S", min(deadline_s, 1.0))
    monkeypatch.setattr(cards, "_POLL_S", 0.05)
    monkeypatch.setattr(cards, "memory_bytes", memory)
    monkeypatch.setattr(cards, "processes", lambda uuid: holders)


def before_launch(wait_s: float, **settings: float) -> tuple[cards.Cards | Failed, list[str]]:
    told: list[str] = []
    command = Command(argv=("vllm",), settings=settings)
    return asyncio.run(free_cards([CARD], command, wait_s, told.append)), told


def after_launch(outcome: Outcome, before_gib: float | None = 0.5) -> Outcome:
    used = None if before_gib is None else int(before_gib * GIB)
    known: Mapping[DetectedGpu, Before] = {CARD: Before(used, frozenset())}
    return asyncio.run(judged(outcome, known))


def test_a_free_card_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(monkeypatch, [0.7], [])
    found, told = before_launch(0.0, gpu_memory_utilization=0.99)
    assert not isinstance(found, Failed)
    assert told == []


def test_a_card_that_others_hold_is_waited_for_and_used_once_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(monkeypatch, [9.0, 9.0, 0.5], [OTHER])
    found, told = before_launch(30.0)
    assert not isinstance(found, Failed)
    assert told[0].startswith(
        "waiting: 9.0 of 24.0 GiB of the memory of GPU 1 are held by pid 4711 (not ours) and the launch asks"
    )


def test_then_it_is_a_sentence_and_never_the_settings_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(monkeypatch, [9.0], [OTHER])
    found, _ = before_launch(0.2)
    assert isinstance(found, Failed)
    assert found.kind is FailureKind.GPU_MEMORY_HELD
    assert not found.kind.is_of_the_settings
    assert "pid 4711" in found.message
    assert "--wait-for-gpu" in found.message


def test_what_the_launch_does_not_need_is_no_reason_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(monkeypatch, [9.0], [OTHER])
    found, told = before_launch(0.0, gpu_memory_utilization=0.5)
    assert not isinstance(found, Failed)
    assert told == []
    marked = asyncio.run(judged(measured(), found))
    assert not isinstance(marked, Failed)
    assert Mark.GPU_SHARED in marked.marks


def test_memory_that_comes_back_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(monkeypatch, [9.0, 9.0, 0.6], [])
    assert after_launch(measured()) == measured()


def test_what_another_took_meanwhile_marks_a_measurement_and_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(monkeypatch, [1.5], [OTHER], deadline_s=0.6)
    marked = after_launch(measured())
    assert not isinstance(marked, Failed)
    assert marked.marks == (Mark.GPU_SHARED,)
    assert replace(marked, marks=()) == measured()


@pytest.mark.parametrize("holders", [[OTHER], []])
def test_a_lack_of_memory_that_another_made_is_not_the_settings(
    monkeypatch: pytest.MonkeyPatch, holders: list[GpuProcess]
) -> None:
    nvml(monkeypatch, [9.0], holders, deadline_s=0.6)
    held = after_launch(NO_MEMORY)
    assert isinstance(held, Failed)
    assert held.kind is FailureKind.GPU_MEMORY_HELD
    who = "pid 4711 (not ours)" if holders else "a process that NVML does not list"
    assert held.message.startswith(f"GPU memory held by {who}: GPU 1 has 8.5 GiB less than before the launch")
    assert held.message.endswith(NO_MEMORY.message)


def test_a_lack_of_memory_on_a_card_of_ones_own_is_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(monkeypatch, [0.5], [])
    assert after_launch(NO_MEMORY) is NO_MEMORY
    said_held = replace(NO_MEMORY, kind=FailureKind.GPU_MEMORY_HELD)
    assert after_launch(said_held) == NO_MEMORY
    assert after_launch(said_held, before_gib=9.0) is said_held
    assert after_launch(said_held, before_gib=None) is said_held


def test_other_failures_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(monkeypatch, [9.0], [OTHER], deadline_s=0.3)
    crashed = replace(NO_MEMORY, kind=FailureKind.CRASHED)
    assert after_launch(crashed) is crashed


def test_a_card_that_does_not_tell_its_memory_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(monkeypatch, [None], [OTHER])
    found, told = before_launch(0.0)
    assert not isinstance(found, Failed)
    assert told == []
    assert after_launch(measured(), before_gib=None) == measured()
