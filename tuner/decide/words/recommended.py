"""What a study decided in; what to deploy, as the difference to vLLM's defaults, out. Pure."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from tuner.decide.objective import Objective
from tuner.decide.verdict import Decision
from tuner.space.engines import ENGINES
from tuner.types import Measured, Outcome, Trial, Value
from tuner.types.settings import flag, option


@dataclass(frozen=True, slots=True)
class Changed:
    """A setting of what is recommended: what to pass for it, as a shell takes it, and what vLLM has without."""

    how: str
    before: str


def changed_settings(found: Decision) -> list[Changed]:
    """Of what is recommended; nothing where that is the defaults."""
    chosen, defaults = found.chosen, found.defaults
    if chosen is None or chosen.is_default:
        return []
    usual = defaults.params if defaults else {}
    told = []
    for name, value in chosen.params.items():
        if usual.get(name) == value or (chosen.baseline is not None and name not in chosen.command.settings):
            continue  # of hand settings what was not passed follows from what was
        default = usual.get(name, defaults.resolved.get(name) if defaults else None)
        before = "" if default is None else f"default {default}"
        told.append(Changed(_how(name, value, chosen), before))
    return told


def ballast_sentence(found: Decision) -> str | None:
    """What was left out because it brought nothing."""
    if found.chosen is None or not found.ballast:
        return None
    names = ", ".join(found.ballast)
    return f"trial {found.chosen.number} is trial {found.heavier} with {names} as vLLM has it: that brought nothing"


def value_of(objective: Objective, trial: Trial | None, again: Sequence[tuple[int, Outcome]]) -> float | None:
    """The one number that is told of a trial: the mean of its new launches, else what the search measured."""
    if trial is None:
        return None
    later = [outcome for n, outcome in again if n == trial.number and isinstance(outcome, Measured)]
    outcomes = later or ([trial.outcome] if isinstance(trial.outcome, Measured) else [])
    values = [value for outcome in outcomes if (value := objective.value(outcome)) is not None]
    return fmean(values) if values else None


def engines_text(value: Value) -> str:
    """Of a setting for which vLLM has no flag, but commands of their own."""
    return f"{value} engines on each GPU, which --format command starts"


def _how(name: str, value: Value, chosen: Trial) -> str:
    """As it was passed: engines that share a GPU are given their part of what is asked for."""
    passed = chosen.command.settings.get(name)
    if name == ENGINES:
        return engines_text(value)
    if passed == value or (passed is not None and chosen.command.engines_per_gpu > 1):
        return shlex.join(flag(name, passed))
    return _otherwise(name, chosen)


def _otherwise(name: str, chosen: Trial) -> str:
    """A setting that is no flag: a checkpoint that is quantized already, or the choice to pass nothing."""
    return f"model {chosen.command.model}" if name == "quantization" else f"no {option(name)}"
