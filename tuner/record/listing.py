"""Studies and trials page by page, straight from the columns: no measurement is read as a whole.

A page goes on from the last row of the one before, so that the hundredth costs what the first did. It reads only, and knows
nothing of what the numbers mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue, TypeAdapter
from sqlalchemy import ColumnElement, Row, and_, func, or_, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session

from tuner.record import rows
from tuner.record.rows import Holder, StudyRecord
from tuner.record.store import Store
from tuner.record.tables import ContestRow, JobRow, LaunchRow, MetricRow, StudyRow, TrialRow, VerificationRow
from tuner.types import Params

_PARAMS: TypeAdapter[Params] = TypeAdapter(Params)
_VIOLATIONS: TypeAdapter[Mapping[str, float]] = TypeAdapter(Mapping[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A study that was begun, or asked for, and when; the newest first."""

    name: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What of a study changes as it goes on: while these are alike its decision is. `finished` are all trials that ended,
    `launched` those of them that were launched."""

    id: int
    finished: int
    launched: int
    begun: int
    verifications: int
    contests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLine:
    """A trial without its measurement as a whole. `failure` is kind and message."""

    number: int
    state: str
    params: Params
    is_default: bool
    started_at: datetime
    ended_at: datetime | None
    failure: tuple[str, str] | None
    marks: tuple[str, ...]
    equals: int | None
    violations: Mapping[str, float]
    metrics: Mapping[str, float]
    attempts: int


def listed(store: Store, limit: int, after: Listed | None = None) -> list[Listed]:
    """Studies by when they were asked for, else begun."""
    since = func.coalesce(JobRow.asked_at, StudyRow.created_at)
    begun = select(StudyRow.name.label("name"), since.label("since")).outerjoin(JobRow, JobRow.study == StudyRow.name)
    known = select(StudyRow.name).where(StudyRow.name == JobRow.study).exists()
    asked = select(JobRow.study.label("name"), JobRow.asked_at.label("since")).where(~known)
    every = union_all(begun, asked).subquery()
    page = select(every.c.name, every.c.since).order_by(every.c.since.desc(), every.c.name.desc()).limit(limit)
    if after is not None:
        later = and_(every.c.since == after.since, every.c.name < after.name)
        page = page.where(or_(every.c.since < after.since, later))
    with store.transaction() as session:
        return [Listed(name=name, since=at) for name, at in session.execute(page)]


def names(store: Store) -> list[str]:
    """Of every study that was begun or asked for."""
    with store.transaction() as session:
        return sorted({*session.scalars(select(StudyRow.name)), *session.scalars(select(JobRow.study))})


def records(store: Store, studies: Sequence[str]) -> dict[str, tuple[StudyRecord, Holder | None]]:
    """Those of them that were begun, with who runs each."""
    with store.transaction() as session:
        found = session.scalars(select(StudyRow).where(StudyRow.name.in_(studies)))
        return {row.name: (rows.study_record(row), rows.holder(row)) for row in found}


def stamps(store: Store, studies: Sequence[str]) -> dict[str, Stamp]:
    """Of those that were begun."""
    with store.transaction() as session:
        found = session.execute(select(StudyRow.id, StudyRow.name).where(StudyRow.name.in_(studies))).all()
        ids = [id for id, _ in found]
        ended, launched = TrialRow.state == "finished", and_(TrialRow.state == "finished", TrialRow.attempts > 0)
        trials = _counted(session, TrialRow.study_id, ids, _how_many(ended), _how_many(launched), func.count())
        again = _counted(session, VerificationRow.study_id, ids, func.count())
        contests = _counted(session, ContestRow.study_id, ids, func.count())
    made = {}
    for id, name in found:
        finished, begun_and_launched, begun = trials.get(id, (0, 0, 0))
        made[name] = Stamp(
            id=id,
            finished=finished,
            launched=begun_and_launched,
            begun=begun,
            verifications=again.get(id, (0,))[0],
            contests=contests.get(id, (0,))[0],
        )
    return made


def trial_lines(store: Store, study: str, limit: int, after: int = -1) -> list[TrialLine]:
    """By number, those behind `after`."""
    outcome = TrialRow.outcome
    columns = (
        *(TrialRow.id, TrialRow.number, TrialRow.state, TrialRow.params, TrialRow.is_default, TrialRow.attempts),
        *(TrialRow.started_at, TrialRow.ended_at, TrialRow.failure_kind, TrialRow.violations),
        outcome["message"].as_string().label("failure"),
        outcome["marks"].as_json().label("marks"),
        outcome["equals"].as_integer().label("equals"),
    )
    page = select(*columns).join(StudyRow, TrialRow.study_id == StudyRow.id)
    page = page.where(StudyRow.name == study, TrialRow.number > after).order_by(TrialRow.number).limit(limit)
    with store.transaction() as session:
        found = session.execute(page).all()
        metrics: dict[int, dict[str, float]] = {row.id: {} for row in found}
        numbers = select(MetricRow.trial_id, MetricRow.name, MetricRow.value).where(MetricRow.trial_id.in_(metrics))
        for id, name, value in session.execute(numbers):
            metrics[id][name] = value
    return [_line(row, metrics[row.id]) for row in found]


def defaults_params(store: Store, study: str) -> Params | None:
    """The settings of the trial of vLLM's defaults; None before it was begun."""
    mine = (StudyRow.name == study, TrialRow.is_default)
    first = select(TrialRow.params).join(StudyRow, TrialRow.study_id == StudyRow.id).where(*mine)
    with store.transaction() as session:
        found = session.scalars(first.order_by(TrialRow.number).limit(1)).first()
        return None if found is None else _PARAMS.validate_python(found)


def last_trial(store: Store, study: str) -> int:
    """The highest number of a trial that ended; -1 without one."""
    mine = (StudyRow.name == study, TrialRow.state == "finished")
    with store.transaction() as session:
        found = session.scalar(
            select(func.max(TrialRow.number)).join(StudyRow, TrialRow.study_id == StudyRow.id).where(*mine)
        )
        return -1 if found is None else found


def launches(store: Store) -> int:
    """How many servers were started for the studies of the database."""
    with store.transaction() as session:
        return session.scalar(select(func.count()).select_from(LaunchRow)) or 0


def _counted(
    session: Session, key: InstrumentedAttribute[int], ids: Sequence[int], *counts: ColumnElement[int]
) -> dict[int, tuple[int, ...]]:
    found = session.execute(select(key, *counts).where(key.in_(ids)).group_by(key))
    return {row[0]: tuple(int(value or 0) for value in row[1:]) for row in found}


def _how_many(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count().filter(condition)


def _line(row: Row[tuple[object, ...]], metrics: Mapping[str, float]) -> TrialLine:
    marks: JsonValue = row.marks
    return TrialLine(
        number=row.number,
        state=row.state,
        params=_PARAMS.validate_python(row.params),
        is_default=row.is_default,
        started_at=row.started_at,
        ended_at=row.ended_at,
        failure=None if row.failure_kind is None else (row.failure_kind, row.failure or ""),
        marks=tuple(str(mark) for mark in marks) if isinstance(marks, list) else (),
        equals=row.equals,
        violations=_VIOLATIONS.validate_python(row.violations),
        metrics=metrics,
        attempts=row.attempts,
    )
