"""What is optimized: a metric of the load by the user's word, and the gain of one value over another. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from tuner.errors import UsageError, choose
from tuner.types import Distribution, LoadMetrics

STATISTICS = ("mean", "p50", "p90", "p95", "p99")


LATENCIES = {"ttft": "ttft_s", "tpot": "tpot_s", "itl": "itl_s", "e2e": "e2el_s", "e2el": "e2el_s"}


@dataclass(frozen=True, slots=True)
class Objective:
    """What is optimized. `name` is the user's word, `metric` the metric's name with its unit."""

    name: str
    metric: str
    maximize: bool

    @property
    def is_throughput(self) -> bool:
        """Whether it counts all that the server did, whatever its latency."""
        return self.metric in ("output_throughput", "request_throughput")

    def value(self, load: LoadMetrics) -> float | None:
        return metric_value(load, self.metric)

    def gain(self, value: float, baseline: float) -> float:
        """The relative improvement of `value` over `baseline`: 0.25 is 25 % better, negative is worse. Over a goodput of 0
        it is infinite."""
        better, worse = (value, baseline) if self.maximize else (baseline, value)
        if worse == 0:
            return 0.0 if better == 0 else inf
        return better / worse - 1


OBJECTIVES: Mapping[str, Objective] = {
    o.name: o
    for o in (
        Objective("throughput", "output_throughput", True),
        Objective("requests", "request_throughput", True),
        Objective("goodput", "goodput", True),
        *(
            Objective(f"{name}_{statistic}", f"{LATENCIES[name].removesuffix('_s')}_{statistic}_s", False)
            for name in ("ttft", "tpot", "e2e")
            for statistic in STATISTICS
        ),
    )
}


def parse_objective(name: str) -> Objective:
    """Raises UsageError for an unknown name."""
    if name not in OBJECTIVES:
        raise UsageError(f"unknown objective {name!r}{choose(name, OBJECTIVES)}")
    return OBJECTIVES[name]


def metric_value(load: LoadMetrics, metric: str) -> float | None:
    """A load metric by its name, e.g. output_throughput or ttft_p99_s; None where it does not exist."""
    latency, _, statistic = metric.removesuffix("_s").rpartition("_")
    if statistic in STATISTICS:
        distribution: Distribution | None = getattr(load, f"{latency}_s")
        value: float | None = None if distribution is None else getattr(distribution, statistic)
    else:
        value = getattr(load, metric)
    return value
