"""A stored study in; the record that its report is made of out. It reads, launches nothing, and makes no text of its own."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from tuner.decide.before_after import BeforeAfter, before_after, beside_the_defaults
from tuner.decide.contest import ERROR_OF_ALL_LOOKS
from tuner.decide.front import verdict_of
from tuner.decide.objective import Objective
from tuner.decide.rank import hand_trials
from tuner.decide.verdict import UNFINISHED, Decision
from tuner.decide.words.decision import decision_text
from tuner.decide.words.quality import refused_sentences
from tuner.decide.words.recommended import ballast_sentence
from tuner.export.caution import cautions, verdict_sentence
from tuner.export.command import bare_command
from tuner.export.unreal import unreal_sentence
from tuner.predict.agreement import agreement, agreement_sentence
from tuner.propose.importance import importances
from tuner.record.rows import EXPLAIN, StudyRecord
from tuner.record.store import Store
from tuner.report.content import Again, Diagnosed, Drawn, Method, Report
from tuner.study.decided import (
    compared_by,
    explanation,
    launched_again,
    objectives_of,
    searched,
    slo_texts,
    study_decision,
)
from tuner.study.diagnosed import trial_diagnosis
from tuner.study.exporting import as_chosen
from tuner.study.lease import is_run
from tuner.types import Measured, Outcome, Trial
from tuner.workload.presets import workload_yaml
from tuner.workload.stored import stored_workload
from tuner.workload.told import load_text

#: Where the server of the command listens, as `tuner export` has it.
_HOST, _PORT = "127.0.0.1", 8000


def report_of(store: Store, name: str, now: datetime | None = None) -> Report:
    """Of a study as it stands now. Raises UsageError if there is none of that name."""
    record, found = store.study(name), study_decision(store, name)
    objectives = objectives_of(record)
    finished = searched(store.trials(name))
    trials = sorted([*finished, *store.unfinished(name)], key=lambda trial: trial.number)
    again = _again(store, name)
    launched = launched_again(store, name)
    known, unreal = agreement(finished, objectives[0]), record.fingerprint.unreal
    compared = _compared(finished, found, launched, compared_by(record))
    return Report(
        study=record.name,
        made_at=now or datetime.now(UTC),
        tuner_version=version("tuner"),
        created_at=record.created_at,
        state=_state(store, name, found),
        unreal=unreal,
        unreal_sentence=unreal_sentence(record.fingerprint),
        gpu=record.gpu,
        model=record.model,
        workload=record.workload,
        fingerprint=record.fingerprint,
        method=_method(record, store),
        objectives=objectives,
        trials=tuple(trials),
        begun=len({one.number for one in store.running(name)} - {trial.number for trial in trials}),
        again=again,
        found=found,
        answer=decision_text(found, objectives[0]),
        cautions=_cautions(found),
        command=_command(found, record),
        compared=compared,
        importances=tuple(importances(finished, objective) for objective in objectives),
        attribution=explanation(store, name),
        time_lines=_time_lines(store, name, found, compared),
        agreement=known,
        agreement_sentence=None if known is None else agreement_sentence(known, unreal),
        diagnoses=tuple(_diagnoses(record, found)),
    )


def _diagnoses(record: StudyRecord, found: Decision) -> Iterator[Diagnosed]:
    for trial in {one.number: one for one in (found.defaults, found.chosen) if one is not None}.values():
        if (diagnosis := trial_diagnosis(record, trial)) is not None:
            yield Diagnosed(trial=trial.number, diagnosis=diagnosis)


def _state(store: Store, name: str, found: Decision) -> str:
    if is_run(store, name):
        return "running"
    return "not finished" if found.verdict.why.endswith(UNFINISHED) else "ended"


def _again(store: Store, name: str) -> tuple[Again, ...]:
    """The launches of the last contest, which is the one that is decided by."""
    contests = store.contests(name)
    return tuple(
        Again(trial=one.trial_number, round=one.round, outcome=one.outcome)
        for one in store.verifications(name)
        if one.contest == len(contests) and one.role != EXPLAIN
    )


def _cautions(found: Decision) -> tuple[str, ...]:
    """What is to be known before it is deployed."""
    chosen = found.chosen
    if chosen is None:
        return tuple(refused_sentences(found))
    told = [verdict_sentence(chosen, verdict_of(found, chosen)), *cautions(chosen, found.defaults, found.quality)]
    return tuple(filter(None, (*told, *refused_sentences(found), ballast_sentence(found))))


def _command(found: Decision, record: StudyRecord) -> str | None:
    """As `tuner export` prints it, but for where it comes from, which the report says itself."""
    chosen = found.chosen
    if chosen is None or not isinstance(chosen.outcome, Measured):
        return None
    return bare_command(as_chosen(record, found, chosen, _HOST, _PORT))


def _compared(
    trials: Sequence[Trial],
    found: Decision,
    again: Sequence[tuple[int, Outcome]],
    objectives: Sequence[Objective],
) -> BeforeAfter | None:
    """None where not both were measured."""
    before, after = found.defaults, beside_the_defaults(trials, found, objectives[0])
    if before is None or after is None:
        return None
    if not isinstance(before.outcome, Measured) or not isinstance(after.outcome, Measured):
        return None
    return before_after(before, after, again, objectives, hand_trials(trials))


def _time_lines(store: Store, name: str, found: Decision, compared: BeforeAfter | None) -> tuple[Drawn, ...]:
    """Of the defaults and of what they are compared with: the last round of the verification that both have, else the
    search's."""
    default = found.defaults.number if found.defaults else None
    numbers = (default, compared.other) if compared is not None else (default,)
    contest = len(store.contests(name))
    known = {
        (one.trial, one.round): one.timeline
        for number in numbers
        if number is not None
        for one in store.timelines(name, number)
        if one.contest in (None, contest)
    }
    rounds = [round for number, round in known if number == numbers[0] and round is not None]
    both = [round for round in rounds if all((number, round) in known for number in numbers)]
    drawn = max(both, default=None)
    return tuple(
        Drawn(trial=number, is_default=number == default, round=drawn, timeline=known[number, drawn])
        for number in numbers
        if number is not None and (number, drawn) in known
    )


def _method(record: StudyRecord, store: Store) -> Method:
    settings, workload = record.settings, stored_workload(record.settings.get("workload"))
    contests = store.contests(record.name)
    return Method(
        load=record.workload if workload is None else load_text(workload),
        workload=None if workload is None else workload_yaml(workload),
        slos=tuple(slo_texts(record)),
        precision=None if workload is None else workload.precision,
        warmup_s=None if workload is None else workload.warmup_s,
        window_s=None if workload is None else workload.window_s,
        max_window_s=None if workload is None else workload.max_window_s or 4 * workload.window_s,
        sampler=_text(settings.get("sampler")),
        start=_text(settings.get("start")),
        rounds=contests[-1].rounds if contests else None,
        level=ERROR_OF_ALL_LOOKS,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
