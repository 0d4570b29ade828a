"""A trial in, a JSON record with its whole provenance out: command, settings, measurement, and where it was measured."""

import json
from dataclasses import asdict

from tuner.decide.pareto import Front
from tuner.decide.verdict import Verdict
from tuner.export.caution import cautions, verdict_sentence
from tuner.export.front_json import front_json
from tuner.export.unreal import unreal_sentence
from tuner.types import Fingerprint, Measured, Trial


def export_json(
    trial: Trial,
    fingerprint: Fingerprint,
    host: str,
    port: int,
    verdict: Verdict | None = None,
    front: Front | None = None,
) -> str:
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
        "effective": dict(trial.effective),
        "start": trial.outcome.start if isinstance(trial.outcome, Measured) else None,
        "metrics": trial.outcome.metrics() if isinstance(trial.outcome, Measured) else None,
        "failure": None if measured else asdict(trial.outcome),
        "cautions": cautions(trial),
        "verdict": None if verdict is None else asdict(verdict),
        "front": front_json(front),
        "slo_violations": dict(trial.violations),
        "fingerprint": asdict(fingerprint),
        "started_at": trial.started_at.isoformat(),
        "ended_at": trial.ended_at.isoformat(),
    }
    first = dict(filter(None, map(_said, (unreal_sentence(fingerprint), verdict_sentence(trial, verdict)))))
    text = json.dumps({**first, **record}, indent=2, ensure_ascii=False) + "\n"
    return "{" + text.removeprefix("{\n  ") if first else text  # in the very first line


def _said(sentence: str | None) -> tuple[str, str] | None:
    """A sentence that must stand first, as an entry: ("simulated", "no GPU ...")."""
    if sentence is None:
        return None
    word, _, why = sentence.partition(": ")
    return word.lower().replace(" ", "_"), why
