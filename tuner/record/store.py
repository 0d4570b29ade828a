"""Studies and trials as frozen records in; the same out, after a crash too: every call is one durable transaction.

One process writes; others may read meanwhile. It does not know what a good trial is, and nothing of Optuna's tables.
"""

import functools
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import URL, Engine, select
from sqlalchemy.orm import Session

from tuner.errors import StorageError, UsageError, did_you_mean
from tuner.patience import Patience
from tuner.record import rows
from tuner.record.connect import Opener, connect, display_name, parse_url, storage_errors
from tuner.record.deleting import delete_rows
from tuner.record.migrate import is_older, migrate
from tuner.record.qualities import key_of, quality_row, with_quality
from tuner.record.rows import Holder, Launch, StoredContest, StudyRecord, Verification, differences
from tuner.record.tables import (
    ContestRow,
    LaunchRow,
    MetricRow,
    ProcessRow,
    QualityRow,
    StudyRow,
    TimelineRow,
    TrialRow,
    VerificationRow,
)
from tuner.record.timelines import StoredTimeline, packed, unpacked
from tuner.types import Command, Failed, Measured, Outcome, ProcessId, Proposal, Resolved, Trial, Twin

_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")


def _patient(
    method: "Callable[Concatenate[Store, _Given], _Found]",
) -> "Callable[Concatenate[Store, _Given], _Found]":
    """While a study waits for a server that is away, the method is called again. What it wrote before the connection was lost
    may have been committed: where `patience.is_again`, it must see that, and write nothing twice."""

    @functools.wraps(method)
    def call(store: "Store", /, *arguments: _Given.args, **options: _Given.kwargs) -> _Found:
        return store.patience.of(lambda: method(store, *arguments, **options))

    return call


