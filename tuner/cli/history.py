"""The commands that read a database: studies, trials, show."""

import shlex
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tuner.cli.console import errors, results, say, write_json
from tuner.cli.recommendation import verdict_words
from tuner.cli.result import next_step, print_result, print_trials
from tuner.cli.sparklines import show_sparklines
from tuner.cli.study_json import Standing, studies_json, study_json, trial_json, trials_json
from tuner.cli.tables import prose
from tuner.cli.tables import show as show_table
from tuner.decide.objective import Objective, metrics_of
from tuner.decide.twins import became_text
from tuner.decide.verdict import UNFINISHED
from tuner.decide.words.numbers import estimate_text, number
from tuner.decide.words.quality import quality_lines
from tuner.decide.words.recommended import value_of
from tuner.decide.words.settings import at_best_text, place_text, settings, status
from tuner.diagnose.diagnosing import PredictGain
from tuner.diagnose.words import sentences
from tuner.errors import UsageError
from tuner.export.serving import headless
from tuner.export.unreal import unreal_sentence
from tuner.record.rows import StudyRecord
from tuner.record.store import Store
from tuner.study.decided import explanation, launched_again, objectives_of, study_decision
from tuner.study.diagnosed import trial_diagnosis
from tuner.study.lease import abandoned, is_run
from tuner.study.options import Options
from tuner.types import Failed, Predicted, Trial, Twin


def studies(storage: str, json: str | None = None) -> None:
    """A row a study, with what it recommends."""
    store = open_store(storage)
    told = [standing(store, record) for record in store.studies()]
    console = errors if json == "-" else results
    if not told:
        say(console, f"{store.name} has no study yet: see `tuner optimize --help`")
    show_table(console, studies_table(told))
    write_json(json, studies_json(told))


def studies_table(told: Sequence[Standing]) -> Table:
    """A row a study."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in (
        "study",
        "gpu",
        "model",
        "workload",
        "objective",
        "trials",
        "state",
        "recommended",
        "verdict",
        "begun",
    ):
        table.add_column(header)
    for one in told:
        record = one.record
        best = (
            f"trial {one.found.chosen.number}, {number(one.objectives[0].metric, one.value)}"
            if one.found.chosen
            else "-"
        )
        begun, gpu = (
            f"{record.created_at:%Y-%m-%d %H:%M} UTC",
            f"{record.fingerprint.unreal or ''} {record.gpu}".strip(),
        )
        cells = (record.name, gpu, record.model, record.workload, record.objective, str(one.trials), one.state)
        table.add_row(*map(escape, (*cells, best, verdict_words(one.found), begun)))
    return table


def trials(study: str, storage: str, everything: bool = False, json: str | None = None) -> None:
    """A row a trial, with what was measured: the best ten, or all."""
    store = open_store(storage)
    one = standing(store, store.study(study))
    ended = sorted([*store.trials(study), *store.unfinished(study)], key=lambda trial: trial.number)
    unreal = unreal_sentence(one.record.fingerprint)
    more, console = next_step(storage, "trials", study, "--all"), errors if json == "-" else results
    print_trials(ended, one.found, one.objectives, unreal, everything, console, more)
    write_json(json, trials_json(one, ended))


def show(study: str, trial: int | None, storage: str, json: str | None = None) -> None:
    """The study's result, or all that is known of one trial."""
    store = open_store(storage)
    one = standing(store, store.study(study))
    console = errors if json == "-" else results
    if trial is None:
        print_result(store, study, one.found, storage, console)
        again, told = launched_again(store, study), explanation(store, study)
        write_json(json, study_json(one, store.trials(study), again, told))
        return
    found = trial_of(store, study, trial)
    if sentence := unreal_sentence(one.record.fingerprint):
        prose(console, sentence)
    _show_trial(found, headless(found.command, one.record.fingerprint), one.objectives, console)
    if (asked := one.found.quality.get(found.number)) is not None:
        for line in quality_lines(asked):
            prose(console, line)
    diagnosis = trial_diagnosis(one.record, found, _foretelling(store, one.record, found))
    for sentence in sentences(diagnosis) if diagnosis is not None else ():
        prose(console, sentence, indent="  ")
    show_sparklines(
        console, next((kept.timeline for kept in store.timelines(study, trial) if kept.round is None), None)
    )
    write_json(json, trial_json(one, found, diagnosis))


