"""A study's trials in, a surface that can be replayed out: JSON lines, the format of docs/replay.md. Pure."""

import json
from collections.abc import Collection, Mapping

from tuner.types import Failed, FailureKind, Fingerprint, Outcome, Trial, Twin


def surface_of(trials: Collection[Trial], fingerprint: Fingerprint | None = None) -> str:
    """One line a trial, after a first one that says where they were measured, if that is given.

    `duration_s` is what is not the start; a failure's seconds all count as its start. What vLLM refused took none. A twin has
    what became of the trial that it equals.
    """
    launched = {trial.number: trial for trial in trials if not isinstance(trial.outcome, Twin)}
    lines = [
        line
        for trial in trials
        if (line := _twin(trial, launched) if isinstance(trial.outcome, Twin) else _line(trial, trial.outcome))
    ]
    if fingerprint is not None:
        about = {"gpu": fingerprint.gpu, "model": fingerprint.model, "engine_version": fingerprint.engine_version}
        lines.insert(0, {"surface": about})
    return "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)


def _twin(trial: Trial, launched: Mapping[int, Trial]) -> dict[str, object] | None:
    """None where the trial that it equals is not there."""
    assert isinstance(trial.outcome, Twin)
    one = launched.get(trial.outcome.equals)
    if one is None or isinstance(one.outcome, Twin):
        return None
    line = _line(one, one.outcome)
    line.pop("is_default", None)
    return line | {"params": dict(trial.params), "equals": one.number}


def _line(trial: Trial, outcome: Outcome) -> dict[str, object]:
    line: dict[str, object] = {"params": dict(trial.params)}
    if trial.is_default:
        line["is_default"] = True
    took_s = max(0.0, (trial.ended_at - trial.started_at).total_seconds())
    if isinstance(outcome, Failed):
        line["failure"] = {"kind": outcome.kind.value, "message": outcome.message}
        return line if outcome.kind is FailureKind.REJECTED else line | {"startup_s": took_s, "duration_s": 0.0}
    line["metrics"] = outcome.metrics()
    if outcome.marks:
        line["marks"] = [mark.value for mark in outcome.marks]
    return line | {"duration_s": max(0.0, took_s - (outcome.startup_s or 0.0))}
