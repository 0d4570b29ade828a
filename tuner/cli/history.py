"""The commands that read a database: studies, trials, show, export, dashboard."""

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.table import Table

from tuner.cli.answer import number
from tuner.cli.console import errors, heed_signals, results, say, write_file
from tuner.cli.display import objective_value, settings, status, trials_table
from tuner.cli.optimize import print_result
from tuner.decide.objective import parse_objective
from tuner.errors import RunError, UsageError
from tuner.export import EXPORTERS
from tuner.export.surface import surface_of
from tuner.export.unreal import unreal_sentence
from tuner.record.store import Store
from tuner.study.launches import sweep_leftovers
from tuner.study.lease import abandoned
from tuner.study.verification import study_decision
from tuner.types import Failed, Measured, Trial

Storage = Annotated[str, typer.Option(help="Database URL.", envvar="TUNER_STORAGE")]
_DEFAULT_STORAGE = "sqlite:///tuner.db"
#: The export of a study, not of a trial.
_SURFACE = "surface"


def studies(storage: Storage = _DEFAULT_STORAGE) -> None:
    """List the studies of a database."""
    store = _open(storage)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("study", "gpu", "model", "workload", "objective", "trials", "best", "begun (UTC)"):
        table.add_column(header)
    for record in store.studies():
        objective, found = parse_objective(record.objective), study_decision(store, record.name)
        count, best = str(len(store.trials(record.name))), objective_value(objective, found.chosen)
        begun, gpu = f"{record.created_at:%Y-%m-%d %H:%M}", f"{record.fingerprint.unreal or ''} {record.gpu}".strip()
        table.add_row(record.name, gpu, record.model, record.workload, record.objective, count, best, begun)
    results.print(table)


def trials(study: str, storage: Storage = _DEFAULT_STORAGE) -> None:
    """List the trials of a study, with what was measured."""
    store = _open(storage)
    found = study_decision(store, study)
    everything = sorted([*store.trials(study), *store.unfinished(study)], key=lambda trial: trial.number)
    unreal = unreal_sentence(store.study(study).fingerprint)
    results.print(trials_table(everything, found.chosen.number if found.chosen else None, unreal))


def show(
    study: str,
    trial: Annotated[Optional[int], typer.Argument(help="Trial number; without it the study's result.")] = None,  # noqa: UP045
    storage: Storage = _DEFAULT_STORAGE,
) -> None:
    """Show a study's result, or all that is known of one trial."""
    store = _open(storage)
    if trial is None:
        print_result(store, study, study_decision(store, study))
        return
    found = _trial(store, study, trial)
    if sentence := unreal_sentence(store.study(study).fingerprint):
        say(results, sentence)
    _show_trial(found)


def _show_trial(trial: Trial) -> None:
    say(results, f"trial {trial.number}: {status(trial)}" + (" (vLLM's defaults)" if trial.is_default else ""))
    say(
        results,
        f"took {(trial.ended_at - trial.started_at).total_seconds():.0f} s from {trial.started_at:%Y-%m-%d %H:%M:%S} UTC",
    )
    say(results, f"settings: {settings(trial.params)}")
    say(results, f"command: {' '.join(trial.command.argv)}")
    if isinstance(trial.outcome, Failed):
        say(results, f"{trial.outcome.kind.value}: {trial.outcome.message}")
        say(results, trial.outcome.log_tail)
        return
    if trial.outcome.marks:
        say(results, f"to be known: {', '.join(mark.value for mark in trial.outcome.marks)} (see docs/metrics.md)")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in trial.outcome.metrics().items():
        table.add_row(name, f"{value:,.6g}")
    for name, missed in trial.violations.items():
        table.add_row(f"SLO {name}", f"{'missed' if missed > 0 else 'met'} ({missed:+.1%} of the limit)")
    for name, setting in trial.resolved.items():
        table.add_row(f"resolved {name}", str(setting))
    results.print(table)


def export(
    study: str,
    format: Annotated[str, typer.Option(help="command, yaml or json; surface: all trials, to replay.")] = "command",
    trial: Annotated[Optional[int], typer.Option(help="Trial number; default: what the study decided.")] = None,  # noqa: UP045
    host: Annotated[str, typer.Option(help="Address that the server will listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port that the server will listen on.")] = 8000,
    output: Annotated[Optional[Path], typer.Option(help="File to write; default: the screen.")] = None,  # noqa: UP045
    storage: Storage = _DEFAULT_STORAGE,
) -> None:
    """Print the launch config to deploy: exactly the arguments that ran."""
    if format not in (*EXPORTERS, _SURFACE):
        raise UsageError(f"unknown --format {format!r}: choose one of {', '.join((*EXPORTERS, _SURFACE))}")
    store = _open(storage)
    if format == _SURFACE:
        _export_surface(store, study, output)
        return
    chosen = study_decision(store, study).chosen if trial is None else _trial(store, study, trial)
    if chosen is None:
        raise RunError(f"study {study!r} has no trial that was measured and meets its SLOs: nothing to export")
    if not isinstance(chosen.outcome, Measured):
        raise UsageError(f"trial {chosen.number} failed ({chosen.outcome.kind.value}): export one that was measured")
    fingerprint = store.study(study).fingerprint
    text = EXPORTERS[format](chosen, fingerprint, host, port)
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


def dashboard(
    storage: Storage = _DEFAULT_STORAGE,
    host: Annotated[str, typer.Option(help="Address to listen on. The dashboard has no password.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
) -> None:
    """Watch the studies in optuna-dashboard. Stop it with Ctrl-C."""
    from tuner.propose.dashboard import serve_dashboard  # slow to import, and only needed here

    store = _open(storage)
    store.close()
    heed_signals()
    errors.print(f"optuna-dashboard: http://{host}:{port}/dashboard/", highlight=False)
    try:
        serve_dashboard(store.url, host, port)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _open(storage: str) -> Store:
    """The database to read from, once what dead tuners left running is stopped."""
    store = Store.open(storage, read_only=True)
    if abandoned(store):
        writing = Store.open(storage)
        for told in sweep_leftovers(writing):
            say(errors, told)
        writing.close()
    return store


def _trial(store: Store, study: str, number: int) -> Trial:
    store.study(study)
    for trial in [*store.trials(study), *store.unfinished(study)]:
        if trial.number == number:
            return trial
    raise UsageError(f"study {study!r} has no trial {number} that ended: see `tuner trials {study}`")
