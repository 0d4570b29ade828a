"""A stored study in; what an export of it is made of, out."""

from tuner.decide.front import verdict_of
from tuner.decide.verdict import Decision
from tuner.errors import RunError, UsageError
from tuner.export.chosen import Chosen
from tuner.record.rows import StudyRecord
from tuner.record.store import Store
from tuner.study.decided import objectives_of, study_decision
from tuner.types import Measured, Trial, Twin


def chosen_of(store: Store, study: str, trial: Trial | None, host: str, port: int) -> Chosen:
    """That trial, or without one what the study decided. Raises RunError where there is nothing to export, UsageError for a
    trial that was not measured."""
    found = study_decision(store, study)
    one = found.chosen if trial is None else trial
    if one is None:
        raise RunError(f"study {study!r} has no trial that was measured and meets its SLOs: nothing to export")
    if isinstance(one.outcome, Twin):
        same = one.outcome.equals
        raise UsageError(
            f"trial {one.number} was not launched, for it equals trial {same}: export that (--trial {same})"
        )
    if not isinstance(one.outcome, Measured):
        raise UsageError(f"trial {one.number} failed ({one.outcome.kind.value}): export one that was measured")
    return as_chosen(store.study(study), found, one, host, port)


def as_chosen(record: StudyRecord, found: Decision, trial: Trial, host: str, port: int) -> Chosen:
    """A measured trial of that study, with what the study says of it."""
    return Chosen(
        study=record.name,
        trial=trial,
        fingerprint=record.fingerprint,
        host=host,
        port=port,
        verdict=verdict_of(found, trial),
        metric=objectives_of(record)[0].metric,
        front=found.front,
        defaults=found.defaults,
        quality=found.quality,
    )
