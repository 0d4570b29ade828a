"""vLLM's totals at both ends of a window, and its gauges in between, in; what the server did out. Pure.

A missing count of tokens is a LaunchError; what else is missing is None: a version may lack it, and the counters of speculative
decoding are only there where a server speculates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from tuner.errors import LaunchError
from tuner.measure.server_page import (
    CAPACITY,
    COUNTERS,
    DEFERRED,
    HISTOGRAMS,
    KV_USAGE,
    NECESSARY,
    RUNNING,
    STEPS,
    WAITING,
)
from tuner.measure.speculation import COUNTERS as SPECULATION
from tuner.measure.speculation import speculated
from tuner.types import Failed, FailureKind, ServerMetrics

Totals = Mapping[str, float]
#: With at least so many requests running for each API server, nearly every step has tokens for all of them.
_SHARED_BY_ALL = 4.0


def server_metrics(before: Totals, after: Totals, inside: Sequence[Totals]) -> ServerMetrics:
    """Differences, and means of the gauges `inside`; without `agreement`. Raises LaunchError (LOAD_FAILED) for a count of
    tokens that is absent, and a counter that fell."""
    if missing := [name for name in NECESSARY if name not in before or name not in after]:
        raise failed(f"vLLM's /metrics has no {missing[0]}: is this a vLLM server?")
    counters = [name for name in (*COUNTERS.values(), *SPECULATION) if name in before]
    if fell := [name for name in counters if after.get(name, 0.0) < before[name]]:
        raise failed(
            f"{fell[0]} of /metrics fell in the window: the server was restarted, or the address is that of several"
            " (measure one of them)"
        )
    usage, running, waiting = (values(inside, name) for name in (KV_USAGE, RUNNING, WAITING))
    return ServerMetrics(
        **{field: difference(before, after, name) for field, name in COUNTERS.items()},
        kv_cache_usage_mean=_mean(usage),
        kv_cache_usage_max=max(usage, default=None),
        running_mean=_mean(running),
        running_max=max(running, default=None),
        waiting_mean=_mean(waiting),
        waiting_max=max(waiting, default=None),
        waiting_capacity_mean=_mean(values(inside, CAPACITY)),
        waiting_deferred_mean=_mean(values(inside, DEFERRED)),
        steps=difference(before, after, STEPS),
        **{field: mean_of(before, after, name) for field, name in HISTOGRAMS.items()},
        **speculated(before, after),
    )


def of_the_engine(found: ServerMetrics, api_servers: int, in_flight: float | None) -> ServerMetrics:
    """Its steps, where several API servers count them: each counts a step that has tokens for one of its requests, so that with
    many requests in flight every step is counted by all of them, and with few nobody can tell. vLLM's gauges do not say how
    many these are: each API server has its own."""
    if found.steps is None or api_servers < 2:
        return found
    if found.step_tokens_mean is None or (in_flight or 0.0) < _SHARED_BY_ALL * api_servers:
        return replace(found, steps=None, step_tokens_mean=None)
    return replace(found, steps=found.steps / api_servers, step_tokens_mean=found.step_tokens_mean * api_servers)


def in_flight(before: Totals, after: Totals, elapsed_s: float) -> float | None:
    """How many requests were being computed, as a mean: Little's law on those that ended."""
    spent_s = difference(before, after, f"{HISTOGRAMS['inference_time_mean_s']}_sum")
    return spent_s / elapsed_s if spent_s is not None and elapsed_s > 0 else None


def values(snapshots: Sequence[Totals], name: str) -> list[float]:
    """Of those that have it."""
    return [snapshot[name] for snapshot in snapshots if name in snapshot]


def failed(message: str) -> LaunchError:
    """The load failed, for that."""
    return LaunchError(Failed(kind=FailureKind.LOAD_FAILED, message=message))


def difference(before: Totals, after: Totals, name: str) -> float | None:
    return after[name] - before[name] if name in before and name in after else None


def mean_of(before: Totals, after: Totals, name: str) -> float | None:
    """Of what a histogram took up in the window; None where that was nothing."""
    total, count = difference(before, after, f"{name}_sum"), difference(before, after, f"{name}_count")
    return total / count if total is not None and count is not None and count > 0 else None


def _mean(found: Sequence[float]) -> float | None:
    return fmean(found) if found else None