class Store:
    """The database. All methods raise StorageError, in one sentence, for what the database refuses."""

    def __init__(self, engine: Engine, url: URL, opener: Opener | None) -> None:
        self._engine = engine
        self._url = url
        self._leases: dict[str, int] = {}
        self._ended: dict[int, datetime] = {}
        self.patience = Patience()
        self.opener = opener  # of the file of a SQLite database; None for PostgreSQL

    @classmethod
    def open(cls, url: str, *, read_only: bool = False) -> Self:
        """Open `sqlite:///FILE` or `postgresql://...`, brought to the newest schema, and made unless `read_only`.

        Raises UsageError for a URL that cannot be meant, StorageError for a database that cannot be used.
        """
        parsed, older = parse_url(url), False
        with storage_errors(parsed):
            engine, opener = connect(parsed, read_only=read_only)
            try:
                with engine.begin() as connection:
                    if read_only:
                        older = is_older(connection, display_name(parsed))
                    else:
                        migrate(connection, display_name(parsed))
            except BaseException:
                engine.dispose()
                raise
        if older:
            engine.dispose()
            cls.open(url).close()
            return cls.open(url, read_only=True)
        return cls(engine, parsed, opener)

    @property
    def name(self) -> str:
        """How to call the database on the screen; never shows a password."""
        return display_name(self._url)

    @property
    def url(self) -> str:
        """The URL for Optuna's storage, its password included: not for the screen."""
        return self._url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    @_patient
    def create_or_get_study(self, record: StudyRecord) -> StudyRecord:
        """Begin the study, or return the stored one of that name.

        Raises UsageError when the stored one was measured elsewhere or searched something else: the numbers of the two
        could not be compared.
        """
        with self._transaction() as session:
            row = session.scalar(select(StudyRow).where(StudyRow.name == record.name))
            if row is None:
                session.add(rows.study_row(record))
                return record
            stored = rows.study_record(row)
        changed = differences(stored.fingerprint, record.fingerprint)
        for key in ("objective", "direction"):
            if (before := getattr(stored, key)) != (now := getattr(record, key)):
                changed.append(f"{key}: {before!r}, now {now!r}")
        if stored.space_digest != record.space_digest:
            changed += rows.space_differences(stored.space, record.space)
        if changed:
            raise UsageError(
                f"study {record.name!r} cannot be continued under other conditions ({'; '.join(changed)}): "
                "choose another --study"
            )
        return stored

    @_patient
    def share_gpus(self, study: str, *, mps: bool) -> None:
        """From now on engines that share a GPU have NVIDIA's multi-process service beneath them, or not; none has run yet."""
        with self._transaction() as session:
            row = self._study_row(session, study)
            row.fingerprint = rows.shared(row.fingerprint, mps=mps)

    @_patient
    def studies(self) -> list[StudyRecord]:
        """All studies, the oldest first."""
        with self._transaction() as session:
            return [rows.study_record(row) for row in session.scalars(select(StudyRow).order_by(StudyRow.id))]

    @_patient
    def study(self, name: str) -> StudyRecord:
        """The study of that name. Raises UsageError when there is none."""
        with self._transaction() as session:
            return rows.study_record(self._study_row(session, name))

    def holder(self, study: str) -> Holder | None:
        """Who runs the study, or did when it was killed."""
        with self._transaction() as session:
            return rows.holder(self._study_row(session, study))

    def take(self, study: str, me: ProcessId, instead_of: Holder | None, now: datetime) -> bool:
        """Hold the study, unless somebody else than `instead_of` does meanwhile. From then on whatever this store writes of it
        is refused once another has taken it."""
        with self._transaction() as session:
            row = self._locked(session, study)
            if rows.holder(row) != instead_of:
                return False
            row.tuner_host, row.tuner_pid, row.tuner_started_s = socket.gethostname(), me.pid, me.started_s
            row.tuner_place, row.held_since, row.lease = me.place, now, row.lease + 1
            taken = row.lease
        self._leases[study] = taken
        return True

    def beat(self, study: str) -> bool:
        """Say that the holder lives; False when it holds the study no longer."""
        with self._transaction() as session:
            row = session.scalar(select(StudyRow).where(StudyRow.name == study).with_for_update())
            if row is None or row.lease != self._leases.get(study):
                return False
            row.beat += 1
            return True

    def release(self, study: str) -> None:
        """Let the study go, if it is still held."""
        lease = self._leases.pop(study, None)
        with self._transaction() as session:
            row = session.scalar(select(StudyRow).where(StudyRow.name == study).with_for_update())
            if row is not None and row.lease == lease:
                row.tuner_host, row.tuner_pid, row.tuner_started_s = None, None, None
                row.tuner_place, row.held_since = None, None

    def forget(self, study: str) -> None:
        """No longer count as its holder, without telling a database that refuses."""
        self._leases.pop(study, None)

    def holds(self, study: str) -> bool:
        """Whether this store took the study, and has not let it go."""
        return study in self._leases

    @_patient
    def check_held(self, study: str) -> None:
        with self._transaction() as session:
            self._held(session, study)

    def delete_study(self, name: str) -> None:
        """With all that was measured; Optuna's study of that name stays. Raises UsageError when there is none."""
        with self._transaction() as session:
            delete_rows(session, self._held(session, name).id)

    def logs(self, study: str) -> list[Path]:
        """Where the servers of the study wrote theirs."""
        return [log for logs in self.logs_by_trial(study).values() for log in logs]

    @_patient
    def logs_by_trial(self, study: str) -> dict[int, list[Path]]:
        """Where the servers of each trial wrote theirs, the first one first."""
        with self._transaction() as session:
            mine = TrialRow.study_id == self._study_row(session, study).id
            launched = select(TrialRow.number, LaunchRow.log).join(TrialRow, LaunchRow.trial_id == TrialRow.id)
            found: dict[int, list[Path]] = {}
            for number, log in session.execute(launched.where(mine).order_by(LaunchRow.id)):
                if (path := Path(log)) not in (logs := found.setdefault(number, [])):
                    logs.append(path)
            return found

    def errors(self) -> AbstractContextManager[None]:
        """For what others do to the same database: what it refuses becomes a StorageError."""
        return storage_errors(self._url)

    @_patient
    def begin(self, study: str, proposal: Proposal, command: Command, resolved: Resolved, started_at: datetime) -> None:
        """Note that a trial starts; one that was begun before, and not finished, starts anew as its next attempt."""
        with self._transaction() as session:
            self._held(session, study)
            row = self._unfinished(session, study, proposal.number)
            row.attempts += not (self.patience.is_again and row.started_at == started_at)
            row.params, row.is_default = dict(proposal.params), proposal.is_default
            row.baseline, row.explains = proposal.baseline, rows.explains_json(proposal.explains)
            row.resolved, row.command = dict(resolved.settings), rows.command_json(command)
            row.digest, row.compile_key, row.effective = resolved.digest, resolved.compile_key, None
            row.started_at, row.ended_at = started_at, None
            row.failure_kind, row.outcome, row.violations = None, None, {}

    @_patient
    def finish(self, study: str, trial: Trial) -> None:
        """Store the trial with its outcome; durable on return. A failure that is not the settings' doing (a model folder that
        is gone, Ctrl-C) is stored too, but leaves the trial unfinished: it is run again."""
        failed = trial.outcome if isinstance(trial.outcome, Failed) else None
        with self._transaction() as session:
            self._held(session, study)
            stored = self._trial_row(session, study, trial.number) if self.patience.is_again else None
            if stored is not None and (stored.started_at, stored.ended_at) == (trial.started_at, trial.ended_at):
                return
            row = self._unfinished(session, study, trial.number)
            row.state = "finished" if failed is None or failed.kind.is_of_the_settings else "running"
            row.attempts = max(row.attempts, trial.attempts)
            row.params, row.is_default = dict(trial.params), trial.is_default
            row.baseline, row.explains = trial.baseline, rows.explains_json(trial.explains)
            row.place = rows.place_json(trial.place)
            row.resolved, row.command = dict(trial.resolved), rows.command_json(trial.command)
            row.digest, row.compile_key, row.effective = trial.digest, trial.compile_key, dict(trial.effective)
            row.started_at, row.ended_at = trial.started_at, trial.ended_at
            row.failure_kind = failed.kind.value if failed else None
            row.outcome = rows.outcome_json(trial.outcome)
            row.violations, row.predicted = dict(trial.violations), rows.predicted_json(trial.predicted)
            if isinstance(trial.outcome, Measured):
                row.metrics = [MetricRow(name=name, value=value) for name, value in trial.outcome.metrics().items()]
            _keep_timeline(session, row.study_id, trial.number, trial.outcome)

    @_patient
    def trials(self, study: str) -> list[Trial]:
        """The finished trials, by number."""
        with self._transaction() as session:
            return [rows.trial(row) for row in self._trial_rows(session, study, "finished")]

    @_patient
    def trial(self, study: str, number: int) -> Trial | None:
        """One trial, finished or with the failure of its last attempt; None where there is none, or it has not ended."""
        with self._transaction() as session:
            row = self._trial_row(session, study, number)
            return None if row is None or row.outcome is None else rows.trial(row)

    @_patient
    def unfinished(self, study: str) -> list[Trial]:
        """The trials whose last attempt failed by no fault of their settings, with that failure, by number."""
        with self._transaction() as session:
            return [rows.trial(row) for row in self._trial_rows(session, study, "running") if row.outcome is not None]

    @_patient
    def running(self, study: str) -> list[Proposal]:
        """What was begun but not finished (a crash, Ctrl-C), by number: to be run again."""
        with self._transaction() as session:
            return [rows.proposal(row) for row in self._trial_rows(session, study, "running")]

    @_patient
    def record_launch(
        self,
        study: str,
        number: int,
        *,
        tuner: ProcessId,
        leader: ProcessId,
        processes: Collection[ProcessId],
        start: str,
        port: int,
        log: Path,
        started_at: datetime,
    ) -> int:
        """Note a started server of a begun trial, before anything is waited for; returns the launch's id."""
        with self._transaction() as session:
            self._held(session, study)
            trial = self._trial_id(session, study, number)
            same = (LaunchRow.trial_id == trial, LaunchRow.pid == leader.pid, LaunchRow.started_at == started_at)
            known = session.scalar(select(LaunchRow.id).where(*same)) if self.patience.is_again else None
            if known is not None:
                return known
            row = LaunchRow(
                trial_id=trial,
                host=socket.gethostname(),
                tuner_pid=tuner.pid,
                tuner_started_s=tuner.started_s,
                place=tuner.place,
                pid=leader.pid,
                pgid=leader.pid,
                process_started_s=leader.started_s,
                start=start,
                port=port,
                log=str(log),
                started_at=started_at,
                processes=[ProcessRow(pid=known.pid, started_s=known.started_s) for known in processes],
            )
            session.add(row)
            session.flush()
            return row.id

    @_patient
    def record_processes(self, launch: int, processes: Collection[ProcessId]) -> None:
        """Note that these are the launch's processes, too."""
        with self._transaction() as session:
            for known in processes:
                session.merge(ProcessRow(launch_id=launch, pid=known.pid, started_s=known.started_s))

    def end_launch(self, launch: int, ended_at: datetime) -> None:
        """Note that nothing of the server is left; it waits for nothing, and what was refused is noted with the next one."""
        self._ended[launch] = ended_at
        ended = dict(self._ended)
        with self._transaction() as session:
            for one, at in ended.items():
                session.get_one(LaunchRow, one).ended_at = at
        for one in ended:
            self._ended.pop(one, None)

    @_patient
    def open_launches(self) -> list[Launch]:
        """The launches that nobody saw end, on any host."""
        with self._transaction() as session:
            found = session.scalars(select(LaunchRow).where(LaunchRow.ended_at.is_(None)).order_by(LaunchRow.id))
            return [rows.launch(row) for row in found]

    @_patient
    def begin_contest(self, study: str, candidates: Collection[int], rounds: int, began_at: datetime) -> StoredContest:
        """Note that these trials are to be launched again, as the study's next contest."""
        with self._transaction() as session:
            id, before = self._held(session, study).id, self._contest_rows(session, study)
            if self.patience.is_again and before and before[-1].began_at == began_at:
                return rows.contest(before[-1])
            row = ContestRow(study_id=id, number=len(before) + 1, candidates=[*candidates], rounds=rounds)
            row.began_at = began_at
            session.add(row)
            return rows.contest(row)

    @_patient
    def extend_contest(self, study: str, number: int, rounds: int) -> None:
        """Note that its settings may be launched so often from now on."""
        with self._transaction() as session:
            self._held(session, study)
            self._contest_rows(session, study)[number - 1].rounds = rounds

    @_patient
    def contests(self, study: str) -> list[StoredContest]:
        """Those of the study, the oldest first."""
        with self._transaction() as session:
            return [rows.contest(row) for row in self._contest_rows(session, study)]

    @_patient
    def add_verification(self, study: str, verification: Verification) -> None:
        """Store one verification run; a second one of the same contest, round and trial is refused."""
        columns = asdict(verification) | {
            "command": rows.command_json(verification.command),
            "outcome": rows.outcome_json(verification.outcome),
        }
        again = (verification.contest, verification.round)
        with self._transaction() as session:
            row = VerificationRow(study_id=self._held(session, study).id, **columns)
            same = (VerificationRow.trial_number == verification.trial_number, VerificationRow.ended_at == row.ended_at)
            known = select(VerificationRow.id).where(VerificationRow.study_id == row.study_id, *same)
            if self.patience.is_again and session.scalar(known) is not None:
                return
            session.add(row)
            _keep_timeline(session, row.study_id, verification.trial_number, verification.outcome, *again)
            if (asked := quality_row(verification, row.study_id)) is not None:
                session.add(asked)

    @_patient
    def verifications(self, study: str) -> list[Verification]:
        """The verification runs, in the order in which they ran."""
        with self._transaction() as session:
            id = self._study_row(session, study).id
            found = session.scalars(
                select(VerificationRow).where(VerificationRow.study_id == id).order_by(VerificationRow.id)
            )
            asked = session.scalars(select(QualityRow).where(QualityRow.study_id == id))
            answers = {key_of(row): row.answers for row in asked}
            return [with_quality(rows.verification(row), answers.get(key_of(row))) for row in found]

    def transaction(self) -> AbstractContextManager[Session]:
        """For the other files of this room."""
        return self._transaction()

    @_patient
    def timelines(self, study: str, trial: int | None = None) -> list[StoredTimeline]:
        """How the loads went of which that was recorded: of the study, or of one trial of it with its further launches."""
        with self._transaction() as session:
            mine = [TimelineRow.study_id == self._study_row(session, study).id]
            mine += [] if trial is None else [TimelineRow.trial_number == trial]
            found = session.scalars(select(TimelineRow).where(*mine).order_by(TimelineRow.id))
            return [
                StoredTimeline(
                    trial=row.trial_number, contest=row.contest, round=row.round, timeline=unpacked(row.samples)
                )
                for row in found
            ]

    @_patient
    def with_timelines(self, study: str) -> frozenset[int]:
        """The numbers of the trials that have any."""
        with self._transaction() as session:
            mine = TimelineRow.study_id == self._study_row(session, study).id
            return frozenset(session.scalars(select(TimelineRow.trial_number).where(mine).distinct()))

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with storage_errors(self._url), Session(self._engine) as session, session.begin():
            yield session

    def _study_row(self, session: Session, name: str) -> StudyRow:
        row = session.scalar(select(StudyRow).where(StudyRow.name == name))
        if row is None:
            near = did_you_mean(name, session.scalars(select(StudyRow.name)))
            raise UsageError(f"{self.name} has no study {name!r}{near}: `tuner studies` lists them")
        return row

    def _locked(self, session: Session, name: str) -> StudyRow:
        """The study, which nobody else writes until the transaction ends."""
        self._study_row(session, name)
        return session.scalars(
            select(StudyRow).where(StudyRow.name == name).with_for_update().execution_options(populate_existing=True)
        ).one()

    def _held(self, session: Session, name: str) -> StudyRow:
        """The study, to be written. Raises StorageError when it was held by this store, and another tuner has taken it."""
        row = self._locked(session, name)
        if (lease := self._leases.get(name)) is not None and row.lease != lease:
            raise StorageError(
                f"study {name!r} was taken over by another tuner (process {row.tuner_pid} on {row.tuner_host}): "
                "what is finished is kept, and that one goes on"
            )
        return row

    def _contest_rows(self, session: Session, study: str) -> list[ContestRow]:
        mine = ContestRow.study_id == self._study_row(session, study).id
        return [*session.scalars(select(ContestRow).where(mine).order_by(ContestRow.number))]

    def _trial_rows(self, session: Session, study: str, state: str) -> Iterator[TrialRow]:
        mine = (TrialRow.study_id == self._study_row(session, study).id, TrialRow.state == state)
        yield from session.scalars(select(TrialRow).where(*mine).order_by(TrialRow.number))

    def _trial_row(self, session: Session, study: str, number: int) -> TrialRow | None:
        mine = (TrialRow.study_id == self._study_row(session, study).id, TrialRow.number == number)
        return session.scalar(select(TrialRow).where(*mine))

    def _trial_id(self, session: Session, study: str, number: int) -> int:
        row = self._trial_row(session, study, number)
        if row is None:
            raise StorageError(f"trial {number} of study {study!r} in {self.name} was never begun")
        return row.id

    def _unfinished(self, session: Session, study: str, number: int) -> TrialRow:
        """The row of a trial that may still be written: a measurement is never overwritten."""
        row = self._trial_row(session, study, number)
        if row is None:
            row = TrialRow(study_id=self._study_row(session, study).id, number=number, state="running", attempts=0)
            session.add(row)
        elif row.state == "finished":
            raise StorageError(f"trial {number} of study {study!r} in {self.name} is finished already")
        return row


def _keep_timeline(
    session: Session,
    study: int,
    trial: int,
    outcome: Outcome | Twin,
    contest: int | None = None,
    round: int | None = None,
) -> None:
    """Where the load has one."""
    if isinstance(outcome, Measured) and outcome.timeline is not None:
        row = TimelineRow(study_id=study, trial_number=trial, contest=contest, round=round)
        row.samples = packed(outcome.timeline)
        session.add(row)
