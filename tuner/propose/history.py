"""Optuna trials in; what a surrogate learns from them out. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log, sqrt

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.decide.repeats import LEAST_ERROR
from tuner.propose.prior import BOUND, CAUSE, ERROR, LAUNCH, STARTUP, TOOK
from tuner.types import Params

#: A value that has no logarithm is taken to be so much of the smallest that has one.
_OF_THE_LEAST = 0.01
#: A constraint above it is a latency of more than 1e6 times its limit.
_MOST_VIOLATION = 1 - 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A point that was launched. `scores` are the logarithms of its objectives, the larger the better, empty where it failed;
    `error` is their standard deviation; `bound` says that the truth is no better. `slos` are the logarithms of latencies as
    shares of their limits. `cause` is why it failed."""

    params: Params
    scores: tuple[float, ...] = ()
    error: float = LEAST_ERROR
    bound: bool = False
    slos: Mapping[str, float]
    cause: str | None = None
    took_s: float | None = None
    startup_s: float | None = None

    @property
    def measured(self) -> bool:
        return bool(self.scores)

    def score(self, weights: Sequence[float]) -> float:
        """All objectives as one: the logarithm of their weighted geometric mean."""
        return sum(weight * score for weight, score in zip(weights, self.scores, strict=True))

    def error_of(self, weights: Sequence[float]) -> float:
        return self.error * sqrt(sum(weight * weight for weight in weights))


def history(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[Seen]:
    """In their order: what was measured, and what failed. What runs, was never launched (FAIL), or has a value that is none is
    left out."""
    found = []
    least = _least(trials, len(directions))
    for trial in trials:
        if trial.state is TrialState.COMPLETE and trial.values is not None:
            at_best = float(trial.user_attrs.get(BOUND) or 1.0)
            scores = tuple(_score(v * at_best, d, m) for v, d, m in zip(trial.values, directions, least, strict=True))
            found.append(_seen(trial, scores))
        elif trial.state is TrialState.PRUNED:
            found.append(_seen(trial, ()))
    return found


def _seen(trial: FrozenTrial, scores: tuple[float, ...]) -> Seen:
    attributes = trial.user_attrs
    failed = not scores or trial.constraints.get(LAUNCH, 0.0) > 0
    slos = {name: -log(1 - min(v, _MOST_VIOLATION)) for name, v in trial.constraints.items() if _is_slo(name)}
    return Seen(
        params=dict(trial.params),
        scores=() if failed else scores,
        error=max(float(attributes.get(ERROR, LEAST_ERROR)), LEAST_ERROR),
        bound=bool(attributes.get(BOUND, False)),
        slos={} if failed else slos,
        cause=str(attributes.get(CAUSE, "failed")) if failed else None,
        took_s=attributes.get(TOOK),
        startup_s=attributes.get(STARTUP),
    )


def _is_slo(name: str) -> bool:
    """Optuna shows the list that optuna-dashboard reads as constraints without names, by their places."""
    return name != LAUNCH and not name.isdigit()


def _least(trials: Sequence[FrozenTrial], objectives: int) -> list[float]:
    known = [t.values for t in trials if t.state is TrialState.COMPLETE and t.values is not None]
    return [min((v[i] for v in known if v[i] > 0), default=1.0) for i in range(objectives)]


def _score(value: float, direction: StudyDirection, least: float) -> float:
    """A goodput of 0 has no logarithm, and is far from any that has one."""
    known = log(value) if 0 < value < inf else log(least * _OF_THE_LEAST)
    return known if direction is StudyDirection.MAXIMIZE else -known
