"""A study as it is stored and one of its trials in; the trial's diagnosis out, by its load and the card that it ran on."""

from collections.abc import Mapping
from functools import cache

from tuner.diagnose.card import card_thresholds
from tuner.diagnose.diagnosing import PredictGain
from tuner.diagnose.diagnosis import Diagnosis
from tuner.diagnose.trials import diagnosis_of
from tuner.record.rows import StudyRecord
from tuner.space.files import load_space, shipped_spaces
from tuner.types import Trial
from tuner.workload.stored import stored_workload


def trial_diagnosis(record: StudyRecord, trial: Trial, predict: PredictGain | None = None) -> Diagnosis | None:
    """None of a trial without a measurement; each remedy with what `predict` says that it gains. Raises RunError where
    docs/diagnosis.md is missing or malformed."""
    workload = stored_workload(record.settings.get("workload"))
    return diagnosis_of(trial, workload, card=_card(record.gpu), predict=predict)


@cache
def _card(space: str) -> Mapping[str, float]:
    """Of a shipped data sheet: a user's file need not be there any more."""
    return card_thresholds(load_space(space).gpu) if space in shipped_spaces() else {}
