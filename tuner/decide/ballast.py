"""A search's trials in; the best one without what brings nothing, out: fewer settings to deploy and to explain. Pure.

What a setting brings is read from all trials: a ridge regression of the objective's logarithm, each setting by itself. That is
a guess, good enough to choose what to measure; whether the pared settings are as good is measured like any others.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import log

from tuner.decide.objective import Objective
from tuner.decide.rank import best, defaults_of, rank, score, stopped_early
from tuner.types import Measured, Params, Trial, Value

#: What is expected to bring less is taken to bring nothing: launches of the same settings differ by as much.
NOTHING = 0.02
#: The square of noise over effect, both in the objective's logarithm, that a ridge takes to be usual: 5 % and 30 %.
_RIDGE = 0.03
#: With fewer trials for each coefficient nothing is guessed.
_TRIALS_EACH = 1.5
#: What a trial that was stopped early counts for, whose value is known less well.
_STOPPED = 0.5


def changed(params: Params, defaults: Params) -> dict[str, Value]:
    """The settings that are not the defaults'."""
    return {name: value for name, value in params.items() if name in defaults and defaults[name] != value}


def is_lighter(one: Params, other: Params, defaults: Params) -> bool:
    """Whether `one` is `other` with some of its settings at the defaults again."""
    return changed(one, defaults).items() < changed(other, defaults).items()


def ballast(trials: Sequence[Trial], objective: Objective, logarithmic: Collection[str]) -> tuple[str, ...]:
    """The settings of the best trial that seem to bring nothing over the defaults, by name; `logarithmic` are those that are
    searched by their logarithm. Empty where the trials are too few to tell, or nothing beats the defaults."""
    winner, defaults = best(trials, objective), defaults_of(trials)
    if winner is None or defaults is None or not isinstance(defaults.outcome, Measured):
        return ()
    base, value = score(defaults, objective), score(winner, objective)
    if not base or not value or objective.gain(value, base) <= 0:
        return ()
    told = [*rank(trials, objective), *filter(stopped_early, trials)]
    brought = _brought(told, winner, defaults.params, objective, logarithmic)
    light = tuple(name for name, effect in brought.items() if effect < NOTHING)
    return light if len(light) < len(brought) else ()  # nothing left would be the defaults


def _brought(
    trials: Sequence[Trial], winner: Trial, defaults: Params, objective: Objective, logarithmic: Collection[str]
) -> Mapping[str, float]:
    """By how much each changed setting of the winner raises the objective's logarithm (or lowers it, of a latency)."""
    import numpy as np

    known = [trial for trial in trials if (score(trial, objective) or 0) > 0]
    columns = sorted({key for trial in known for key, _ in _place(trial.params, defaults, logarithmic)}, key=str)
    if len(known) < _TRIALS_EACH * (len(columns) + 1):
        return {}
    rows = np.zeros((len(known), len(columns)))
    for row, trial in zip(rows, known, strict=True):
        for key, place in _place(trial.params, defaults, logarithmic):
            row[columns.index(key)] = place
    widths = np.abs(rows).max(axis=0)
    scaled = np.hstack([np.ones((len(known), 1)), rows / widths])
    sign = 1 if objective.maximize else -1
    values = np.array([sign * log(score(trial, objective) or 1.0) for trial in known])
    weights = np.array([_STOPPED if stopped_early(trial) else 1.0 for trial in known])
    scaled, values = scaled * weights[:, None], values * weights
    penalty = np.diag([0.0, *[_RIDGE] * len(columns)])
    found = np.linalg.solve(scaled.T @ scaled + penalty, scaled.T @ values)[1:] / widths
    places = dict(_place(winner.params, defaults, logarithmic))
    return {key[0]: float(found[columns.index(key)]) * place for key, place in places.items()}


def _place(params: Params, defaults: Params, logarithmic: Collection[str]) -> Iterator[tuple[tuple[str, Value], float]]:
    """How far each changed setting is from its default: a number by how much, any other by being it."""
    for name, value in changed(params, defaults).items():
        default = defaults[name]
        if isinstance(value, bool | str) or isinstance(default, bool | str):
            yield (name, value), 1.0
        elif name in logarithmic and min(value, default) > 0:
            yield (name, 0), log(value / default)
        else:
            yield (name, 0), float(value - default)
