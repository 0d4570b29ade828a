"""Measurements in; objective, constraints, rank and verdict out. Pure.

A failed trial has no score and takes no part. A trial that misses an SLO is ranked behind every trial that meets all.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean

from tuner.confidence import t_quantile
from tuner.errors import UsageError
from tuner.types import Distribution, Failed, LoadMetrics, Measured, Outcome, Trial

_STATISTICS = ("mean", "p50", "p90", "p95", "p99")
_LATENCIES = {"ttft": "ttft_s", "tpot": "tpot_s", "itl": "itl_s", "e2e": "e2el_s", "e2el": "e2el_s"}
#: Other settings than the defaults have to be worth it.
LEAST_GAIN = 0.01
#: The latencies that a request has one of, so that it can meet a limit; ITL is of chunks.
_PER_REQUEST = ("ttft", "tpot", "e2el")
_UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


@dataclass(frozen=True, slots=True)
class Objective:
    """What is optimized. `name` is the user's word, `metric` the metric's name with its unit."""

    name: str
    metric: str
    maximize: bool

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
            Objective(f"{name}_{statistic}", f"{_LATENCIES[name].removesuffix('_s')}_{statistic}_s", False)
            for name in ("ttft", "tpot", "e2e")
            for statistic in ("p95", "p99")
        ),
    )
}


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


def parse_objective(name: str) -> Objective:
    """Raises UsageError for an unknown name."""
    if name not in OBJECTIVES:
        raise UsageError(f"unknown objective {name!r}: choose one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]


def parse_slo(text: str) -> Slo:
    """`ttft_p99=500ms` -> Slo. Raises UsageError with what was expected."""
    found = re.fullmatch(r"\s*(\w+?)_(\w+)\s*=\s*([0-9.]+)\s*([a-z]*)\s*", text)
    if not found or found[1] not in _LATENCIES or found[2] not in _STATISTICS:
        name = text.split("=")[0].strip()
        known = f"{{{','.join(_LATENCIES)}}}_{{{','.join(_STATISTICS)}}}"
        raise UsageError(f"--slo {text!r}: unknown metric {name!r}: use {known}=LIMIT, for example ttft_p99=500ms")
    if found[4] not in _UNITS_S:
        raise UsageError(f"--slo {text!r}: the limit needs a unit, s or ms, for example {found[1]}_{found[2]}=500ms")
    try:
        limit_s = float(found[3]) * _UNITS_S[found[4]]
    except ValueError as error:
        raise UsageError(f"--slo {text!r}: {found[3]} is no number") from error
    if limit_s <= 0:
        raise UsageError(f"--slo {text!r}: the limit must be above zero")
    return Slo(f"{found[1]}_{found[2]}", f"{_LATENCIES[found[1]][:-2]}_{found[2]}_s", limit_s)


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
        if latency in _PER_REQUEST:
            found[latency] = min(slo.limit_s, found.get(latency, inf))
    return found


def metric_value(load: LoadMetrics, metric: str) -> float | None:
    """A load metric by its name, e.g. output_throughput or ttft_p99_s; None where it does not exist."""
    latency, _, statistic = metric.removesuffix("_s").rpartition("_")
    if statistic in _STATISTICS:
        distribution: Distribution | None = getattr(load, f"{latency}_s")
        value: float | None = None if distribution is None else getattr(distribution, statistic)
    else:
        value = getattr(load, metric)
    return value


def violations(load: LoadMetrics, slos: Sequence[Slo]) -> dict[str, float]:
    return {slo.name: slo.violation(load) for slo in slos}


def feasible(trial: Trial) -> bool:
    """Measured, and every SLO met."""
    return isinstance(trial.outcome, Measured) and all(v <= 0 for v in trial.violations.values())


def score(trial: Trial, objective: Objective) -> float | None:
    """The objective's value; None for a trial without a measurement."""
    return objective.value(trial.outcome.load) if isinstance(trial.outcome, Measured) else None


