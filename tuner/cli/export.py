"""`tuner export`: the launch config to deploy, or all that a study measured."""

import shlex
from functools import partial
from pathlib import Path

import typer

from tuner.cli.console import check_address, errors, say, write_file
from tuner.cli.history import open_store, trial_of
from tuner.cli.recommendation import shown_value
from tuner.cli.tables import prose
from tuner.decide.front import verdict_of
from tuner.errors import RunError, UsageError, choose
from tuner.export.caution import cautions, environment_words, verdict_sentence
from tuner.export.formats import EXPORTERS, Exporter
from tuner.export.record_json import export_json
from tuner.export.surface import surface_of
from tuner.record.store import Store
from tuner.study.decided import launched_again, objectives_of, study_decision
from tuner.types import Measured, Twin

#: The export of a study, not of a trial.
_SURFACE = "surface"


def run(study: str, format: str, trial: int | None, host: str, port: int, output: Path | None, storage: str) -> None:
    """The launch config to deploy, of one trial or of what the study decided; or all trials, to be replayed."""
    if format not in (*EXPORTERS, _SURFACE):
        raise UsageError(f"unknown --format {format!r}{choose(format, (*EXPORTERS, _SURFACE))}")
    check_address(host, port)
    store = open_store(storage)
    if format == _SURFACE:
        _export_surface(store, study, output)
        return
    found = study_decision(store, study)
    chosen = found.chosen if trial is None else trial_of(store, study, trial)
    if chosen is None:
        raise RunError(f"study {study!r} has no trial that was measured and meets its SLOs: nothing to export")
    if isinstance(chosen.outcome, Twin):
        one = chosen.outcome.equals
        raise UsageError(
            f"trial {chosen.number} was not launched, for it equals trial {one}: export that (--trial {one})"
        )
    if not isinstance(chosen.outcome, Measured):
        raise UsageError(f"trial {chosen.number} failed ({chosen.outcome.kind.value}): export one that was measured")
    fingerprint = store.study(study).fingerprint
    verdict = verdict_of(found, chosen)
    exporter: Exporter = partial(export_json, front=found.front) if format == "json" else EXPORTERS[format]
    text = exporter(chosen, fingerprint, host, port, verdict)
    if output is None:
        typer.echo(text, nl=False)
        return
    write_file("--output", output, text)
    objectives, again = objectives_of(store.study(study)), launched_again(store, study)
    kind = f"{fingerprint.unreal} " if fingerprint.unreal else ""
    value = ", ".join(shown_value(objective, chosen, again) for objective in objectives)
    say(errors, f"{output}: {kind}trial {chosen.number}, {value}")
    for sentence in filter(None, (verdict_sentence(chosen, verdict), *cautions(chosen, found.defaults))):
        prose(errors, sentence)
    if format == "yaml":
        words = environment_words(dict(chosen.command.environment))
        say(errors, f"Run it: {' '.join((*words, shlex.join(('vllm', 'serve', '--config', str(output)))))}")


def _export_surface(store: Store, study: str, output: Path | None) -> None:
    """All that was measured in a study, for `--engine replay`."""
    record, found = store.study(study), store.trials(study)
    text = surface_of(found, record.fingerprint)
    if output is None:
        typer.echo(text, nl=False)
        return
    write_file("--output", output, text)
    kind = f"{record.fingerprint.unreal} " if record.fingerprint.unreal else ""
    errors.print(f"{output}: {kind}{len(found)} trials", highlight=False)
