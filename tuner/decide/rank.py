"""Trials in; their order out. A failed trial has no score and takes no part; one that misses an SLO is ranked behind every
trial that meets all. Pure.
"""

from collections.abc import Sequence

from tuner.decide.objective import Objective
from tuner.types import Measured, Trial


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
