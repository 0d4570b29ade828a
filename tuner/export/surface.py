"""A study's trials in, a surface that can be replayed out: JSON lines, the format of docs/replay.md. Pure."""

import json
from collections.abc import Iterable

from tuner.types import Failed, FailureKind, Fingerprint, Trial


def surface_of(trials: Iterable[Trial], fingerprint: Fingerprint | None = None) -> str:
    """One line a trial, after a first one that says where they were measured, if that is given.

    `duration_s` is what is not the start; a failure's seconds all count as its start. What vLLM refused took none.
    """
    lines = [_line(trial) for trial in trials]
    if fingerprint is not None:
        about = {"gpu": fingerprint.gpu, "model": fingerprint.model, "engine_version": fingerprint.engine_version}
        lines.insert(0, {"surface": about})
    return "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)


def _line(trial: Trial) -> dict[str, object]:
    line: dict[str, object] = {"params": dict(trial.params)}
    if trial.is_default:
        line["is_default"] = True
    took_s, outcome = max(0.0, (trial.ended_at - trial.started_at).total_seconds()), trial.outcome
    if isinstance(outcome, Failed):
        line["failure"] = {"kind": outcome.kind.value, "message": outcome.message}
        return line if outcome.kind is FailureKind.REJECTED else line | {"startup_s": took_s, "duration_s": 0.0}
    line["metrics"] = outcome.metrics()
    if outcome.marks:
        line["marks"] = [mark.value for mark in outcome.marks]
    return line | {"duration_s": max(0.0, took_s - (outcome.startup_s or 0.0))}
