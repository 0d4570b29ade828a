"""The commands that read a database: studies, trials, show."""

from rich.table import Table

from tuner.cli.console import errors, results, say
from tuner.cli.display import objective_value, settings, status, trials_table
from tuner.cli.result import print_result
from tuner.decide.objective import parse_objective
from tuner.errors import UsageError
from tuner.export.unreal import unreal_sentence
from tuner.record.store import Store
from tuner.study.decided import study_decision
from tuner.study.lease import abandoned
from tuner.types import Failed, Trial


def studies(storage: str) -> None:
    """A row a study, with its best trial."""
    store = open_store(storage)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("study", "gpu", "model", "workload", "objective", "trials", "best", "begun (UTC)"):
        table.add_column(header)
    for record in store.studies():
        objective, found = parse_objective(record.objective), study_decision(store, record.name)
        count, best = str(len(store.trials(record.name))), objective_value(objective, found.chosen)
        begun, gpu = f"{record.created_at:%Y-%m-%d %H:%M}", f"{record.fingerprint.unreal or ''} {record.gpu}".strip()
        table.add_row(record.name, gpu, record.model, record.workload, record.objective, count, best, begun)
    results.print(table)


def trials(study: str, storage: str) -> None:
    """A row a trial, with what was measured."""
    store = open_store(storage)
    found = study_decision(store, study)
    everything = sorted([*store.trials(study), *store.unfinished(study)], key=lambda trial: trial.number)
    unreal = unreal_sentence(store.study(study).fingerprint)
    results.print(trials_table(everything, found.chosen.number if found.chosen else None, unreal))


def show(study: str, trial: int | None, storage: str) -> None:
    """The study's result, or all that is known of one trial."""
    store = open_store(storage)
    if trial is None:
        print_result(store, study, study_decision(store, study))
        return
    found = trial_of(store, study, trial)
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


def open_store(storage: str) -> Store:
    """The database to read from, once what dead tuners left running is stopped."""
    store = Store.open(storage, read_only=True)
    if abandoned(store):
        from tuner.study.launches import sweep_leftovers  # what can launch is slow to import, and seldom needed here

        writing = Store.open(storage)
        for told in sweep_leftovers(writing):
            say(errors, told)
        writing.close()
    return store


def trial_of(store: Store, study: str, number: int) -> Trial:
    store.study(study)
    for trial in [*store.trials(study), *store.unfinished(study)]:
        if trial.number == number:
            return trial
    raise UsageError(f"study {study!r} has no trial {number} that ended: see `tuner trials {study}`")