def _foretelling(store: Store, record: StudyRecord, trial: Trial) -> PredictGain | None:
    """What the study's model of the server says that a remedy gains; None of a trial that it did not predict."""
    if trial.predicted is None:
        return None
    from tuner.study.foretelling import stored_model  # what predicts is slow to import, and seldom needed here

    model = stored_model(record, store.trials(record.name))
    return None if model is None else model.gains_over(trial)


def standing(store: Store, record: StudyRecord) -> Standing:
    """A study and what it has decided."""
    objectives, found = objectives_of(record), study_decision(store, record.name)
    return Standing(
        record=record,
        objectives=objectives,
        found=found,
        trials=len(store.trials(record.name)),
        is_finished=not found.verdict.why.endswith(UNFINISHED),
        is_run=is_run(store, record.name),
        value=value_of(objectives[0], found.chosen, launched_again(store, record.name)),
    )


def _show_trial(
    trial: Trial, beside: Sequence[tuple[str, ...]], objectives: Sequence[Objective], console: Console
) -> None:
    """`beside` is what ran beside its command."""
    say(console, f"trial {trial.number}: {status(trial)}" + (" (vLLM's defaults)" if trial.is_default else ""))
    took_s = (trial.ended_at - trial.started_at).total_seconds()
    say(console, f"took {took_s:.0f} s from {trial.started_at:%Y-%m-%d %H:%M:%S} UTC")
    if trial.place is not None and (where := place_text(trial.place)) is not None:
        say(console, where)
    prose(console, f"settings: {settings(trial.params)}", indent="  ")
    say(console, f"command: {shlex.join(trial.command.argv)}")
    for argv in beside:
        say(console, f"beside it: {shlex.join(argv)}")
    if trial.effective:
        prose(console, f"when it started, {became_text(trial.resolved, trial.effective)}")
    if isinstance(trial.outcome, Twin):
        prose(console, f"not launched, for it equals trial {trial.outcome.equals}: {trial.outcome.why}")
        return
    if trial.predicted is not None and (isinstance(trial.outcome, Failed) or trial.predicted.failed is not None):
        prose(console, _foretold(trial.predicted))
    if isinstance(trial.outcome, Failed):
        prose(console, f"{trial.outcome.kind.value}: {trial.outcome.message}")
        say(console, trial.outcome.log_tail)
        return
    if trial.outcome.marks:
        marks = ", ".join(mark.value for mark in trial.outcome.marks)
        prose(console, f"to be known: {marks} (see docs/metrics.md)")
    if (bound := at_best_text(objectives[0], trial)) is not None:
        prose(console, f"its window ended when it could not be the best any more: {objectives[0].name} is {bound}")
    show_table(console, _trial_table(trial, metrics_of(trial.outcome, objectives)))


def _trial_table(trial: Trial, metrics: Mapping[str, float]) -> Table:
    """A row a number, beside it what was predicted."""
    table = Table(box=None, show_header=False, pad_edge=False)
    foretold = trial.predicted.metrics if trial.predicted else {}
    for name, value in metrics.items():
        table.add_row(name, f"{value:,.6g}", f"predicted {estimate_text(foretold[name])}" if name in foretold else "")
    for name, missed in trial.violations.items():
        table.add_row(f"SLO {name}", f"{'missed' if missed > 0 else 'met'} ({missed:+.1%} of the limit)")
    for name, setting in trial.resolved.items():
        table.add_row(f"resolved {name}", escape(str(setting)))
    return table


def _foretold(predicted: Predicted) -> str:
    """What the model of a server said, in words."""
    learned = f", calibrated on {predicted.launches} launches" if predicted.launches else ""
    told = ", ".join(f"{name} {estimate_text(one)}" for name, one in predicted.metrics.items())
    if predicted.failed is not None:
        told = f"{predicted.failed.kind.value}: {predicted.failed.message}"
    return f"predicted before its launch ({predicted.known}{learned}): {told}"


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
    if (trial := store.trial(study, number)) is not None:
        return trial
    raise UsageError(
        f"study {study!r} has no trial {number} that ended: see `{next_step(Options().storage, 'trials', study)}`"
    )
