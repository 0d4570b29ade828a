"""What a load's samplers hold in; its time line out. Pure arithmetic: reads no clock, and knows no server.

From the load's beginning to the window's end, in samples of equal length. In the window output tokens are those of the records,
as in every other number; those of the warm-up, whose requests mostly have none, are as its ticks told them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuner.measure.window import Floats, arrivals, whole
from tuner.types import LoadResult, Timeline

#: The most samples of a time line: a longer load has longer ones.
MOST = 400
#: For how many samples a gauge that is not read again stays what it was.
_FRESH = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """vLLM's, as they were read at one time of the client's clock; None where it does not tell. `preemptions` and `steps` are
    counted since the server's start."""

    time_s: float
    running: float | None
    waiting: float | None
    kv_cache_usage: float | None
    preemptions: float | None = None
    steps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuSeconds:
    """Of processor time that the server's processes, and EngineCore's, have used since the first of these readings."""

    time_s: float
    server: float
    engine_core: float | None


def timeline(
    result: LoadResult,
    gauges: Sequence[Gauges] = (),
    utilization: Sequence[tuple[float, float]] = (),
    cpu: Sequence[CpuSeconds] = (),
    *,
    step_counts: int | None = 1,
    sample_s: float = 1.0,
) -> Timeline:
    """`utilization` is the GPUs' mean, each with its time; all times are of the clock of `result`. `step_counts` is how often
    the server counts each of its steps, None where nobody can tell. A sample is about `sample_s` long."""
    begin_s = result.window_start_s - result.warmup_s
    whole_s = result.window_end_s - begin_s
    count = min(max(round(whole_s / sample_s), 1), MOST)
    edges = np.linspace(0.0, whole_s, count + 1)
    read = [(one.time_s - begin_s, one) for one in gauges]
    steps = _rates([(at_s, one.steps) for at_s, one in read], edges) if step_counts else ()
    used = [(one.time_s - begin_s, one) for one in cpu]
    return Timeline(
        t_s=tuple(map(float, edges[1:])),
        window_begin_s=result.warmup_s,
        window_end_s=whole_s,
        output_throughput=_throughput(result, begin_s, edges),
        running=_sampled([(at_s, one.running) for at_s, one in read], edges),
        waiting=_sampled([(at_s, one.waiting) for at_s, one in read], edges),
        kv_cache_usage=_sampled([(at_s, one.kv_cache_usage) for at_s, one in read], edges),
        gpu_utilization=_sampled([(at_s - begin_s, share) for at_s, share in utilization], edges),
        preemptions=_counted([(at_s, one.preemptions) for at_s, one in read], edges),
        steps_per_s=tuple(rate if rate is None else rate / (step_counts or 1) for rate in steps),
        server_cores=_rates([(at_s, one.server) for at_s, one in used], edges),
        engine_core_cores=_rates([(at_s, one.engine_core) for at_s, one in used], edges),
    )


def _throughput(result: LoadResult, begin_s: float, edges: Floats) -> tuple[float | None, ...]:
    """Nothing where no request was whole, None for samples of a warm-up that nobody counted."""
    good = whole(result.records)
    if not good:
        return ()
    times, tokens = arrivals(good)
    known_s = len(result.warmup_rates) * result.tick_s
    since_s = min(known_s, result.warmup_s) if known_s else result.warmup_s
    inside = (times >= begin_s + since_s) & (times < result.window_end_s)
    found = np.histogram(times[inside] - begin_s, edges, weights=tokens[inside])[0]
    ticks = np.arange(len(result.warmup_rates) + 1) * result.tick_s
    counted = np.concatenate([[0.0], np.cumsum(result.warmup_rates)]) * result.tick_s
    found += np.diff(np.interp(edges, ticks, counted)) if known_s else 0.0
    rates = found / np.diff(edges)
    unknown = edges[:-1] < since_s if not known_s else np.zeros(len(rates), dtype=bool)
    return tuple(None if is_unknown else float(rate) for rate, is_unknown in zip(rates, unknown, strict=True))


def _sampled(read: Sequence[tuple[float, float | None]], edges: Floats) -> tuple[float | None, ...]:
    """The mean of each sample's readings, else the last one while it is fresh; nothing where there was none at all."""
    known = [(at_s, value) for at_s, value in read if value is not None]
    if not known:
        return ()
    times, values = (np.array(column, dtype=np.float64) for column in zip(*known, strict=True))
    first, last = np.searchsorted(times, edges[:-1], "right"), np.searchsorted(times, edges[1:], "right")
    totals = np.concatenate([[0.0], np.cumsum(values)])
    fresh_s = _FRESH * (edges[1] - edges[0])
    found: list[float | None] = []
    for begin, end, edge_s in zip(first, last, edges[1:], strict=True):
        if end > begin:
            found.append(float((totals[end] - totals[begin]) / (end - begin)))
        else:
            found.append(float(values[end - 1]) if end and edge_s - times[end - 1] <= fresh_s else None)
    return tuple(found)


def _counted(read: Sequence[tuple[float, float | None]], edges: Floats) -> tuple[float | None, ...]:
    """What a counter rose by in each sample, as if evenly between two readings; None in what it was not read around, or where
    it fell; nothing where nobody read it twice."""
    known = [(at_s, value) for at_s, value in read if value is not None]
    if len(known) < 2:
        return ()
    times, totals = (np.array(column, dtype=np.float64) for column in zip(*known, strict=True))
    slack_s = (edges[1] - edges[0]) / 2  # the window's last reading is a little before its end
    outside = (edges[:-1] < times[0] - slack_s) | (edges[1:] > times[-1] + slack_s)
    rose = np.diff(np.interp(edges, times, totals))
    if (np.diff(totals) < 0).any():
        return (None,) * len(rose)
    return tuple(None if unknown else float(value) for value, unknown in zip(rose, outside, strict=True))


def _rates(read: Sequence[tuple[float, float | None]], edges: Floats) -> tuple[float | None, ...]:
    """The same, a second: over the part of the sample that was read."""
    known = [at_s for at_s, value in read if value is not None]
    counted = _counted(read, edges)
    if not counted:
        return ()
    seen_s = np.minimum(edges[1:], known[-1]) - np.maximum(edges[:-1], known[0])
    return tuple(
        None if count is None or time_s <= 0 else count / float(time_s)
        for count, time_s in zip(counted, seen_s, strict=True)
    )
