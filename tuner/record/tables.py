"""The tables of tuner, as SQLAlchemy sees them. They share a database with Optuna's tables and have no key into them.

The link to Optuna is by value: a study has the same name there, a trial the same number.
"""

from datetime import UTC, datetime

from pydantic import JsonValue
from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

VERSION_TABLE = "tuner_alembic_version"
PREFIX = "tuner_"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored in UTC; SQLite keeps no time zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; a datetime without a time zone is a bug and raises ValueError."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From UTC."""
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


class Base(DeclarativeBase):
    """Constraints get names, because SQLite can drop only what has one."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class StudyRow(Base):
    """One study: what was asked, and where it was measured. The `tuner_` columns name the tuner that is running it: `lease`
    grows with each, and `beat` while it lives."""

    __tablename__ = PREFIX + "study"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    gpu: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    workload: Mapped[str] = mapped_column(Text)
    objective: Mapped[str] = mapped_column(Text)
    direction: Mapped[str] = mapped_column(Text)
    space_digest: Mapped[str] = mapped_column(Text)
    space: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[JsonValue] = mapped_column(JSON, nullable=False)
    settings: Mapped[JsonValue] = mapped_column(JSON, nullable=False)
    tuner_host: Mapped[str | None] = mapped_column(Text)
    tuner_pid: Mapped[int | None]
    tuner_started_s: Mapped[float | None] = mapped_column(Float(53))
    tuner_place: Mapped[str | None] = mapped_column(Text)
    held_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    lease: Mapped[int] = mapped_column(server_default="0", default=0)
    beat: Mapped[int] = mapped_column(server_default="0", default=0)


class TrialRow(Base):
    """One trial. `outcome` and `ended_at` are null until it ended; `failure_kind` is null for a measurement.

    `state` is "running" or "finished"; `attempts` counts how often it was begun; 0 is what was never launched: refused, or
    the twin of another, whose number is in `outcome`. `digest`, `compile_key`, `effective` are null where an older tuner wrote;
    `predicted` is what the model of a server said before the launch, null where it said nothing. `baseline` are the flags of
    the user's own settings, `explains` which trial is launched with which settings reset; null for what the search proposed.
    `place` is where it was launched.
    """

    __tablename__ = PREFIX + "trial"
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        Index("ix_tuner_trial_progress", "study_id", "state", "attempts"),  # to count without reading a row
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id))
    number: Mapped[int]
    state: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int]
    params: Mapped[JsonValue] = mapped_column(JSON, nullable=False)
    is_default: Mapped[bool]
    resolved: Mapped[JsonValue] = mapped_column(JSON, nullable=False)
    command: Mapped[JsonValue] = mapped_column(JSON, nullable=False)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    failure_kind: Mapped[str | None] = mapped_column(Text)
    outcome: Mapped[JsonValue] = mapped_column(JSON(none_as_null=True), nullable=True)
    violations: Mapped[JsonValue] = mapped_column(JSON, nullable=False)
    digest: Mapped[str | None] = mapped_column(Text)
    compile_key: Mapped[str | None] = mapped_column(Text)
    effective: Mapped[JsonValue] = mapped_column(JSON(none_as_null=True), nullable=True)
    predicted: Mapped[JsonValue] = mapped_column(JSON(none_as_null=True), nullable=True)
    baseline: Mapped[str | None] = mapped_column(Text)
    explains: Mapped[JsonValue] = mapped_column(JSON(none_as_null=True), nullable=True)
    place: Mapped[JsonValue] = mapped_column(JSON(none_as_null=True), nullable=True)

    study: Mapped[StudyRow] = relationship()
    metrics: Mapped[list["MetricRow"]] = relationship(cascade="all, delete-orphan")


class MetricRow(Base):
    """One number of a measured trial, for SQL; the truth is the trial's outcome. A failed trial has none."""

    __tablename__ = PREFIX + "metric"

    trial_id: Mapped[int] = mapped_column(ForeignKey(TrialRow.id), primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[float] = mapped_column(Float(53))


class LaunchRow(Base):
    """One started server. `ended_at` is null while it may be alive: where its tuner is dead, it was left behind. `pid` leads
    the session `pgid`; `start` is "plain" or "warm"; `place` is where the pids are, null for what an older tuner launched."""

    __tablename__ = PREFIX + "launch"

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey(TrialRow.id))
    host: Mapped[str] = mapped_column(Text)
    tuner_pid: Mapped[int]
    tuner_started_s: Mapped[float] = mapped_column(Float(53))
    pid: Mapped[int]
    pgid: Mapped[int]
    process_started_s: Mapped[float] = mapped_column(Float(53))
    port: Mapped[int]
    log: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    start: Mapped[str] = mapped_column(Text, server_default="plain")
    place: Mapped[str | None] = mapped_column(Text)

    trial: Mapped[TrialRow] = relationship()
    processes: Mapped[list["ProcessRow"]] = relationship(cascade="all, delete-orphan")


class ProcessRow(Base):
    """One process of a launch, with the start time that tells it from a later one of the same pid."""

    __tablename__ = PREFIX + "process"

    launch_id: Mapped[int] = mapped_column(ForeignKey(LaunchRow.id), primary_key=True)
    pid: Mapped[int] = mapped_column(primary_key=True)
    started_s: Mapped[float] = mapped_column(Float(53))


