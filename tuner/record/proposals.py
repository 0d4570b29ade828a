"""Proposals and the audit log in and out of the database: each call is one durable transaction, and each change of a proposal
writes its entry of the log in the same one.

A proposal goes from one state to another only as `_NEXT` allows, whoever asks at the same time. The log is only added to: there
is nothing here that changes or deletes an entry. It does not know what a canary is, and no command is ever stored.
"""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import JsonValue, TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from tuner.errors import RunError, UsageError
from tuner.record.store import Store
from tuner.record.tables import AuditRow, ProposalRow
from tuner.types import ProcessId


class State(StrEnum):
    """Where a proposal is: its study is not decided yet, it waits for a person, and what became of it."""

    TUNING = "tuning"
    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    CANARY = "canary"
    DEPLOYED = "deployed"  # the canary is kept; all other replicas are the operator's to change
    REVERTED = "reverted"
    FAILED = "failed"


#: `approved` to `approved` is another person's yes; a canary that was left unfinished may be given up.
_NEXT: Mapping[State, frozenset[State]] = {
    State.TUNING: frozenset({State.OPEN, State.REJECTED, State.FAILED}),
    State.OPEN: frozenset({State.APPROVED, State.REJECTED}),
    State.APPROVED: frozenset({State.APPROVED, State.REJECTED, State.CANARY}),
    State.CANARY: frozenset({State.DEPLOYED, State.REVERTED, State.FAILED, State.REJECTED}),
    State.REJECTED: frozenset(),
    State.DEPLOYED: frozenset(),
    State.REVERTED: frozenset({State.APPROVED, State.REJECTED}),
    State.FAILED: frozenset({State.APPROVED, State.REJECTED}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One line of a diff: what it was and what it becomes, as text; None where there was, or will be, nothing."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An entry of the log."""

    proposal: int | None
    at: datetime
    who: str
    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """A proposal before it is stored: the drift in a sentence, and the study that is to decide. `workload` is the new one, as
    workload/stored.py writes it."""

    urls: tuple[str, ...]
    study_before: str
    study_after: str
    drift: str
    workload: Mapping[str, JsonValue]
    workload_changes: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What the study has decided: its answer in a sentence, its gain over vLLM's defaults where it was verified, the trial to
    deploy, and what that changes."""

    verdict: str
    gain: float | None
    trial: int
    settings_changes: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The tuner that runs a canary, on `host`."""

    process: ProcessId
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredProposal:
    """A proposal as it is stored. `trial`, `verdict` and `settings_changes` are there once the study has decided; `holder` and
    `canary_url` in the state `canary` only."""

    number: int
    urls: tuple[str, ...]
    study_before: str
    study_after: str
    drift: str
    workload: Mapping[str, JsonValue]
    workload_changes: tuple[Difference, ...]
    settings_changes: tuple[Difference, ...]
    verdict: str | None
    gain: float | None
    trial: int | None
    state: State
    created_at: datetime
    changed_at: datetime
    holder: Holder | None
    canary_url: str | None


_TEXTS = TypeAdapter(tuple[str, ...])
_DIFFERENCES = TypeAdapter(tuple[Difference, ...])
_WORKLOAD: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


class Proposals:
    """Those of a database. Methods raise StorageError for what it refuses, UsageError for a number that it has not."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def draft(self, drafted: Drafted, step: Step) -> int:
        """Store a new one, in state `tuning`; its number."""
        with self._store.transaction() as session:
            row = ProposalRow(
                urls=[*drafted.urls],
                study_before=drafted.study_before,
                study_after=drafted.study_after,
                drift=drafted.drift,
                workload=dict(drafted.workload),
                workload_changes=_json(drafted.workload_changes),
                settings_changes=[],
                state=State.TUNING.value,
                created_at=step.at,
                changed_at=step.at,
            )
            session.add(row)
            session.flush()
            _note(session, row.id, step)
            return row.id

    def decide(self, number: int, decided: Decided, step: Step) -> None:
        """Its study has found something to deploy: from `tuning` to `open`."""
        with self._moving(number, State.OPEN, step) as row:
            row.verdict, row.gain, row.trial = decided.verdict, decided.gain, decided.trial
            row.settings_changes = _json(decided.settings_changes)

    def move(self, number: int, to: State, step: Step) -> None:
        """To another state than `canary`. Raises RunError where its state does not allow that."""
        with self._moving(number, to, step) as row:
            row.holder_host, row.holder_pid, row.holder_started_s, row.holder_place = None, None, None, None
            row.canary_url = None

    def begin_canary(self, number: int, me: ProcessId, url: str, step: Step) -> None:
        """From `approved` to `canary`, run by this process. Raises RunError where its state does not allow that, or where
        another canary of the same servers is under way."""
        with self._moving(number, State.CANARY, step) as row:
            row.holder_host, row.holder_pid = socket.gethostname(), me.pid
            row.holder_started_s, row.holder_place = me.started_s, me.place
            row.canary_url = url

    def get(self, number: int) -> StoredProposal:
        """Raises UsageError when there is none of that number."""
        with self._store.transaction() as session:
            return _stored(self._row(session, number))

    def listed(self, *states: State, limit: int | None = None, before: int | None = None) -> list[StoredProposal]:
        """The newest first; in these states, or in any; those with a smaller number than `before`."""
        with self._store.transaction() as session:
            wanted = select(ProposalRow).order_by(ProposalRow.id.desc())
            if states:
                wanted = wanted.where(ProposalRow.state.in_([state.value for state in states]))
            if before is not None:
                wanted = wanted.where(ProposalRow.id < before)
            return [_stored(row) for row in session.scalars(wanted.limit(limit))]

    def note(self, step: Step) -> None:
        """Add an entry to the log alone."""
        with self._store.transaction() as session:
            _note(session, step.proposal, step)

    def log(self, number: int | None = None) -> list[Step]:
        """The entries, in the order of their writing: of one proposal, or all."""
        with self._store.transaction() as session:
            wanted = select(AuditRow).order_by(AuditRow.id)
            if number is not None:
                wanted = wanted.where(AuditRow.proposal == number)
            return [
                Step(proposal=row.proposal, at=row.at, who=row.who, what=row.what, why=row.why)
                for row in session.scalars(wanted)
            ]

    @contextmanager
    def _moving(self, number: int, to: State, step: Step) -> Iterator[ProposalRow]:
        with self._store.transaction() as session:
            row = self._row(session, number)
            if to not in _NEXT[now := State(row.state)]:
                raise RunError(f"proposal {number} is {now.value}, and from there it cannot become {to.value}")
            row.state, row.changed_at = to.value, step.at
            yield row
            _note(session, number, step)

    def _row(self, session: Session, number: int) -> ProposalRow:
        row = session.scalar(select(ProposalRow).where(ProposalRow.id == number).with_for_update())
        if row is None:
            raise UsageError(f"{self._store.name} has no proposal {number}: `tuner proposals` lists them")
        return row


def _note(session: Session, number: int | None, step: Step) -> None:
    session.add(AuditRow(proposal=number, at=step.at, who=step.who, what=step.what, why=step.why))


def _json(differences: Sequence[Difference]) -> JsonValue:
    tree: JsonValue = _DIFFERENCES.dump_python(tuple(differences), mode="json")
    return tree


def _stored(row: ProposalRow) -> StoredProposal:
    held = None
    if row.holder_pid is not None and row.holder_started_s is not None:
        process = ProcessId(row.holder_pid, row.holder_started_s, row.holder_place)
        held = Holder(process=process, host=row.holder_host or "an unknown host")
    return StoredProposal(
        number=row.id,
        urls=_TEXTS.validate_python(row.urls),
        study_before=row.study_before,
        study_after=row.study_after,
        drift=row.drift,
        workload=_WORKLOAD.validate_python(row.workload),
        workload_changes=_DIFFERENCES.validate_python(row.workload_changes),
        settings_changes=_DIFFERENCES.validate_python(row.settings_changes),
        verdict=row.verdict,
        gain=row.gain,
        trial=row.trial,
        state=State(row.state),
        created_at=row.created_at,
        changed_at=row.changed_at,
        holder=held,
        canary_url=row.canary_url,
    )
