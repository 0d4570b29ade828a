"""A remedy, the trial that it was to help and the one that tried it, in; whether it did what was said,
as a sentence, out. Pure.

One launch a side: the sentence says so, and no more than that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isinf

from tuner.decide.gain import LEAST_GAIN
from tuner.decide.objective import Objective
from tuner.diagnose.causes import Cause
from tuner.diagnose.diagnosing import CardThresholds
from tuner.diagnose.diagnosis import Remedy
from tuner.diagnose.trials import diagnosis_of
from tuner.types import Failed, Params, Trial, Twin, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """`remedy` was said to help `trial` against `cause`; `params` are the trial's settings with the remedy, and no other change
    but what it implies."""

    cause: Cause
    remedy: Remedy
    trial: Trial
    params: Params

    def is_made_by(self, trial: Trial) -> bool:
        return trial.number > self.trial.number and self.params.items() <= trial.params.items()


def judged(
    attempt: Attempt,
    tried: Trial,
    objective: Objective,
    workload: Workload | None,
    card: CardThresholds | None = None,
) -> str:
    """Raises RunError where docs/diagnosis.md is missing or malformed."""
    remedy, before, what = attempt.remedy, attempt.trial, f"{attempt.remedy.name} {attempt.remedy.value}"
    begins = f"the remedy for {attempt.cause} of trial {before.number} ({what})"
    if isinstance(tried.outcome, Twin):
        return f"{begins} changes nothing: trial {tried.number} equals trial {tried.outcome.equals}"
    if isinstance(tried.outcome, Failed):
        return f"{begins} could not be tried: trial {tried.number} failed ({tried.outcome.kind.value})"
    assert not isinstance(before.outcome, Failed | Twin)
    new, old = objective.value(tried.outcome), objective.value(before.outcome)
    if tried.outcome.at_best is not None:
        return f"{begins} brought no gain: trial {tried.number} was stopped early, for it cannot become the best"
    if new is None or old is None:
        return f"{begins} was tried in trial {tried.number}, whose {objective.metric} is not known"
    gain = objective.gain(new, old)
    brought = f"brought {'the first' if isinf(gain) else f'{gain:+.0%} of'} {objective.metric}"
    if gain < LEAST_GAIN:
        brought = "brought nothing" if gain > -LEAST_GAIN else f"lost {-gain:.0%} of {objective.metric}"
    said = "" if remedy.gain is None else f", predicted was {remedy.gain:+.0%}"
    left = _left(attempt, *(_causes(one, workload, card) for one in (before, tried)))
    return f"{begins} {brought} in trial {tried.number}, one launch each{said}{left}"


def _causes(trial: Trial, workload: Workload | None, card: CardThresholds | None) -> list[Cause]:
    found = diagnosis_of(trial, workload, card=card)
    causes = [finding.cause for finding in found.findings] if found else []
    return [cause for cause in causes if cause is not Cause.INSUFFICIENT]


def _left(attempt: Attempt, before: Sequence[Cause], causes: Sequence[Cause]) -> str:
    """What holds back who tried it. A cause that was predicted alone, and not measured before, has not gone."""
    if not causes:
        return ""
    if attempt.cause not in before:
        return f"; it is {causes[0]}"
    left = f"; it is {'still' if attempt.cause in causes else 'no longer'} {attempt.cause}"
    return left if causes[0] is attempt.cause else f"{left}, but {causes[0]}"
