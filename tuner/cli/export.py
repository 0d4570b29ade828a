"""`tuner export`: the launch config to deploy, or all that a study measured."""

from pathlib import Path

import typer

from tuner.cli.answer import number
from tuner.cli.console import check_port, errors, write_file
from tuner.cli.history import open_store, trial_of
from tuner.errors import RunError, UsageError
from tuner.export.formats import EXPORTERS
from tuner.export.surface import surface_of
from tuner.record.store import Store
from tuner.study.decided import study_decision
from tuner.types import Measured

#: The export of a study, not of a trial.
_SURFACE = "surface"


def run(study: str, format: str, trial: int | None, host: str, port: int, output: Path | None, storage: str) -> None:
    """The launch config to deploy, of one trial or of what the study decided; or all trials, to be replayed."""
    if format not in (*EXPORTERS, _SURFACE):
        raise UsageError(f"unknown --format {format!r}: choose one of {', '.join((*EXPORTERS, _SURFACE))}")
    check_port(port)
    if not host or any(not letter.isprintable() or letter.isspace() for letter in host):
        raise UsageError(f"--host {host!r} is no address: give one like 127.0.0.1 or 0.0.0.0")
    store = open_store(storage)
    if format == _SURFACE:
        _export_surface(store, study, output)
        return
    found = study_decision(store, study)
    chosen = found.chosen if trial is None else trial_of(store, study, trial)
    if chosen is None:
        raise RunError(f"study {study!r} has no trial that was measured and meets its SLOs: nothing to export")
    if not isinstance(chosen.outcome, Measured):
        raise UsageError(f"trial {chosen.number} failed ({chosen.outcome.kind.value}): export one that was measured")
    fingerprint = store.study(study).fingerprint
    verdict = found.verdict if found.verdict.trial == chosen.number or chosen is found.chosen else None
    text = EXPORTERS[format](chosen, fingerprint, host, port, verdict)
    if output is None:
        typer.echo(text, nl=False)
        return
    write_file("--output", output, text)
    throughput = number("output_throughput", chosen.outcome.load.output_throughput)
    kind = f"{fingerprint.unreal} " if fingerprint.unreal else ""
    errors.print(f"{output}: {kind}trial {chosen.number}, {throughput}", highlight=False)


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
