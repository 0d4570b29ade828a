"""What a study decided in; what to deploy, as a diff to vLLM's defaults with its flags, and the value it has, out."""

from collections.abc import Sequence
from math import isinf

from rich.markup import escape
from rich.table import Table

from tuner.decide.objective import Objective
from tuner.decide.pareto import Front
from tuner.decide.verdict import Answer, Decision
from tuner.decide.words.front import change_of
from tuner.decide.words.numbers import INSTEAD_OF_NONE, number
from tuner.decide.words.quality import refused_sentences
from tuner.decide.words.recommended import ballast_sentence, changed_settings, value_of
from tuner.export.caution import cautions
from tuner.types import Outcome, Trial

VERDICTS = {
    Answer.BETTER: "better than the defaults",
    Answer.ALONE: "verified on its own",
    Answer.NOT_VERIFIED: "not verified",
}


def recommendation_table(found: Decision) -> Table | None:
    """The flags of what is recommended, each with the default that it replaces; None where that is the defaults."""
    if found.chosen is None or found.chosen.is_default:
        return None
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(3):
        table.add_column()
    for one in changed_settings(found):
        table.add_row("", escape(one.how), escape(one.before))
    return table


def recommendation_sentences(found: Decision) -> list[str]:
    """What is to be known of it before it is deployed."""
    refused = refused_sentences(found)
    if found.chosen is None:
        return refused
    of_it = cautions(found.chosen, found.defaults, found.quality)
    return [*of_it, *refused, *filter(None, [ballast_sentence(found)])]


def verdict_words(found: Decision) -> str:
    """The verdict in a cell of a table."""
    gain = found.verdict.gain
    if found.chosen is None:
        return "nothing to recommend"
    if found.front is not None and (words := _knee_words(found.front, found.chosen)):
        return words
    if found.verdict.answer is Answer.BETTER and gain is not None:
        return "better: the defaults have none" if isinf(gain.gain) else f"{gain.gain:.1%} better"
    return VERDICTS.get(found.verdict.answer, "keep the defaults")


def _knee_words(front: Front, chosen: Trial) -> str:
    """`throughput +30.1 %, ttft_p99 -12.0 %`; empty for the defaults, and for what was not launched again."""
    point = front.point(chosen.number)
    if point is None or not point.is_verified:
        return ""
    of_each = zip(front.objectives, point.told, strict=True)
    changes = [(one, change_of(one, told.gain)) for one, told in of_each if told.gain is not None]
    return ", ".join(f"{one.name} {INSTEAD_OF_NONE if isinf(by) else f'{by:+.1%}'}" for one, by in changes)


def shown_value(objective: Objective, trial: Trial | None, again: Sequence[tuple[int, Outcome]]) -> str:
    """The same, as text."""
    return number(objective.metric, value_of(objective, trial, again))
