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


def parse_slo(text: str) -> Slo:
    """`ttft_p99=500ms` -> Slo. Raises UsageError with what was expected."""
    found = re.fullmatch(r"\s*(\w+?)_(\w+)\s*=\s*([0-9.]+)\s*([a-z]*)\s*", text)
    if not found or found[1] not in LATENCIES or found[2] not in STATISTICS:
        name = text.split("=")[0].strip()
        known = f"{{{','.join(LATENCIES)}}}_{{{','.join(STATISTICS)}}}"
        names = [f"{latency}_{statistic}" for latency in LATENCIES for statistic in STATISTICS]
        if name in names:
            raise UsageError(f"--slo {text!r}: expected a limit with a unit, for example {name}=500ms")
        near = did_you_mean(name, names)
        raise UsageError(
            f"--slo {text!r}: unknown metric {name!r}{near}: use {known}=LIMIT, for example ttft_p99=500ms"
        )
    if found[4] not in _UNITS_S:
        raise UsageError(f"--slo {text!r}: the limit needs a unit, s or ms, for example {found[1]}_{found[2]}=500ms")
    try:
        limit_s = float(found[3]) * _UNITS_S[found[4]]
    except ValueError as error:
        raise UsageError(f"--slo {text!r}: {found[3]} is no number") from error
    if limit_s <= 0:
        raise UsageError(f"--slo {text!r}: the limit must be above zero")
    return Slo(f"{found[1]}_{found[2]}", f"{LATENCIES[found[1]][:-2]}_{found[2]}_s", limit_s)


def check_limits(objective: Objective, slos: Sequence[Slo]) -> None:
    """Raises UsageError for goodput without a limit on what a request can meet."""
    if objective.metric == "goodput" and not limits(slos):
        raise UsageError(
            "--objective goodput counts the requests that meet every SLO: give a ttft, tpot or e2e one (--slo)"
        )


def constraints(objective: Objective, slos: Sequence[Slo]) -> tuple[Slo, ...]:
    """The SLOs that a trial must meet: all, but none where the objective itself counts the requests that meet them."""
    return () if objective.metric == "goodput" else tuple(slos)


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
