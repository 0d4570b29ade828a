"""Launches of one side in; whether it meets the SLOs, and how noisy a launch is, out. Pure.

One launch is one sample: a p99 of the same settings differs from launch to launch, so near its limit a single value says little
in either direction. The same rule serves every side, the defaults too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import log, sqrt
from statistics import NormalDist, fmean

from tuner.decide.objective import metric_value
from tuner.decide.slo import Slo
from tuner.decide.student import value_at
from tuner.types import LoadMetrics

#: What a p99 of the same settings differs by from launch to launch (standard deviation of its logarithm) where nothing is
#: known, and how many degrees of freedom that guess is worth. Twelve windows of one server differed by 6 %; launches differ by
#: more.
PRIOR_ERROR, PRIOR_FREEDOM = 0.15, 2
#: Launches of the same settings differ by at least so much.
LEAST_ERROR = 0.02
#: A side meets a limit when the chance that its true value is beyond it is below MEETS, and clearly misses it when the chance
#: that the value is within it is below MISSES. What is less likely than not to meet it is in doubt: another may be worth more.
MEETS, MISSES = 0.09, 0.1
#: One launch alone may have been lucky.
LEAST_LAUNCHES = 2
_SMALLEST = 1e-9


class Bound(StrEnum):
    """What the repeats of one side say of its SLOs."""

    MEETS = "meets"
    MISSES = "misses"
    IN_DOUBT = "in doubt"
    OPEN = "not known yet"


@dataclass(frozen=True, slots=True)
class Noise:
    """The standard deviation of the logarithm of an SLO's value among launches of the same settings, a guess moderated by what
    was seen (as Smyth, "Linear models and empirical Bayes methods", 2004), and its degrees of freedom."""

    error: float
    freedom: int


def noise(sides: Iterable[Sequence[LoadMetrics]], slo: Slo, prior: float | None = None) -> Noise:
    """Pooled over all sides: each has its own mean, and the noise is taken to be alike. `prior` is the error that the
    measurements themselves tell, if they do."""
    square, freedom = 0.0, 0
    for loads in sides:
        values = [excess for load in loads if (excess := _excess(load, slo)) is not None]
        if len(values) > 1:
            square += sum((value - fmean(values)) ** 2 for value in values)
            freedom += len(values) - 1
    guess = max(prior if prior is not None else PRIOR_ERROR, LEAST_ERROR)
    known = PRIOR_FREEDOM + freedom
    return Noise(sqrt((PRIOR_FREEDOM * guess**2 + square) / known), known)


def bound(loads: Sequence[LoadMetrics], slos: Sequence[Slo], noises: Sequence[Noise]) -> Bound:
    """Whether a side meets all its SLOs, from all its launches. `noises` belong to the SLOs."""
    found = [_bound(loads, slo, known) for slo, known in zip(slos, noises, strict=True)]
    return next((said for said in (Bound.MISSES, Bound.IN_DOUBT, Bound.OPEN) if said in found), Bound.MEETS)


def chance_to_meet(load: LoadMetrics, slo: Slo, error: float) -> float:
    """The chance that the true value is within the limit, of one launch whose logarithm has that standard deviation."""
    excess = _excess(load, slo)
    return 1.0 if excess is None else NormalDist().cdf(-excess / error)


def _bound(loads: Sequence[LoadMetrics], slo: Slo, known: Noise) -> Bound:
    values = [_excess(load, slo) for load in loads]
    there = [value for value in values if value is not None]
    if not there:
        return Bound.MEETS if values else Bound.OPEN
    distance = fmean(there) / (known.error / sqrt(len(there)))
    if distance > value_at(1 - MISSES, known.freedom):
        return Bound.MISSES
    if distance > 0:
        return Bound.IN_DOUBT
    enough = len(there) >= LEAST_LAUNCHES
    return Bound.MEETS if enough and distance < -value_at(1 - MEETS, known.freedom) else Bound.OPEN


def _excess(load: LoadMetrics, slo: Slo) -> float | None:
    """The logarithm of the value over its limit: above 0 it misses. A latency that does not exist meets it (None)."""
    value = metric_value(load, slo.metric)
    return None if value is None else log(max(value, _SMALLEST) / slo.limit_s)
