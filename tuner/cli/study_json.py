"""Studies and trials in, the JSON of `tuner studies`, `trials` and `show` out; docs/json.md has every field. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tuner.decide.attribution import Attribution
from tuner.decide.objective import Objective
from tuner.decide.verdict import Decision
from tuner.diagnose.diagnosis import Diagnosis
from tuner.export.caution import cautions
from tuner.export.front_json import front_json, objectives_json
from tuner.export.record_json import headless_json
from tuner.export.serving import headless
from tuner.record.rows import StudyRecord
from tuner.types import Failed, Measured, Outcome, Params, Predicted, Trial, Twin
from tuner.types.finite import json_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A study and what it has decided. `value` is the first objective's of what it recommends: the mean of its new launches,
    else what the search measured; None without one."""

    record: StudyRecord
    objectives: tuple[Objective, ...]
    found: Decision
    trials: int
    is_finished: bool
    is_run: bool
    value: float | None

    @property
    def state(self) -> str:
        if self.is_run:
            return "running"
        return "ended" if self.is_finished else "not finished"


def studies_json(told: Sequence[Standing]) -> str:
    return json_text({"studies": [_study(one) for one in told]})


def trials_json(one: Standing, trials: Sequence[Trial]) -> str:
    return json_text({**_study(one), "list": [_trial(trial, one.found) for trial in trials]})


def study_json(
    one: Standing,
    trials: Sequence[Trial],
    again: Sequence[tuple[int, Outcome]],
    explained: Attribution | None = None,
) -> str:
    """`again` are the launches of the verification, each with its trial's number."""
    launches = [{"trial": number, **_outcome(outcome)} for number, outcome in again]
    rows = [_trial(trial, one.found) for trial in trials]
    return json_text(
        {
            **_study(one),
            "verdict": asdict(one.found.verdict),
            "attribution": None if explained is None else asdict(explained),
            "launched_again": launches,
            "list": rows,
        }
    )


def trial_json(one: Standing, trial: Trial, diagnosis: Diagnosis | None) -> str:
    more = {
        "command": {**asdict(trial.command), **headless_json(headless(trial.command, one.record.fingerprint))},
        "resolved": dict(trial.resolved),
        "diagnosis": [asdict(finding) for finding in diagnosis.findings] if diagnosis else None,
    }
    return json_text(
        {"study": one.record.name, "unreal": one.record.fingerprint.unreal, **_trial(trial, one.found), **more}
    )


def _study(one: Standing) -> dict[str, Any]:
    record, found, gain = one.record, one.found, one.found.verdict.gain
    slos = record.settings.get("slos")
    return {
        "study": record.name,
        "unreal": record.fingerprint.unreal,
        "state": one.state,
        "created_at": record.created_at.isoformat(),
        "gpu": record.gpu,
        "model": record.model,
        "workload": record.workload,
        "engine_version": record.fingerprint.engine_version,
        "host_speed": asdict(speed) if (speed := record.fingerprint.host_speed) else None,
        "mps": record.fingerprint.mps,
        "objective": record.objective,
        "metric": one.objectives[0].metric,
        "objectives": objectives_json(one.objectives),
        "slos": slos if isinstance(slos, list) else [],
        "trials": one.trials,
        "answer": found.verdict.answer.value,
        "why": found.verdict.why,
        "recommended": found.chosen.number if found.chosen else None,
        "value": one.value,
        "gain": gain.gain if gain is not None and found.chosen is found.winner else None,
        "changes": _changes(found.chosen, found.defaults),
        "cautions": cautions(found.chosen, found.defaults, found.quality) if found.chosen else [],
        "ballast": list(found.ballast),
        "front": front_json(found.front),
    }


def _trial(trial: Trial, found: Decision) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "is_default": trial.is_default,
        "is_recommended": found.chosen is not None and trial.number == found.chosen.number,
        "params": dict(trial.params),
        "changes": _changes(trial, found.defaults),
        **_outcome(trial.outcome),
        "quality": asdict(asked) if (asked := found.quality.get(trial.number)) else None,
        "at_best": trial.outcome.at_best if isinstance(trial.outcome, Measured) else None,
        "baseline": trial.baseline,
        "explains": asdict(trial.explains) if trial.explains else None,
        "place": asdict(trial.place) if trial.place else None,
        "equals": trial.outcome.equals if isinstance(trial.outcome, Twin) else None,
        "slo_violations": dict(trial.violations),
        "attempts": trial.attempts,
        "compile_key": trial.compile_key,
        "effective": dict(trial.effective),
        "predicted": _predicted(trial.predicted) if trial.predicted else None,
        "started_at": trial.started_at.isoformat(),
        "ended_at": trial.ended_at.isoformat(),
    }


def _predicted(predicted: Predicted) -> dict[str, Any]:
    failed = predicted.failed
    return {
        "known": predicted.known,
        "launches": predicted.launches,
        "metrics": {name: asdict(one) for name, one in predicted.metrics.items()},
        "failure": {"kind": failed.kind.value, "message": failed.message} if failed else None,
    }


def _outcome(outcome: Outcome | Twin) -> dict[str, Any]:
    if isinstance(outcome, Twin):
        return {"metrics": None, "marks": [], "failure": None}
    if isinstance(outcome, Failed):
        return {"metrics": None, "marks": [], "failure": {"kind": outcome.kind.value, "message": outcome.message}}
    return {"metrics": outcome.metrics(), "marks": [mark.value for mark in outcome.marks], "failure": None}


def _changes(trial: Trial | None, defaults: Trial | None) -> Mapping[str, Mapping[str, Any]]:
    """The settings that differ from the defaults, each with both values; None for a default that is not known."""
    usual: Params = defaults.params if defaults else {}
    if trial is None or trial.is_default:
        return {}
    differ = {name: value for name, value in trial.params.items() if usual.get(name) != value}
    return {name: {"value": value, "default": usual.get(name)} for name, value in differ.items()}
