"""A trial in, a JSON record with its whole provenance out: command, settings, measurement, and where it was measured."""

import json
from dataclasses import asdict

from tuner.decide.verdict import Verdict
from tuner.export.unreal import unreal_sentence
from tuner.types import Fingerprint, Measured, Trial


def export_json(trial: Trial, fingerprint: Fingerprint, host: str, port: int, verdict: Verdict | None = None) -> str:
    measured = isinstance(trial.outcome, Measured)
    record = {
        "trial": trial.number,
        "is_default": trial.is_default,
        "argv": [*trial.command.argv, "--host", host, "--port", str(port)],
        "model": trial.command.model,
        "settings": dict(trial.command.settings),
        "environment": dict(trial.command.environment),
        "params": dict(trial.params),
        "resolved": dict(trial.resolved),
        "start": trial.outcome.start if isinstance(trial.outcome, Measured) else None,
        "metrics": trial.outcome.metrics() if isinstance(trial.outcome, Measured) else None,
        "failure": None if measured else asdict(trial.outcome),
        "verdict": None if verdict is None else asdict(verdict),
        "slo_violations": dict(trial.violations),
        "fingerprint": asdict(fingerprint),
        "started_at": trial.started_at.isoformat(),
        "ended_at": trial.ended_at.isoformat(),
    }
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    if (sentence := unreal_sentence(fingerprint)) is None:
        return text
    word, _, why = sentence.partition(": ")
    return f"{{{json.dumps(word.lower())}: {json.dumps(why)},\n" + text.removeprefix("{\n")  # in the very first line
