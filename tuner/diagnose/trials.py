"""A trial and what the users did in; its diagnosis out. Pure."""

from tuner.diagnose.diagnosing import CardThresholds, PredictGain, diagnose
from tuner.diagnose.diagnosis import Diagnosis
from tuner.diagnose.evidence import evidence_of
from tuner.types import Measured, Params, Trial, Workload


def settings_of(trial: Trial) -> Params:
    """What the server ran with, as far as it is known: as resolved, as searched, and as it became when it started."""
    return {**trial.resolved, **trial.params, **trial.effective}


def diagnosis_of(
    trial: Trial, workload: Workload | None, *, card: CardThresholds | None = None, predict: PredictGain | None = None
) -> Diagnosis | None:
    """None of a trial without a measurement. Raises RunError where docs/diagnosis.md is missing or malformed."""
    if not isinstance(trial.outcome, Measured):
        return None
    settings = settings_of(trial)
    return diagnose(evidence_of(trial.outcome, settings, workload), settings, card=card, predict=predict)
