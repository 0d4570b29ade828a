"""Jobs as frozen records in and out: what was asked of the service, whose turn it is, and which service runs it.

A job is taken by one service, whose lease grows with each that takes it: what an earlier one writes is refused. It starts no
process, and does not know what was asked for means.
"""

import secrets
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue, TypeAdapter
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tuner.record.store import Store
from tuner.record.tables import JobRow
from tuner.types import ProcessId

#: The states of a job, and those that end it.
QUEUED, RUNNING, PAUSED, FINISHED, FAILED, CANCELLED = "queued", "running", "paused", "finished", "failed", "cancelled"
ENDED = (FINISHED, FAILED, CANCELLED)
_ASKED: TypeAdapter[Mapping[str, JsonValue]] = TypeAdapter(Mapping[str, JsonValue])


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """The service that runs a job: a process on a host. `lease` grows with each, `beat` while it lives."""

    process: ProcessId
    host: str
    lease: int
    beat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A study that was asked for. `token` names its files; `asked` are the options as they were validated; `wish` is "pause" or
    "cancel" while a running one is to end; `child` is the process that runs the study, once it is known; `deaths` counts how
    often that was killed in a row."""

    id: int
    study: str
    token: str
    asked: Mapping[str, JsonValue]
    state: str
    card: str
    asked_by: str
    asked_at: datetime
    began_at: datetime | None
    ended_at: datetime | None
    message: str | None
    wish: str | None
    deaths: int
    runner: Runner | None
    child: ProcessId | None


class Queue:
    """The jobs of a database. All methods raise StorageError for what the database refuses."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, study: str, asked: Mapping[str, JsonValue], card: str, by: str, now: datetime) -> Job | None:
        """The new job, queued; None where that study has one. See `forget`."""
        with self._store.transaction() as session:
            row = _row(session, study, locked=True)
            if row is not None:
                return None
            row = JobRow(study=study, token=secrets.token_hex(8), asked=dict(asked), state=QUEUED, card=card)
            row.asked_by, row.asked_at = by, now
            session.add(row)
            session.flush()
            return _job(row)

    def forget(self, study: str) -> bool:
        """Remove a job that failed or was cancelled; False where there is none."""
        with self._store.transaction() as session:
            row = _row(session, study, locked=True)
            if row is None or row.state not in (FAILED, CANCELLED):
                return False
            session.delete(row)
            return True

    def job(self, study: str) -> Job | None:
        with self._store.transaction() as session:
            row = _row(session, study)
            return None if row is None else _job(row)

    def jobs(self, studies: Collection[str]) -> dict[str, Job]:
        """Those of these studies that have one."""
        with self._store.transaction() as session:
            return {row.study: _job(row) for row in session.scalars(select(JobRow).where(JobRow.study.in_(studies)))}

    def in_states(self, *states: str) -> list[Job]:
        """Those in these states, the oldest first."""
        with self._store.transaction() as session:
            found = session.scalars(select(JobRow).where(JobRow.state.in_(states)).order_by(JobRow.id))
            return [_job(row) for row in found]

    def counts(self) -> dict[str, int]:
        """How many there are by their state."""
        with self._store.transaction() as session:
            found = session.execute(select(JobRow.state, func.count()).group_by(JobRow.state))
            return {row[0]: int(row[1]) for row in found}

    def change(
        self, study: str, of: Collection[str], to: str, message: str | None, now: datetime, wish: str | None = None
    ) -> Job | None:
        """The job in its new state, with what is wished of who runs it; None where it is in none of the states `of`."""
        with self._store.transaction() as session:
            row = _row(session, study, locked=True)
            if row is None or row.state not in of:
                return None
            row.state, row.message, row.wish = to, message, wish
            row.ended_at = now if to in ENDED else None
            return _job(row)

    def claim(self, me: ProcessId, now: datetime) -> Job | None:
        """The oldest queued job whose card runs nothing on this host, from now on held by `me`; None where there is none."""
        with self._store.transaction() as session:
            waiting = (
                select(JobRow.card).where(JobRow.state == QUEUED).group_by(JobRow.card).order_by(func.min(JobRow.id))
            )
            cards = session.scalars(waiting).all()
        return next((job for card in cards if (job := self._claim(card, me, now)) is not None), None)

    def _claim(self, card: str, me: ProcessId, now: datetime) -> Job | None:
        """Each card in a transaction of its own: two services that lock several in other orders wait for each other."""
        host = socket.gethostname()
        mine = select(JobRow).where(JobRow.card == card, JobRow.state.in_((QUEUED, RUNNING))).order_by(JobRow.id)
        with self._store.transaction() as session:
            found = session.scalars(mine.with_for_update().execution_options(populate_existing=True)).all()
            row = next((row for row in found if row.state == QUEUED), None)
            if row is None or any(one.state == RUNNING and one.host == host for one in found):
                return None
            row.state, row.message, row.began_at = RUNNING, None, row.began_at or now
            return _taken(session, row, me, host)

    def take_over(self, job: Job, me: ProcessId) -> Job | None:
        """Hold a running job instead of the service that did; None where another was quicker."""
        with self._store.transaction() as session:
            row = _row(session, job.study, locked=True)
            if row is None or row.state != RUNNING or row.lease != (job.runner.lease if job.runner else 0):
                return None
            return _taken(session, row, me, socket.gethostname())

    def started(self, job: Job, child: ProcessId) -> bool:
        """Note the process that runs it; False where another service holds the job."""
        with self._store.transaction() as session:
            row = _held(session, job)
            if row is not None:
                row.child_pid, row.child_started_s, row.child_place = child.pid, child.started_s, child.place
            return row is not None

    def beat(self, jobs: Sequence[Job]) -> list[Job]:
        """Say that the holder of these lives; those that it still holds, as they are now."""
        found = []
        with self._store.transaction() as session:
            for job in jobs:
                if (row := _held(session, job)) is not None:
                    row.beat += 1
                    found.append(_job(row))
        return found

    def end(self, job: Job, state: str, message: str | None, now: datetime, deaths: int = 0) -> bool:
        """Let it go in that state; False where another service holds it, and where something else is wished of it by now."""
        with self._store.transaction() as session:
            row = _held(session, job)
            if row is None or row.wish != job.wish:
                return False
            row.state, row.message, row.wish, row.deaths = state, message, None, deaths
            row.ended_at = now if state in ENDED else None
            row.host = row.pid = row.started_s = row.place = None
            row.child_pid = row.child_started_s = row.child_place = None
            return True


