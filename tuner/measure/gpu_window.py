"""What some GPUs told in a window in; their `GpuMetrics` out. Pure arithmetic: knows no NVML.

What is sampled (utilization, memory, power, clock) is averaged over time. What is a difference between the window's two ends
(energy, activity) is a `GpuSpan`. A number that any of the GPUs does not tell is None for all of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from statistics import fmean
from typing import TypeVar

from tuner.types import POWER_CAP, GpuMetrics

Number = TypeVar("Number", int, float)

#: Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h) that hold clocks down under load. The others are no throttling:
#: idle, clocks that somebody has set, and clocks kept equal to those of other cards.
_REASONS = {
    0x04: POWER_CAP,
    0x08: "hw slowdown",
    0x20: "sw thermal",
    0x40: "hw thermal",
    0x80: "power brake",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """One GPU at one time. `clock_reasons` is NVML's bitmask of what holds its clocks down, `sm_clock_max_hz` the fastest."""

    utilization: float
    memory_used_bytes: int | None
    power_w: float | None
    sm_clock_hz: float | None
    clock_reasons: int | None
    sm_clock_max_hz: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSpan:
    """One GPU between the window's two ends: joules, and shares 0..1 of what its units could have done."""

    energy_j: float | None = None
    sm_activity: float | None = None
    tensor_activity: float | None = None
    dram_activity: float | None = None


def gpu_metrics(
    gpus: Sequence[int],
    rounds: Sequence[Sequence[GpuSample]],
    spans: Sequence[Sequence[GpuSpan]],
    output_tokens: float | None,
) -> GpuMetrics | None:
    """`rounds` holds one sample of each GPU, again and again, and `spans` one span of each, one after another; `output_tokens`
    are those of the window.

    None without a round. A board that shares the host's memory (GB10, Jetson) tells none of its own. `throttled` is the share
    of rounds in which heat or the power supply held a clock down. "sw power cap" is named among the reasons but does not
    count there: it is how a card at full load keeps to its power limit.
    """
    if not rounds:
        return None
    memory = _known(_total(sample.memory_used_bytes for sample in samples) for samples in rounds)
    power = _known(_total(sample.power_w for sample in samples) for samples in rounds)
    clocks = _known(sample.sm_clock_hz for samples in rounds for sample in samples)
    fastest = _known(sample.sm_clock_max_hz for samples in rounds for sample in samples)
    masks = _known(_union(sample.clock_reasons for sample in samples) for samples in rounds)
    energy_j = _total(span.energy_j for of_all in spans for span in of_all)
    return GpuMetrics(
        gpus=tuple(gpus),
        samples=len(rounds),
        utilization=fmean(sample.utilization for samples in rounds for sample in samples),
        memory_used_bytes=int(max(memory)) if memory else None,
        power_w=fmean(power) if power else None,
        sm_activity=_over_time([_mean(span.sm_activity for span in of_all) for of_all in spans]),
        tensor_activity=_over_time([_mean(span.tensor_activity for span in of_all) for of_all in spans]),
        dram_activity=_over_time([_mean(span.dram_activity for span in of_all) for of_all in spans]),
        energy_j=energy_j,
        energy_per_1k_tokens_j=1000 * energy_j / output_tokens if energy_j is not None and output_tokens else None,
        sm_clock_hz=fmean(clocks) if clocks else None,
        sm_clock_max_hz=fmean(fastest) if fastest else None,
        throttled=fmean(bool(set(throttle_reasons(mask)) - {POWER_CAP}) for mask in masks) if masks else None,
        throttle_reasons=throttle_reasons(_union(masks) or 0),
    )


def throttle_reasons(mask: int) -> tuple[str, ...]:
    """The names of the reasons in NVML's bitmask that are throttling."""
    return tuple(name for bit, name in _REASONS.items() if mask & bit)


def share(percent: float) -> float | None:
    """A GPM percentage as a share; None for what no percentage can be (not a number, or counters that wrapped around)."""
    return min(percent / 100, 1.0) if 0 <= percent <= 101 else None


def energy_between(before_mj: int | None, after_mj: int | None) -> float | None:
    """Joules between two readings of a counter of millijoules; None where one is missing or the driver was loaded anew."""
    if before_mj is None or after_mj is None or after_mj < before_mj:
        return None
    return (after_mj - before_mj) / 1000


def _known(values: Iterable[Number | None]) -> list[Number]:
    return [value for value in values if value is not None]


def _total(values: Iterable[float | None]) -> float | None:
    every = list(values)
    known = _known(every)
    return sum(known) if known and len(known) == len(every) else None


def _mean(values: Iterable[float | None]) -> float | None:
    every = list(values)
    total = _total(every)
    return total / len(every) if total is not None else None


def _over_time(values: Iterable[float | None]) -> float | None:
    """The mean of the spans that were long enough to tell."""
    known = _known(values)
    return fmean(known) if known else None


def _union(masks: Iterable[int | None]) -> int | None:
    known = _known(masks)
    return reduce(or_, known) if known else None
