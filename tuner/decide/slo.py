"""`ttft_p99=500ms` in; a limit that a measurement meets or misses, and by how much, out. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from tuner.decide.objective import LATENCIES, STATISTICS, Objective, metric_value
from tuner.errors import UsageError, did_you_mean
from tuner.types import LoadMetrics

#: The latencies that a request has one of, so that it can meet a limit; ITL is of chunks.
PER_REQUEST = ("ttft", "tpot", "e2el")


#: In ascending order.
PERCENTILES = ("p50", "p90", "p95", "p99")
MAX_LIMIT_S = 86_400.0
_UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


@dataclass(frozen=True, slots=True)
class Slo:
    """A latency limit, e.g. ttft_p99 of at most 0.5 s."""

    name: str
    metric: str
    limit_s: float

    def violation(self, load: LoadMetrics) -> float:
        """By how much the limit is missed, as a fraction of it; <= 0 is met. A latency that does not exist meets it."""
        value = metric_value(load, self.metric)
        return -1.0 if value is None else value / self.limit_s - 1

    @property
    def share(self) -> float:
        """The share of the requests that may not be above the limit; a mean is known about as well as a median."""
        statistic = self.metric.removesuffix("_s").rpartition("_")[2]
        return 0.5 if statistic == "mean" else int(statistic[1:]) / 100


def parse_slo(text: str) -> Slo:
    """`ttft_p99=500ms` -> Slo. Raises UsageError with what was expected."""
    name, _, limit = (part.strip() for part in text.partition("="))
    latency, _, statistic = name.partition("_")
    if latency not in LATENCIES or statistic not in STATISTICS:
        known = f"{{{','.join(LATENCIES)}}}_{{{','.join(STATISTICS)}}}"
        near = did_you_mean(name, [f"{latency}_{statistic}" for latency in LATENCIES for statistic in STATISTICS])
        raise UsageError(
            f"--slo {text!r}: unknown metric {name!r}{near}: use {known}=LIMIT, for example ttft_p99=500ms"
        )
    if "," in limit and "=" in limit:
        raise UsageError(
            f"--slo {text!r}: this is more than one: give each with a --slo of its own (in TUNER_SLO: with spaces)"
        )
    found = re.fullmatch(r"([0-9]*\.?[0-9]+|[0-9]+\.)\s*([a-z]*)", limit)
    if not found:
        raise UsageError(f"--slo {text!r}: {limit!r} is no time above 0: give one such as {name}=500ms")
    if found[2] not in _UNITS_S:
        raise UsageError(f"--slo {text!r}: the limit needs a unit, s or ms, for example {name}=500ms")
    limit_s = float(found[1]) * _UNITS_S[found[2]]
    if not 0 < limit_s < MAX_LIMIT_S:
        raise UsageError(f"--slo {text!r}: the limit must be above zero and below a day")
    return Slo(name, f"{LATENCIES[latency][:-2]}_{statistic}_s", limit_s)


def parse_slos(texts: Sequence[str]) -> tuple[Slo, ...]:
    """As `parse_slo`, all of them; also raises UsageError for two that cannot both be meant: of the same metric, or such that
    one is met by whatever meets the other."""
    slos = tuple(parse_slo(text) for text in texts)
    for place, slo in enumerate(slos):
        for other in slos[:place]:
            if slo.metric == other.metric:
                raise UsageError(f"--slo {slo.name} is given twice, {_ms(other)} and {_ms(slo)}: leave one of them out")
            for lower, upper in ((slo, other), (other, slo)):
                if _is_below(lower.metric, upper.metric) and lower.limit_s > upper.limit_s:
                    raise UsageError(
                        f"--slo {lower.name}={_ms(lower)} says nothing beside {upper.name}={_ms(upper)}, which is never"
                        f" smaller: leave it out, or give it less than {_ms(upper)}"
                    )
    return slos


def _is_below(one: str, other: str) -> bool:
    """Whether the first metric is never above the second: a lower percentile, or a first token and the whole answer."""
    (latency, statistic, _), (other_latency, other_statistic, _) = one.split("_"), other.split("_")
    if latency == other_latency:
        return statistic in PERCENTILES and other_statistic in PERCENTILES[PERCENTILES.index(statistic) + 1 :]
    return (latency, other_latency) == ("ttft", "e2el") and statistic == other_statistic


def _ms(slo: Slo) -> str:
    return f"{slo.limit_s * 1e3:,.6g} ms"


def check_limits(objective: Objective, slos: Sequence[Slo]) -> None:
    """Raises UsageError for goodput without a limit on what a request can meet."""
    if objective.metric == "goodput" and not limits(slos):
        raise UsageError(
            "--objective goodput counts the requests that meet every SLO: give a ttft, tpot or e2e one (--slo)"
        )


def constraints(objectives: Sequence[Objective], slos: Sequence[Slo]) -> tuple[Slo, ...]:
    """The SLOs that a trial must meet: all, but none where an objective itself counts the requests that meet them."""
    return () if any(objective.metric == "goodput" for objective in objectives) else tuple(slos)


def limits(slos: Sequence[Slo]) -> dict[str, float]:
    """What a request has to meet to be a good one (goodput), in seconds: of TTFT, TPOT and E2EL the smallest limit that any
    statistic of it has."""
    found: dict[str, float] = {}
    for slo in slos:
        latency = slo.metric.split("_")[0]
        if latency in PER_REQUEST:
            found[latency] = min(slo.limit_s, found.get(latency, inf))
    return found


def violations(load: LoadMetrics, slos: Sequence[Slo]) -> dict[str, float]:
    return {slo.name: slo.violation(load) for slo in slos}
