"""A trial in, a JSON record with its whole provenance out: command, settings, measurement, and where it was measured."""

from collections.abc import Sequence
from dataclasses import asdict

from tuner import __version__
from tuner.export.caution import cautions, verdict_sentence
from tuner.export.chosen import Chosen
from tuner.export.front_json import front_json
from tuner.export.image import image_of
from tuner.export.provenance import gain_sentence
from tuner.export.serving import environment, headless
from tuner.export.unreal import unreal_sentence
from tuner.types import Measured
from tuner.types.finite import json_text


def export_json(chosen: Chosen) -> str:
    trial, verdict, image = chosen.trial, chosen.verdict, image_of(chosen.fingerprint)
    measured = trial.outcome if isinstance(trial.outcome, Measured) else None
    record = {
        "study": chosen.study,
        "trial": trial.number,
        "is_default": trial.is_default,
        "tuner_version": __version__,
        "gain": gain_sentence(chosen),
        "argv": [*trial.command.argv, "--host", chosen.host, "--port", str(chosen.port)],
        **headless_json(headless(trial.command, chosen.fingerprint)),
        "model": trial.command.model,
        "settings": dict(trial.command.settings),
        "environment": environment(trial.command),
        "image": image.name,
        "image_note": image.note,
        "params": dict(trial.params),
        "resolved": dict(trial.resolved),
        "effective": dict(trial.effective),
        "start": measured.start if measured else None,
        "metrics": measured.metrics() if measured else None,
        "failure": None if measured else asdict(trial.outcome),
        "cautions": cautions(trial, chosen.defaults, chosen.quality),
        "verdict": None if verdict is None else asdict(verdict),
        "front": front_json(chosen.front),
        "slo_violations": dict(trial.violations),
        "fingerprint": asdict(chosen.fingerprint),
        "started_at": trial.started_at.isoformat(),
        "ended_at": trial.ended_at.isoformat(),
    }
    said = (unreal_sentence(chosen.fingerprint), verdict_sentence(trial, verdict))
    first = dict(filter(None, map(_said, said)))
    text = json_text({**first, **record})
    return "{" + text.removeprefix("{\n  ") if first else text  # in the very first line


def headless_json(commands: Sequence[tuple[str, ...]]) -> dict[str, list[list[str]]]:
    """The argument vectors that run beside `argv`, where there are any."""
    return {"headless": [[*argv] for argv in commands]} if commands else {}


def _said(sentence: str | None) -> tuple[str, str] | None:
    """A sentence that must stand first, as an entry: ("simulated", "no GPU ...")."""
    if sentence is None:
        return None
    word, _, why = sentence.partition(": ")
    return word.lower().replace(" ", "_"), why