def _row(session: Session, study: str, *, locked: bool = False) -> JobRow | None:
    """The job of a study; one that is `locked` nobody else writes until the transaction ends."""
    found = select(JobRow).where(JobRow.study == study)
    return session.scalars(found.with_for_update() if locked else found).one_or_none()


def _held(session: Session, job: Job) -> JobRow | None:
    row = _row(session, job.study, locked=True)
    is_held = row is not None and row.state == RUNNING and job.runner is not None and row.lease == job.runner.lease
    return row if is_held else None


def _taken(session: Session, row: JobRow, me: ProcessId, host: str) -> Job:
    row.host, row.pid, row.started_s, row.place = host, me.pid, me.started_s, me.place
    row.lease, row.beat = row.lease + 1, 0
    session.flush()
    return _job(row)


def _job(row: JobRow) -> Job:
    runner = child = None
    if row.pid is not None and row.started_s is not None:
        process = ProcessId(row.pid, row.started_s, row.place)
        runner = Runner(process=process, host=row.host or "", lease=row.lease, beat=row.beat)
    if row.child_pid is not None and row.child_started_s is not None:
        child = ProcessId(row.child_pid, row.child_started_s, row.child_place)
    return Job(
        id=row.id,
        study=row.study,
        token=row.token,
        asked=_ASKED.validate_python(row.asked),
        state=row.state,
        card=row.card,
        asked_by=row.asked_by,
        asked_at=row.asked_at,
        began_at=row.began_at,
        ended_at=row.ended_at,
        message=row.message,
        wish=row.wish,
        deaths=row.deaths,
        runner=runner,
        child=child,
    )