class ContestRow(Base):
    """One contest of a study: the trials that were launched again together, the most promising first, each at most `rounds`
    times."""

    __tablename__ = PREFIX + "contest"
    __table_args__ = (UniqueConstraint("study_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id))
    number: Mapped[int]
    candidates: Mapped[JsonValue] = mapped_column(JSON, nullable=False)
    rounds: Mapped[int]
    began_at: Mapped[datetime] = mapped_column(UtcDateTime)


class VerificationRow(Base):
    """One more launch of a trial, in a contest after the search; of role "explain" it is no part of the contest."""

    __tablename__ = PREFIX + "verification"
    __table_args__ = (UniqueConstraint("study_id", "contest", "round", "trial_number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id))
    contest: Mapped[int] = mapped_column(server_default="1")
    round: Mapped[int]
    role: Mapped[str] = mapped_column(Text)
    trial_number: Mapped[int]
    command: Mapped[JsonValue] = mapped_column(JSON, nullable=False)
    outcome: Mapped[JsonValue] = mapped_column(JSON, nullable=False)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ProposalRow(Base):
    """What a drift of the traffic of the servers at `urls` led to: a study of the new traffic, and what it would change. The
    `holder_` columns name the tuner that runs its canary."""

    __tablename__ = PREFIX + "proposal"

    id: Mapped[int] = mapped_column(primary_key=True)
    urls: Mapped[JsonValue] = mapped_column(JSON, nullable=False)
    study_before: Mapped[str] = mapped_column(Text)
    study_after: Mapped[str] = mapped_column(Text)
    drift: Mapped[str] = mapped_column(Text)
    workload: Mapped[JsonValue] = mapped_column(JSON, nullable=False)
    workload_changes: Mapped[JsonValue] = mapped_column(JSON, nullable=False)
    settings_changes: Mapped[JsonValue] = mapped_column(JSON, nullable=False)
    verdict: Mapped[str | None] = mapped_column(Text)
    gain: Mapped[float | None] = mapped_column(Float(53))
    trial: Mapped[int | None]
    state: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    holder_host: Mapped[str | None] = mapped_column(Text)
    holder_pid: Mapped[int | None]
    holder_started_s: Mapped[float | None] = mapped_column(Float(53))
    holder_place: Mapped[str | None] = mapped_column(Text)
    canary_url: Mapped[str | None] = mapped_column(Text)


class AuditRow(Base):
    """One step, of a proposal or of none: `who` did `what`, and `why`. Never changed, never deleted."""

    __tablename__ = PREFIX + "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    proposal: Mapped[int | None] = mapped_column(index=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    who: Mapped[str] = mapped_column(Text)
    what: Mapped[str] = mapped_column(Text)
    why: Mapped[str] = mapped_column(Text)


class JobRow(Base):
    """A study that was asked of `tuner serve`. `host` to `place` name the service that runs it, null while none does: `lease`
    grows with each, and `beat` while it lives. The `child_` columns name the process that runs the study."""

    __tablename__ = PREFIX + "job"

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(Text, unique=True)
    token: Mapped[str] = mapped_column(Text)
    asked: Mapped[JsonValue] = mapped_column(JSON, nullable=False)
    state: Mapped[str] = mapped_column(Text, index=True)
    card: Mapped[str] = mapped_column(Text)
    asked_by: Mapped[str] = mapped_column(Text)
    asked_at: Mapped[datetime] = mapped_column(UtcDateTime)
    began_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    message: Mapped[str | None] = mapped_column(Text)
    wish: Mapped[str | None] = mapped_column(Text)
    deaths: Mapped[int] = mapped_column(server_default="0", default=0)
    host: Mapped[str | None] = mapped_column(Text)
    pid: Mapped[int | None]
    started_s: Mapped[float | None] = mapped_column(Float(53))
    place: Mapped[str | None] = mapped_column(Text)
    lease: Mapped[int] = mapped_column(server_default="0", default=0)
    beat: Mapped[int] = mapped_column(server_default="0", default=0)
    child_pid: Mapped[int | None]
    child_started_s: Mapped[float | None] = mapped_column(Float(53))
    child_place: Mapped[str | None] = mapped_column(Text)


class QualityRow(Base):
    """What a launch of a contest answered to fixed questions. `answers` is packed (tuner/record/qualities.py); `nll` is the
    mean of its pieces of text, in nats a token, for SQL."""

    __tablename__ = PREFIX + "quality"
    __table_args__ = (UniqueConstraint("study_id", "trial_number", "contest", "round"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id))
    trial_number: Mapped[int]
    contest: Mapped[int]
    round: Mapped[int]
    nll: Mapped[float | None] = mapped_column(Float(53))
    answers: Mapped[bytes] = mapped_column(LargeBinary)


class TimelineRow(Base):
    """How a load went, second by second: of a trial's measurement, or where `contest` and `round` are not null, of one of its
    further launches. `samples` is packed (tuner/record/timelines.py); it is read for those alone who draw it."""

    __tablename__ = PREFIX + "timeline"
    __table_args__ = (UniqueConstraint("study_id", "trial_number", "contest", "round"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id))
    trial_number: Mapped[int]
    contest: Mapped[int | None]
    round: Mapped[int | None]
    samples: Mapped[bytes] = mapped_column(LargeBinary)
