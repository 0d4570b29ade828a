"""Settings, and what became of a trial, as short texts. Pure."""

from tuner.decide.objective import Objective
from tuner.decide.rank import feasible, stopped_early
from tuner.decide.words.numbers import number
from tuner.types import Failed, Mark, Measured, Params, Place, Trial, Twin


def settings(params: Params, defaults: Params | None = None) -> str:
    """`name=value ...`; with `defaults` only what differs from them."""
    changed = {name: value for name, value in params.items() if defaults is None or defaults.get(name) != value}
    return " ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in changed.items()
    )


def status(trial: Trial) -> str:
    if isinstance(trial.outcome, Twin):
        return f"equals trial {trial.outcome.equals}"
    if isinstance(trial.outcome, Failed):
        return trial.outcome.kind.value + ("" if trial.outcome.kind.is_of_the_settings else ", to be run again")
    whole = "" if stopped_early(trial) else "measured"
    found = whole if feasible(trial) else "misses " + ", ".join(n for n, v in trial.violations.items() if v > 0)
    return ", ".join(filter(None, (found, *(mark.value for mark in trial.outcome.marks if mark is not Mark.IMPRECISE))))


def at_best_text(objective: Objective, trial: Trial) -> str | None:
    """What is known of one that was stopped early: "at most 812.3 tok/s"."""
    if not isinstance(trial.outcome, Measured) or trial.outcome.at_best is None:
        return None
    value = objective.value(trial.outcome)
    bound = None if value is None else value * trial.outcome.at_best
    return f"at {'most' if objective.maximize else 'least'} {number(objective.metric, bound)}"


def place_text(place: Place) -> str | None:
    """Where one of several launches ran, or one of another host; None for one that had this host to itself."""
    if not place.beside and not place.slot and place.host is None:
        return None
    others = f"beside {place.beside} other{'s' if place.beside > 1 else ''}" if place.beside else "alone"
    return ", ".join(
        filter(
            None, (f"launched in slot {place.slot}", place.host and f"on {place.host}", " ".join(place.gpus), others)
        )
    )
