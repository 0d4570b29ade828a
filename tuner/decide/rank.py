"""Trials in; their order out. A failed trial has no score and takes no part; one that misses an SLO is ranked behind every
trial that meets all. Pure.
"""

from collections import Counter
from collections.abc import Sequence

from tuner.decide.objective import Objective
from tuner.types import Mark, Measured, Trial, Twin


def feasible(trial: Trial) -> bool:
    """Measured, and every SLO met."""
    return isinstance(trial.outcome, Measured) and all(v <= 0 for v in trial.violations.values())


def stopped_early(trial: Trial) -> bool:
    """Measured until it was clear that it is not the best: its value is no measurement like the others'."""
    return isinstance(trial.outcome, Measured) and Mark.STOPPED_EARLY in trial.outcome.marks


def score(trial: Trial, objective: Objective) -> float | None:
    """The objective's value; None for a trial without a measurement."""
    return objective.value(trial.outcome) if isinstance(trial.outcome, Measured) else None


def usual_start(trials: Sequence[Trial]) -> str:
    """How most servers of a search came to be: "warm" (forked) or "plain"."""
    starts = Counter(trial.outcome.start for trial in trials if isinstance(trial.outcome, Measured))
    return max(starts, key=starts.__getitem__, default="plain")


def rank(trials: Sequence[Trial], objective: Objective) -> list[Trial]:
    """Best first: feasible by score, then those that miss an SLO by how much. Left out are failed trials, those that were
    stopped early, and those whose server came to be in another way than most (a fork that crashed at its start, settings that
    cannot be forked): a forked server is slower than a plain one, so the two are not comparable."""
    usual = usual_start(trials)

    def key(trial: Trial) -> tuple[float, float]:
        missed = sum(max(0.0, v) for v in trial.violations.values())
        value = score(trial, objective)
        assert value is not None
        return missed, -value if objective.maximize else value

    known = [trial for trial in trials if isinstance(trial.outcome, Measured) and trial.outcome.start == usual]
    whole = (trial for trial in known if score(trial, objective) is not None and not stopped_early(trial))
    return sorted(whole, key=key)


def best(trials: Sequence[Trial], objective: Objective) -> Trial | None:
    """The best feasible trial."""
    return next((t for t in rank(trials, objective) if feasible(t)), None)


def defaults_of(trials: Sequence[Trial]) -> Trial | None:
    """The trial of vLLM's defaults."""
    return next((trial for trial in trials if trial.is_default), None)


def hand_trials(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that have the user's own settings and were measured, or that these equal; the defaults are none of them."""
    by_number = {trial.number: trial for trial in trials}
    found: dict[int, Trial] = {}
    for trial in trials:
        if trial.baseline is not None:
            same = by_number.get(trial.outcome.equals) if isinstance(trial.outcome, Twin) else trial
            if same is not None and isinstance(same.outcome, Measured) and not same.is_default:
                found[same.number] = same
    return list(found.values())