def rank(trials: Sequence[Trial], objective: Objective) -> list[Trial]:
    """Best first: feasible by score, then those that miss an SLO by how much. Failed trials are left out."""

    def key(trial: Trial) -> tuple[float, float]:
        missed = sum(max(0.0, v) for v in trial.violations.values())
        value = score(trial, objective)
        assert value is not None
        return missed, -value if objective.maximize else value

    return sorted((t for t in trials if score(t, objective) is not None), key=key)


def best(trials: Sequence[Trial], objective: Objective) -> Trial | None:
    """The best feasible trial."""
    return next((t for t in rank(trials, objective) if feasible(t)), None)


def defaults_of(trials: Sequence[Trial]) -> Trial | None:
    """The trial of vLLM's defaults."""
    return next((trial for trial in trials if trial.is_default), None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the winner is really better than the defaults. `gain` is relative, of the means; `noise` is the standard
    deviation among launches of the same settings, relative to the defaults' mean, None where none was repeated or that mean
    is 0 (goodput); the counts
    are the launches compared."""

    better: bool
    gain: float
    noise: float | None
    defaults: int
    winner: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What to deploy. `chosen` is None when nothing that was measured meets the SLOs. `winner` is the best trial of the
    search; `verdict` is None when that is the defaults, or when there is nothing to compare it with."""

    chosen: Trial | None
    winner: Trial | None
    defaults: Trial | None
    verdict: Verdict | None


def decision(
    trials: Sequence[Trial], again: Sequence[tuple[int, Outcome]], objective: Objective, slos: Sequence[Slo]
) -> Decision:
    """Choose between the winner and the defaults. `again` are later launches of a trial's settings, by its number.

    The winner's value from the search is not used: being the best of many, it is too good (winner's curse). That of the
    defaults is, unless their server was forked: later launches are plain, and forked servers were measured to be slower on
    a GPU. The defaults are chosen when the winner is not better, or when one of its later launches failed or missed an SLO.
    """
    winner, defaults = best(trials, objective), defaults_of(trials)
    if winner is None or winner is defaults or defaults is None or not feasible(defaults):
        return Decision(winner, winner, defaults, None)
    values = {
        t.number: [_value(outcome, objective, slos) for n, outcome in again if n == t.number]
        for t in (winner, defaults)
    }
    wins, base = values[winner.number], values[defaults.number]
    if isinstance(defaults.outcome, Measured) and defaults.outcome.start == "plain":
        base = [score(defaults, objective), *base]
    if not wins or not base:
        return Decision(winner, winner, defaults, None)
    known_base = [v for v in base if v is not None]
    known_wins = [v for v in wins if v is not None]
    if len(known_wins) < len(wins):
        return Decision(defaults, winner, defaults, Verdict(False, 0.0, None, len(known_base), len(known_wins)))
    compared = verdict(objective, known_base, known_wins)
    return Decision(winner if compared.better else defaults, winner, defaults, compared)


def verdict(objective: Objective, defaults: Sequence[float], winner: Sequence[float]) -> Verdict:
    """Compare launches of the two. Better means: a gain of at least 1 %, and a two-sample t test with pooled variance
    (Student 1908), one-sided at 5 %, says that it is no chance. Each launch is one sample: settings are what is compared,
    and launches of the same settings differ by more than windows of one launch do.
    """
    better_by = (fmean(winner) - fmean(defaults)) * (1 if objective.maximize else -1)
    gain = objective.gain(fmean(winner), fmean(defaults))
    freedom = len(defaults) + len(winner) - 2
    if freedom < 1:
        return Verdict(False, gain, None, len(defaults), len(winner))
    deviation = sqrt(sum((x - fmean(group)) ** 2 for group in (defaults, winner) for x in group) / freedom)
    error = deviation * sqrt(1 / len(defaults) + 1 / len(winner))
    significant = better_by > t_quantile(0.95, freedom) * error
    noise = deviation / fmean(defaults) if any(defaults) else None
    return Verdict(significant and gain >= LEAST_GAIN, gain, noise, len(defaults), len(winner))


def _value(outcome: Outcome, objective: Objective, slos: Sequence[Slo]) -> float | None:
    """None for a failed launch and for one that misses an SLO."""
    if isinstance(outcome, Failed) or any(v > 0 for v in violations(outcome.load, slos).values()):
        return None
    return objective.value(outcome.load)
