"""Trials that were predicted and measured in; how well the model of the server knew the objective out. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import StatisticsError, correlation, median

from tuner.decide.objective import Objective
from tuner.decide.rank import stopped_early
from tuner.types import Measured, Trial

#: Fewer say nothing of an order.
_FEWEST_RANKED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """`error` is the median of |predicted / measured - 1| over `trials` launches, `inside` how many of them the 95 % interval
    held; `rank` is Spearman's correlation, None for few launches, or where all are the same."""

    trials: int
    error: float
    inside: int
    rank: float | None


def agreement(trials: Sequence[Trial], objective: Objective) -> Agreement | None:
    """None where nothing was both predicted and measured."""
    pairs = []
    for trial in (trial for trial in trials if not stopped_early(trial)):
        found = trial.predicted.metrics.get(objective.metric) if trial.predicted else None
        value = objective.value(trial.outcome) if isinstance(trial.outcome, Measured) else None
        if found is not None and value:
            pairs.append((found, value))
    if not pairs:
        return None
    return Agreement(
        trials=len(pairs),
        error=median(abs(found.value / value - 1) for found, value in pairs),
        inside=sum(found.low <= value <= found.high for found, value in pairs),
        rank=_rank_correlation([found.value for found, _ in pairs], [value for _, value in pairs]),
    )


def agreement_sentence(known: Agreement, unreal: str | None) -> str:
    """How well the model of the server had predicted the search; of a simulation it is what was simulated."""
    name = "The model of the server" + (", which the simulation itself runs on," if unreal else "")
    rank = f", rank {known.rank:.1f}" if known.rank is not None else ""
    trials = "1 trial" if known.trials == 1 else f"the median of {known.trials} trials"
    inside = f"{known.inside} of {known.trials} inside its 95 % intervals"
    return f"{name} was within {known.error:.0%} in {trials}{rank}; {inside}."


def _rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    if len(one) < _FEWEST_RANKED:
        return None
    try:
        return correlation(_ranks(one), _ranks(other))
    except StatisticsError:  # all the same
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    """Equal ones share the mean of their places."""
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]
