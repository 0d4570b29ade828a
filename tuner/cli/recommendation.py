"""What a study decided in; what to deploy, as a diff to vLLM's defaults with its flags, and the value it has, out."""

import shlex
from collections.abc import Sequence
from statistics import fmean

from rich.markup import escape
from rich.table import Table

from tuner.cli.answer import number
from tuner.cli.front import change_of
from tuner.decide.objective import Objective
from tuner.decide.pareto import Front
from tuner.decide.verdict import Answer, Decision
from tuner.export.caution import cautions
from tuner.types import Measured, Outcome, Trial
from tuner.types.settings import flag, option

VERDICTS = {
    Answer.BETTER: "better than the defaults",
    Answer.ALONE: "verified on its own",
    Answer.NOT_VERIFIED: "not verified",
}


def recommendation_table(found: Decision) -> Table | None:
    """The flags of what is recommended, each with the default that it replaces; None where that is the defaults."""
    chosen, defaults = found.chosen, found.defaults
    if chosen is None or chosen.is_default:
        return None
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(3):
        table.add_column()
    usual = defaults.params if defaults else {}
    for name, value in chosen.params.items():
        if usual.get(name) == value:
            continue
        before = f"default {usual[name]}" if name in usual else ""
        passed = chosen.command.settings.get(name) == value
        how = shlex.join(flag(name, value)) if passed else _otherwise(name, chosen)
        table.add_row("", escape(how), escape(before))
    return table


def _otherwise(name: str, chosen: Trial) -> str:
    """A setting that is no flag: a checkpoint that is quantized already, or the choice to pass nothing."""
    return f"model {chosen.command.model}" if name == "quantization" else f"no {option(name)}"


def recommendation_sentences(found: Decision) -> list[str]:
    """What is to be known of it before it is deployed."""
    if found.chosen is None:
        return []
    told = cautions(found.chosen, found.defaults)
    if found.ballast:
        told.append(
            f"trial {found.chosen.number} is trial {found.heavier} with {', '.join(found.ballast)} as vLLM has it: "
            "that brought nothing"
        )
    return told


def verdict_words(found: Decision) -> str:
    """The verdict in a cell of a table."""
    gain = found.verdict.gain
    if found.chosen is None:
        return "nothing to recommend"
    if found.front is not None and (words := _knee_words(found.front, found.chosen)):
        return words
    if found.verdict.answer is Answer.BETTER and gain is not None:
        return f"{gain.gain:.1%} better"
    return VERDICTS.get(found.verdict.answer, "keep the defaults")


def _knee_words(front: Front, chosen: Trial) -> str:
    """`throughput +30.1 %, ttft_p99 -12.0 %`; empty for the defaults, and for what was not launched again."""
    point = front.point(chosen.number)
    if point is None or not point.is_verified:
        return ""
    of_each = zip(front.objectives, point.told, strict=True)
    return ", ".join(f"{one.name} {change_of(one, told.gain):+.1%}" for one, told in of_each if told.gain is not None)


def value_of(objective: Objective, trial: Trial | None, again: Sequence[tuple[int, Outcome]]) -> float | None:
    """The one number that is told of a trial: the mean of its new launches, else what the search measured."""
    if trial is None:
        return None
    later = [outcome for n, outcome in again if n == trial.number and isinstance(outcome, Measured)]
    outcomes = later or ([trial.outcome] if isinstance(trial.outcome, Measured) else [])
    values = [value for outcome in outcomes if (value := objective.value(outcome)) is not None]
    return fmean(values) if values else None


def shown_value(objective: Objective, trial: Trial | None, again: Sequence[tuple[int, Outcome]]) -> str:
    """The same, as text."""
    return number(objective.metric, value_of(objective, trial, again))
