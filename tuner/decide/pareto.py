"""Trials by several objectives in; those that no other beats in all of them (the front), and the one to recommend, out. Pure.

Everything is compared by logarithms, so that twice the throughput counts as much as half the latency. What is recommended is
the knee: the point of the front that is nearest to the utopia point, which has the best value of each objective (Yu, "A class
of solutions for group decision problems", 1973; Zeleny, "Compromise programming", 1973). It does not know who launched what.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

from tuner.decide.objective import Objective
from tuner.decide.rank import best, defaults_of, feasible, rank
from tuner.decide.repeats import LEAST_ERROR, PRIOR_ERROR
from tuner.types import Measured, Trial

#: So many settings of a front are launched again, the defaults not counted.
FINALISTS = 4
#: An objective in which the front differs by less (logarithm) counts for less in the choice of the knee: it is mostly noise.
_LEAST_RANGE = log(1.1)
_SMALLEST = 1e-9


@dataclass(frozen=True, slots=True)
class Place:
    """A trial among the objectives: the value of each, and the standard deviation of its logarithm."""

    trial: Trial
    values: tuple[float, ...]
    errors: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is known of one objective at a point of a front: its value and the gain over the defaults (0.25 is 25 % better),
    each with its 95 % interval. The gain's is None where not both were launched again; the gain itself for the defaults, and
    where these were not measured."""

    value: float
    low: float
    high: float
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None

    @property
    def is_better(self) -> bool:
        """Than the defaults, beyond noise."""
        return self.gain_low is not None and self.gain_low > 0

    @property
    def is_worse(self) -> bool:
        return self.gain_high is not None and self.gain_high < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """A point of a front. `launches` are its new ones; it `is_verified` when they met every SLO, often enough. Of one that is
    not, the values are those of the search."""

    trial: Trial
    told: tuple[Told, ...]
    launches: int = 0
    is_verified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The trade-off of a study, by the first objective, the best first; `knee` is the number of the trial to recommend."""

    objectives: tuple[Objective, ...]
    points: tuple[FrontPoint, ...]
    knee: int | None

    def point(self, number: int) -> FrontPoint | None:
        return next((point for point in self.points if point.trial.number == number), None)


def usual_error(objective: Objective) -> float:
    """Of one launch (standard deviation of the logarithm), where the measurement does not tell."""
    is_a_count = objective.is_throughput or not objective.is_of_the_load
    return LEAST_ERROR if is_a_count else PRIOR_ERROR


def launch_error(objective: Objective, measured: Measured) -> float:
    """The same, by the measurement's own interval where it has one."""
    return max(objective.error(measured) or usual_error(objective), LEAST_ERROR)


def searched(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[Place]:
    """What the search measured and what met every SLO, as far as it has a value of each objective."""
    found = []
    for trial in rank(trials, objectives[0]):
        if not feasible(trial) or not isinstance(trial.outcome, Measured):
            continue
        values = [value for one in objectives if (value := one.value(trial.outcome)) is not None]
        if len(values) == len(objectives):
            errors = tuple(launch_error(one, trial.outcome) for one in objectives)
            found.append(Place(trial, tuple(values), errors))
    return found


def is_dominated(place: Place, by: Place, objectives: Sequence[Objective]) -> bool:
    """Whether it is worse in nothing but noise: nowhere better than the other, and in one objective worse by more than the
    standard error of their difference."""
    behind = [other - own for own, other in zip(_gains(place, objectives), _gains(by, objectives), strict=True)]
    errors = [sqrt(a**2 + b**2) for a, b in zip(place.errors, by.errors, strict=True)]
    return all(by_how_much >= 0 for by_how_much in behind) and any(
        by_how_much > error for by_how_much, error in zip(behind, errors, strict=True)
    )


def front(places: Sequence[Place], objectives: Sequence[Objective]) -> list[Place]:
    """Those that none dominates, by the first objective, the best first."""
    found = [one for one in places if not any(is_dominated(one, other, objectives) for other in places)]
    return sorted(found, key=lambda place: -_gains(place, objectives)[0])


def by_distance(places: Sequence[Place], objectives: Sequence[Objective], defaults: Place | None = None) -> list[Place]:
    """The nearest to the utopia point first: so the first is the knee. A unit of an objective is what it ranges over: from the
    worst of these and of the defaults, where one is, to the best."""
    if not places:
        return []
    gains = [_gains(place, objectives) for place in places]
    utopia = [max(column) for column in zip(*gains, strict=True)]
    worst = [min(column) for column in zip(*gains, *([_gains(defaults, objectives)] if defaults else []), strict=True)]
    units = [max(high - low, _LEAST_RANGE) for high, low in zip(utopia, worst, strict=True)]

    def distance(place: Place) -> float:
        of_all = zip(_gains(place, objectives), utopia, units, strict=True)
        return sqrt(sum(((high - own) / unit) ** 2 for own, high, unit in of_all))

    return sorted(places, key=distance)


def contenders(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[Trial]:
    """What is worth launching again: the search's knee, then the next of the front that differ from those before by more than
    noise. Never the defaults, which are launched beside them; nothing where these alone are the front."""
    places = searched(trials, objectives)
    chosen: list[Place] = []
    for place in by_distance(front(places, objectives), objectives, place_of_the_defaults(places)):
        if not place.trial.is_default and not any(_is_same(place, other, objectives) for other in chosen):
            chosen.append(place)
    return [place.trial for place in chosen[:FINALISTS]]


def leading(trials: Sequence[Trial], objectives: Sequence[Objective]) -> Trial | None:
    """The best feasible trial so far; of several objectives the knee."""
    if len(objectives) == 1:
        return best(trials, objectives[0])
    places = searched(trials, objectives)
    ordered = by_distance(front(places, objectives), objectives, place_of_the_defaults(places))
    return ordered[0].trial if ordered else None


def unverified(place: Place, objectives: Sequence[Objective], trials: Sequence[Trial]) -> FrontPoint:
    """As the search saw it, with the gains over what it saw of the defaults."""
    defaults, told = defaults_of(trials), []
    for objective, value, error in zip(objectives, place.values, place.errors, strict=True):
        seen = objective.value(defaults.outcome) if defaults and isinstance(defaults.outcome, Measured) else None
        found = None if seen is None or place.trial.is_default else objective.gain(value, seen)
        told.append(Told(value=value, low=value * exp(-1.96 * error), high=value * exp(1.96 * error), gain=found))
    return FrontPoint(trial=place.trial, told=tuple(told))


def place_of_the_defaults(places: Sequence[Place]) -> Place | None:
    return next((place for place in places if place.trial.is_default), None)


def _gains(place: Place, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Logarithms, more of which is better."""
    return tuple(
        (1 if objective.maximize else -1) * log(max(value, _SMALLEST))
        for objective, value in zip(objectives, place.values, strict=True)
    )


def _is_same(place: Place, other: Place, objectives: Sequence[Objective]) -> bool:
    """Whether noise alone may tell them apart, in every objective."""
    apart = [abs(a - b) for a, b in zip(_gains(place, objectives), _gains(other, objectives), strict=True)]
    errors = [sqrt(a**2 + b**2) for a, b in zip(place.errors, other.errors, strict=True)]
    return all(by_how_much <= error for by_how_much, error in zip(apart, errors, strict=True))
