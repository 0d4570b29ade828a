"""The records of this stage, and how they and the trials become rows and come back unchanged.

Values of environment variables that look like secrets are never stored, only their names. It runs no query.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

from tuner.record.tables import ContestRow, LaunchRow, StudyRow, TrialRow, VerificationRow
from tuner.space.words import is_secret
from tuner.types import (
    Command,
    Explains,
    Fingerprint,
    Outcome,
    Params,
    Place,
    Predicted,
    ProcessId,
    Proposal,
    Trial,
    Twin,
)

#: The role of a launch that is no part of a contest: it says what each setting of the winner brings.
EXPLAIN = "explain"

_COMMAND = TypeAdapter(Command)
_NUMBERS = TypeAdapter(tuple[int, ...])
_FINGERPRINT = TypeAdapter(Fingerprint)
_PREDICTED: TypeAdapter[Predicted | None] = TypeAdapter(Predicted | None)
_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)
_TRIAL_OUTCOME: TypeAdapter[Outcome | Twin] = TypeAdapter(Outcome | Twin)
_PARAMS: TypeAdapter[Params] = TypeAdapter(Params)
_SETTINGS: TypeAdapter[Mapping[str, JsonValue]] = TypeAdapter(Mapping[str, JsonValue])
_EXPLAINS: TypeAdapter[Explains | None] = TypeAdapter(Explains | None)
_PLACE: TypeAdapter[Place | None] = TypeAdapter(Place | None)
_VIOLATIONS: TypeAdapter[Mapping[str, float]] = TypeAdapter(Mapping[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """What a study is about. `space` is the search space as text and `space_digest` its hash; `settings` is whatever is
    needed to continue. Optuna's study has the same name."""

    name: str
    created_at: datetime
    gpu: str
    model: str
    workload: str
    objective: str
    direction: str
    space_digest: str
    space: str
    fingerprint: Fingerprint
    settings: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who runs a study: a process on a host, `since` when (None: an older tuner). `lease` grows with each holder, `beat` while
    it lives."""

    process: ProcessId
    host: str
    since: datetime | None
    lease: int
    beat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A server that `tuner` started on `host`, "plain" or "warm". `leader` leads its session; `processes` are all seen."""

    id: int
    study: str
    number: int
    host: str
    tuner: ProcessId
    leader: ProcessId
    processes: frozenset[ProcessId]
    start: str
    port: int
    log: Path
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """One more launch of a trial's settings, in a contest. `role` is "defaults", "finalist" or "baseline"; each has one in a
    `round`. Launches of role "explain", after the contest, say what each setting of the winner brings."""

    contest: int = 1
    round: int
    role: str
    trial_number: int
    command: Command
    outcome: Outcome
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredContest:
    """What was launched again together: trials by number, the most promising first, each at most `rounds` times."""

    number: int
    candidates: tuple[int, ...]
    rounds: int


def shared(fingerprint: JsonValue, *, mps: bool) -> JsonValue:
    """The same with another way in which engines share a GPU."""
    return {**asdict(_FINGERPRINT.validate_python(fingerprint)), "mps": mps}


def differences(a: Fingerprint, b: Fingerprint) -> list[str]:
    """The conditions in which two fingerprints differ, with both values: ["engine_version: '0.32.0', now '0.33.0'"]."""
    before, now = a.conditions(), b.conditions()
    return [f"{key}: {before[key]!r}, now {now[key]!r}" for key in before if before[key] != now[key]]


def space_differences(before: str, now: str) -> list[str]:
    """In what two search spaces differ, both as JSON: what is fixed, key by key with both values, and the names of the rest."""
    try:
        old, new = json.loads(before), json.loads(now)
    except ValueError:  # written by an older tuner
        return ["another search space"]
    found = []
    for part in ("fixed", "environment"):
        one, other = old.get(part) or {}, new.get(part) or {}
        for key in sorted({*one, *other}):
            if one.get(key) != other.get(key):
                found.append(f"{key}: {one.get(key, 'not given')}, now {other.get(key, 'not given')}")
    searched = [space.get("parameters") or {} for space in (old, new)]
    for key in sorted({*searched[0], *searched[1]}):
        if searched[0].get(key) != searched[1].get(key) and not any(line.startswith(f"{key}:") for line in found):
            found.append(f"{key} is searched otherwise")
    found += [f"the {part} of the search space" for part in ("rules", "enqueue") if old.get(part) != new.get(part)]
    return found or ["another search space"]


