"""The memory of a trial's cards before and after its launch: is it free, and did another take of it meanwhile?

In: the cards and what a launch asks for. Out: a failure that is another's doing, a mark, or nothing. Processes are told apart
by pid, where NVML lists them. It starts and stops nothing.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tuner.measure.gpu import GpuProcess, memory_bytes, processes
from tuner.types import Command, DetectedGpu, Failed, FailureKind, Mark, Measured, Outcome

#: What a desktop or the driver may hold of a card that is free.
_IDLE_BYTES = 1024**3
#: What the driver may keep of a process that is gone.
_SLACK_BYTES = 512 * 1024**2
#: How long after a launch its memory may take to come back, and how long another's process is looked at before it is believed.
_MEMORY_BACK_DEADLINE_S = 60.0
_BELIEVED_S = 5.0
_POLL_S = 0.5
#: vLLM's own default of gpu_memory_utilization; 0.92 in newer ones.
_UTILIZATION = 0.9
_GIB = 1024**3
#: What another's memory can be the reason of.
_OF_MEMORY = (FailureKind.OUT_OF_MEMORY, FailureKind.KV_CACHE_TOO_SMALL, FailureKind.GPU_MEMORY_HELD)


@dataclass(frozen=True, slots=True)
class Before:
    """What a card had in use before a launch, None where it does not tell, and who used it."""

    used_bytes: int | None
    pids: frozenset[int]

    @property
    def is_shared(self) -> bool:
        return (self.used_bytes or 0) > _IDLE_BYTES


Cards = Mapping[DetectedGpu, Before]


async def free_cards(
    gpus: Sequence[DetectedGpu], command: Command, wait_s: float, phase: Callable[[str], None]
) -> Cards | Failed:
    """The cards, once each has the memory that the launch asks for, or GPU_MEMORY_HELD after `wait_s` seconds. Memory that
    another holds and the launch does not need is no reason to wait."""
    clock = asyncio.get_running_loop().time
    end = clock() + wait_s
    while held := next((text for gpu in gpus if (text := _held(gpu, command))), None):
        if clock() >= end:
            todo = "end that, see --wait-for-gpu, or name another card in CUDA_VISIBLE_DEVICES"
            message = f"{held}, after {wait_s:g} s of waiting: {todo}"
            return Failed(kind=FailureKind.GPU_MEMORY_HELD, message=message)
        phase(f"waiting: {held}")
        await asyncio.sleep(min(_POLL_S, max(end - clock(), 0.0)))
    return {gpu: Before(_used(gpu), frozenset(p.pid for p in processes(gpu.uuid))) for gpu in gpus}


async def judged(outcome: Outcome, cards: Cards) -> Outcome:
    """The outcome in the light of the cards' memory after the launch: what another took of it marks a measurement, and is the
    reason of a failure for want of memory, which is then not the settings'."""
    taken = await _taken(cards)
    shared = taken or any(before.is_shared for before in cards.values())
    if isinstance(outcome, Measured):
        is_marked = not shared or Mark.GPU_SHARED in outcome.marks
        return outcome if is_marked else replace(outcome, marks=(*outcome.marks, Mark.GPU_SHARED))
    if outcome.kind not in _OF_MEMORY:
        return outcome
    if taken:
        return replace(outcome, kind=FailureKind.GPU_MEMORY_HELD, message=f"{taken}; {outcome.message}")
    is_known = cards and all(before.used_bytes is not None for before in cards.values())
    if outcome.kind is FailureKind.GPU_MEMORY_HELD and is_known and not shared:
        return replace(outcome, kind=FailureKind.OUT_OF_MEMORY)
    return outcome


def _held(gpu: DetectedGpu, command: Command) -> str | None:
    """A sentence where others hold what the launch asks for."""
    memory = memory_bytes(gpu.uuid)
    if memory is None or memory[0] <= _IDLE_BYTES:
        return None
    used, total = memory
    asked = command.settings.get("gpu_memory_utilization", _UTILIZATION)
    wanted = total * (float(asked) if isinstance(asked, int | float) else _UTILIZATION) * command.engines_per_gpu
    if total - used >= wanted:
        return None
    who = _named(processes(gpu.uuid))
    return (
        f"{used / _GIB:.1f} of {total / _GIB:.1f} GiB of the memory of GPU {gpu.index} are held by {who} and the launch asks "
        f"for {wanted / _GIB:.1f} GiB"
    )


async def _taken(cards: Cards) -> str | None:
    """A sentence where a card has less memory than before the launch, although that has ended; None once it is back."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while more := [
        (gpu, used - (before.used_bytes or 0)) for gpu, before in cards.items() if (used := _more(gpu, before))
    ]:
        gpu, extra = more[0]
        others = [process for process in processes(gpu.uuid) if process.pid not in cards[gpu].pids]
        past_s = clock() - began
        if past_s >= _MEMORY_BACK_DEADLINE_S or (others and past_s >= min(_BELIEVED_S, _MEMORY_BACK_DEADLINE_S)):
            return (
                f"GPU memory held by {_named(others)}: GPU {gpu.index} has {extra / _GIB:.1f} GiB less than before the launch, "
                f"{past_s:.0f} s after its end"
            )
        await asyncio.sleep(_POLL_S)
    return None


def _more(gpu: DetectedGpu, before: Before) -> int | None:
    """What is in use where that is more than before the launch."""
    used = _used(gpu)
    if used is None or before.used_bytes is None or used <= before.used_bytes + _SLACK_BYTES:
        return None
    return used


def _used(gpu: DetectedGpu) -> int | None:
    memory = memory_bytes(gpu.uuid)
    return memory[0] if memory else None


def _named(holders: Sequence[GpuProcess]) -> str:
    pids = ", ".join(f"pid {process.pid} (not ours)" for process in holders)
    return pids or "a process that NVML does not list"
