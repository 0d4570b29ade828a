"""The trials of a search in, what the next launch has to outdo out; its window so far in, whether it still may, out. Pure.

What is worse than the best so far by more than chance does need not be measured to the end. The chance that settings as good as
that best are stopped is at most `CHANCE` over a whole window. Half of it goes to the launches, which differ though their
settings are the same: the best of many was lucky, so each of the many has its share (Bonferroni). Half goes to the window,
which is looked at again and again: the look number j has the share 1 / (j (j + 1)), and these sum to 1 however many there are
(spending: Lan and DeMets, Biometrika, 1983). A short window tells little of how noisy it is itself, so its throughput is taken
to be known no better than the best trial's was, for its length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, hypot, sqrt
from statistics import NormalDist, fmean
from typing import TYPE_CHECKING

from tuner.decide.confidence import LEVEL, TRANSFORMS, half_width, quantile_at_least
from tuner.decide.deciding import values_of
from tuner.decide.objective import Objective
from tuner.decide.rank import feasible, rank, score
from tuner.decide.repeats import LEAST_ERROR, PRIOR_ERROR
from tuner.decide.shortlist import SURE, chance, launch_error
from tuner.decide.slo import Slo
from tuner.decide.student import value_at
from tuner.types import LoadMetrics, Measured, Trial, Workload

if TYPE_CHECKING:
    from tuner.decide.deciding import Latencies

#: That settings as good as the best are stopped, at most.
CHANCE = 0.01
#: The first look is when this share of the least window is over; until the next, the window has to grow by as much again.
FIRST_LOOK, GROWTH = 0.25, 0.25
#: Of the tail of a queue no part of a window tells: of 150 that were as good 3 were stopped by their p99.
_TOLD = ("mean", "p50")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outdo:
    """What a launch has to outdo: a `metric`, which `trial` has with `value` (of a throughput that of output tokens). Settings
    as good may seem to be worse by `margin`, of the logarithm. The mean of a window of t seconds had a relative standard error
    of `noise` / sqrt(t). Where the objective is of one GPU, `gpus` is how many `trial` had; else None."""

    trial: int
    metric: str
    maximize: bool
    value: float
    margin: float
    noise: float = 0.0
    gpus: int | None = None

    @property
    def bar(self) -> float:
        """What can not reach this is beaten."""
        return self.value * exp(-self.margin if self.maximize else self.margin)

    def is_beyond(self, at_best: float) -> bool:
        """Whether what is `at_best` so good can not outdo it."""
        return at_best < self.bar if self.maximize else at_best > self.bar

    def on(self, gpus: int | None) -> Outdo:
        """The same for a server with so many GPUs: where one GPU counts, with twice of them it must do twice as much."""
        if self.gpus is None or gpus is None:
            return self
        return replace(self, value=self.value * gpus / self.gpus, gpus=gpus)

    def faster(self, speed: float) -> Outdo:
        """The same on a clock on which a server's time runs `speed` times as fast."""
        scale = speed if self.maximize else 1 / speed
        return replace(self, value=self.value * scale, noise=self.noise / sqrt(speed))


@dataclass(frozen=True, slots=True)
class SoFar:
    """The `value` that a window has told until a look, and how good it is in truth `at_best`."""

    value: float
    at_best: float


def outdo(trials: Sequence[Trial], objective: Objective, slos: Sequence[Slo], workload: Workload) -> Outdo | None:
    """The best of a search that meets the SLOs for sure; None without one, and where no part of a window tells of the whole: a
    goodput, a tail of latencies, a trace, and a rate that is looked for."""
    is_told = objective.is_throughput or objective.name.endswith(_TOLD)
    if workload.trace is not None or workload.find_rate or not is_told:
        return None
    known = [trial for trial in rank(trials, objective) if feasible(trial)]
    best = next((trial for trial in known if chance(_load(trial), slos) >= SURE), None)
    if best is None or (objective.is_throughput and workload.users is None):
        return None
    load = _load(best)
    value = load.output_throughput if objective.is_throughput else score(best, objective)
    if not value or value <= 0:
        return None
    window = _window_error(load) if objective.is_throughput else 0.0
    return Outdo(
        trial=best.number,
        metric="output_throughput" if objective.is_throughput else objective.metric,
        maximize=objective.maximize,
        value=value,
        margin=_margin(best, window, len(known), objective),
        noise=window * sqrt(load.window_s or 0.0),
        gpus=load.gpus if objective.is_per_gpu else None,
    )


def _margin(best: Trial, window: float, many: int, objective: Objective) -> float:
    """Both are launches, each with an error of its own; what a plain one gives is not known of forked ones either."""
    assert isinstance(best.outcome, Measured)
    launch = max(
        launch_error(best.outcome, objective, window=0.0), LEAST_ERROR if objective.is_throughput else PRIOR_ERROR
    )
    distance = NormalDist().inv_cdf(1 - CHANCE / 2 / many)
    return distance * hypot(launch, launch, window)


def level(look: int) -> float:
    """The chance that the look of this number, from 1, may be wrong with."""
    return CHANCE / 2 / (look * (look + 1))


def throughput_so_far(
    rates: Sequence[float], mix: Sequence[float] | None, seconds: float, noise: float, look: int
) -> SoFar | None:
    """Of the series of a window that is so long, at this look; None where it is too short to say."""
    half = half_width(rates, mix, level=2 * level(look))
    value = fmean(rates) if rates else 0.0
    if half is None or value <= 0:
        return None
    least = value_at(1 - level(look), TRANSFORMS) * noise / sqrt(seconds)
    return SoFar(value, value + max(half, least * value))


def latency_so_far(metric: str, latencies: Latencies, look: int) -> SoFar | None:
    """Of the requests that have ended, in the order of being due, at this look; None where they are too few to say."""
    import numpy as np

    values, share = values_of(metric, latencies)
    if not values.size:
        return None
    if share is not None:
        value, least = float(np.quantile(values, share)), quantile_at_least(values, share, level(look))
    else:
        half, value = half_width(values, level=2 * level(look)), float(values.mean())
        least = None if half is None else value - half
    return SoFar(value, least) if least is not None and least > 0 else None


def stopped(outdo: Outdo, value: float, window_s: float) -> tuple[float, SoFar] | None:
    """After how many seconds a window would have been stopped whose throughput is known (as a record tells), and what it would
    have told then; None where it would not. It is as noisy as the best one's."""
    past_s, look = FIRST_LOOK * window_s, 1
    while outdo.maximize and past_s < window_s:
        seen = SoFar(value, value * (1 + value_at(1 - level(look), TRANSFORMS) * outdo.noise / sqrt(past_s)))
        if outdo.is_beyond(seen.at_best):
            return past_s, seen
        past_s, look = past_s * (1 + GROWTH), look + 1
    return None


def _window_error(load: LoadMetrics) -> float:
    """The standard error of a throughput, as a share of it: the floor's where there is none."""
    half = load.output_throughput_ci95
    if half is None or not load.output_throughput:
        return LEAST_ERROR
    return half / value_at(1 - LEVEL / 2, TRANSFORMS) / load.output_throughput


def _load(trial: Trial) -> LoadMetrics:
    assert isinstance(trial.outcome, Measured)
    return trial.outcome.load
