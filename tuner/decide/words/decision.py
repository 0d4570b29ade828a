"""A study's decision in; what it says, of one objective or of several, out."""

from tuner.decide.objective import Objective
from tuner.decide.verdict import Decision
from tuner.decide.words.answer import answer_text
from tuner.decide.words.front import front_text


def decision_text(found: Decision, first: Objective, unreal: str | None = None) -> str:
    """In words; `first` is the study's first objective, `unreal` is said first where nothing was run."""
    return answer_text(found, first, unreal) if found.front is None else front_text(found, found.front, unreal)