def study_row(record: StudyRecord) -> StudyRow:
    return StudyRow(
        **{field: getattr(record, field) for field in StudyRecord.__slots__}
        | {
            "fingerprint": asdict(record.fingerprint),
            "settings": dict(record.settings),
        }
    )


def study_record(row: StudyRow) -> StudyRecord:
    return StudyRecord(
        name=row.name,
        created_at=row.created_at,
        gpu=row.gpu,
        model=row.model,
        workload=row.workload,
        objective=row.objective,
        direction=row.direction,
        space_digest=row.space_digest,
        space=row.space,
        fingerprint=_FINGERPRINT.validate_python(row.fingerprint),
        settings=_SETTINGS.validate_python(row.settings),
    )


def holder(row: StudyRow) -> Holder | None:
    if row.tuner_pid is None or row.tuner_started_s is None:
        return None
    process = ProcessId(row.tuner_pid, row.tuner_started_s, row.tuner_place)
    host = row.tuner_host or "an unknown host"
    return Holder(process=process, host=host, since=row.held_since, lease=row.lease, beat=row.beat)


def proposal(row: TrialRow) -> Proposal:
    return Proposal(
        number=row.number,
        params=_PARAMS.validate_python(row.params),
        is_default=row.is_default,
        baseline=row.baseline,
        explains=_EXPLAINS.validate_python(row.explains),
    )


def trial(row: TrialRow) -> Trial:
    """The trial of a row that has an outcome."""
    assert row.ended_at is not None
    return Trial(
        number=row.number,
        params=_PARAMS.validate_python(row.params),
        is_default=row.is_default,
        resolved=_PARAMS.validate_python(row.resolved),
        command=_COMMAND.validate_python(row.command),
        outcome=_TRIAL_OUTCOME.validate_python(row.outcome),
        violations=_VIOLATIONS.validate_python(row.violations),
        started_at=row.started_at,
        ended_at=row.ended_at,
        attempts=row.attempts,
        digest=row.digest,
        compile_key=row.compile_key,
        effective=_PARAMS.validate_python(row.effective or {}),
        predicted=_PREDICTED.validate_python(row.predicted),
        baseline=row.baseline,
        explains=_EXPLAINS.validate_python(row.explains),
        place=_PLACE.validate_python(row.place),
    )


def launch(row: LaunchRow) -> Launch:
    return Launch(
        id=row.id,
        study=row.trial.study.name,
        number=row.trial.number,
        host=row.host,
        tuner=ProcessId(row.tuner_pid, row.tuner_started_s, row.place),
        leader=ProcessId(row.pid, row.process_started_s, row.place),
        processes=frozenset(ProcessId(process.pid, process.started_s, row.place) for process in row.processes),
        start=row.start,
        port=row.port,
        log=Path(row.log),
        started_at=row.started_at,
    )


def verification(row: VerificationRow) -> Verification:
    return Verification(
        contest=row.contest,
        round=row.round,
        role=row.role,
        trial_number=row.trial_number,
        command=_COMMAND.validate_python(row.command),
        outcome=_OUTCOME.validate_python(row.outcome),
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def contest(row: ContestRow) -> StoredContest:
    return StoredContest(number=row.number, candidates=_NUMBERS.validate_python(row.candidates), rounds=row.rounds)


def command_json(command: Command) -> JsonValue:
    """The command without the values of secret variables, whose names stay."""
    secret = sorted(name for name in command.environment if is_secret(name))
    public = {name: value for name, value in command.environment.items() if name not in secret}
    return {
        "argv": list(command.argv),
        "model": command.model,
        "settings": dict(command.settings),
        "environment": {**public},
        "secret_names": [*secret],
    }


def place_json(place: Place | None) -> JsonValue:
    tree: JsonValue = _PLACE.dump_python(place, mode="json")
    return tree


def explains_json(explains: Explains | None) -> JsonValue:
    tree: JsonValue = _EXPLAINS.dump_python(explains, mode="json")
    return tree


def predicted_json(predicted: Predicted | None) -> JsonValue:
    tree: JsonValue = _PREDICTED.dump_python(predicted, mode="json")
    return tree


def outcome_json(outcome: Outcome | Twin) -> JsonValue:
    """Without its time line and its answers, which have tables of their own."""
    tree: JsonValue = _TRIAL_OUTCOME.dump_python(outcome, mode="json", exclude={"timeline", "quality"})
    return tree
