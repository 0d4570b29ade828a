"""What a measurement is for in; what has to be known before its window may end, and what of it is not known yet, out. Pure.

The load generator asks it while the window lasts, the marks ask it of what was recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.decide.confidence import half_width, quantile_interval, share_above, share_interval
from tuner.decide.objective import Objective
from tuner.decide.slo import PER_REQUEST, Slo, limits
from tuner.errors import UsageError
from tuner.types import Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Latencies = Mapping[str, Floats]

#: By how much answers, or prompts, may be shorter or longer than what was asked for, before that is told.
OTHER_LENGTHS = 0.01
#: A latency or a goodput is known when its interval is no wider than so much of it to either side, or the workload's precision,
#: if that is more: 2 % of a 99th percentile would take hours.
LATENCY_PRECISION = 0.10
#: What decides in an open loop whose measurement has no objective.
_OPEN_LOOP = ("ttft_mean_s", "e2el_mean_s")

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deciding:
    """What has to be known. `throughput`: output throughput, to `precision`. `metrics`: latencies and goodput by their names
    (ttft_p99_s), to LATENCY_PRECISION. `limits`: of a latency it has to be known on which side of its limit, in seconds, it is.
    `good` is what a request must meet to be a good one, in seconds by ttft, tpot and e2el."""

    precision: float
    throughput: bool = True
    metrics: tuple[str, ...] = ()
    limits: tuple[tuple[str, float], ...] = ()
    good: tuple[tuple[str, float], ...] = ()

    @property
    def named(self) -> tuple[str, ...]:
        """All metrics beside throughput, each once."""
        return tuple(dict.fromkeys((*self.metrics, *(metric for metric, _ in self.limits))))

    def intervals(self, latencies: Latencies) -> dict[str, Interval]:
        """The 95 % interval of each named metric, where there are requests enough: that of goodput is of the share of good
        requests. `latencies` are seconds of ttft, tpot and e2el, a request each, in the order of being due; TPOT may be NaN."""
        found = {metric: self._interval(metric, latencies) for metric in self.named}
        return {metric: interval for metric, interval in found.items() if interval is not None}

    def undecided(self, latencies: Latencies) -> tuple[str, ...]:
        """The metrics of which it is not known on which side of their limit they are."""
        return tuple(metric for metric, limit_s in self.limits if not self._is_decided(metric, limit_s, latencies))

    def unknown(
        self, throughput: float | None, intervals: Mapping[str, Interval], undecided: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """The names of all that is not known. `throughput` is half of its interval as a share of it, None without one."""
        is_known = not self.throughput or (throughput is not None and throughput <= self.precision)
        wide = [m for m in self.metrics if m not in intervals or not _is_narrow(m, intervals[m], self.precision)]
        return tuple(dict.fromkeys((*(() if is_known else ("output_throughput",)), *wide, *undecided)))

    def _interval(self, metric: str, latencies: Latencies) -> Interval | None:
        import numpy as np

        if metric == "goodput":
            missed = [latencies[name] > limit_s for name, limit_s in self.good]  # NaN misses nothing
            return share_interval(~np.any(missed, axis=0))
        values, share = values_of(metric, latencies)
        if share is not None:
            return quantile_interval(values, share)
        half = half_width(values)
        return None if half is None else (float(values.mean()) - half, float(values.mean()) + half)

    def _is_decided(self, metric: str, limit_s: float, latencies: Latencies) -> bool:
        values, share = values_of(metric, latencies)
        if share is None:
            mean = self._interval(metric, latencies)
            return mean is not None and not mean[0] <= limit_s < mean[1]
        above = share_above(values, limit_s)
        return above is not None and not above[0] <= 1 - share < above[1]


def values_of(metric: str, latencies: Latencies) -> tuple[Floats, float | None]:
    """The seconds that a metric is made of, and the share that its quantile is of; None for a mean."""
    import numpy as np

    name, _, statistic = metric.removesuffix("_s").rpartition("_")
    values = latencies[name][~np.isnan(latencies[name])]
    return values, None if statistic == "mean" else int(statistic.removeprefix("p")) / 100


def deciding(workload: Workload, objectives: Sequence[Objective] = (), slos: Sequence[Slo] = ()) -> Deciding:
    """Throughput, or each objective's own metric; energy is known when throughput is, because power is steady. An open loop has
    the throughput of its arrivals: there its mean latencies, where a latency is no objective (but none where the SLOs say which
    rate it may have). And each SLO that a request can meet, but none where an objective counts the requests that meet them:
    those on ITL decide no window, as it is of chunks, nor those on TPOT where a request has one token."""
    of_all = not objectives or any(o.is_throughput or not o.is_of_the_load for o in objectives)
    metrics = tuple(o.metric for o in objectives if o.is_of_the_load and not o.is_throughput)
    if not metrics and workload.request_rate is not None and not workload.find_rate:
        metrics = _OPEN_LOOP
    has_tpot = workload.output_tokens.high > 1 or workload.trace is not None
    told = [name for name in PER_REQUEST if name != "tpot" or has_tpot]
    counts_good = "goodput" in metrics
    return Deciding(
        precision=workload.precision,
        throughput=of_all and workload.users is not None,
        metrics=tuple(metric for metric in metrics if metric == "goodput" or metric.split("_")[0] in told),
        limits=tuple((s.metric, s.limit_s) for s in slos if not counts_good and s.metric.split("_")[0] in told),
        good=tuple(limits(slos).items()),
    )


def check_decides(workload: Workload, objective: Objective) -> None:
    """Raises UsageError for an objective that the arrivals decide, whatever the settings are."""
    if workload.users is not None or workload.find_rate or not objective.is_throughput:
        return
    other = "" if workload.trace is not None else "; or look for the highest rate (find_rate), or give --users"
    raise UsageError(
        f"--objective {objective.name}: the requests of workload {workload.name} arrive at a given rate, which a server that "
        f"keeps up only repeats: take --objective ttft_p99, tpot_p99, e2e_p99 or goodput (with --slo){other}"
    )


def latencies_s(requests: Floats) -> dict[str, Floats]:
    """TTFT, TPOT and E2EL of whole requests, one a request; TPOT is NaN for those with one output token. A request is a row:
    when it was due, its first and its last chunk came, and its output tokens."""
    import numpy as np

    due, first, last, tokens = requests.T
    later_tokens = np.where(tokens > 1, tokens - 1, np.nan)
    return {"ttft": first - due, "tpot": (last - first) / later_tokens, "e2el": last - due}


def _is_narrow(metric: str, interval: Interval, precision: float) -> bool:
    low, high = interval
    is_none = metric == "goodput" and low == 0 and high < 1  # more time would not make it a good one
    return is_none or (high - low) / 2 <= max(LATENCY_PRECISION, precision) * (low + high) / 2
