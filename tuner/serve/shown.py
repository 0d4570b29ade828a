"""What the service answers, as frozen records: their fields are the API. It knows no database and no HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from tuner.types import Value

#: Of a study: of its job, or "idle" where none was asked for here. One that a terminal runs is "running", too.
State = Literal["queued", "running", "paused", "finished", "failed", "cancelled", "idle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best trial of the search, by the first objective: its `metric` is `value`, in `unit`."""

    trial: int
    value: float
    metric: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictShown:
    """What the study says: a word of docs/service.md, a sentence, the trial it is about, and its gain (0.25: 25 %)."""

    answer: str
    sentence: str
    trial: int | None
    gain: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyShown:
    """A study. `trials_wanted` is None of one that was not asked for here; `unreal` is SIMULATED or REPLAYED where nothing ran.
    `best` and `verdict` are None where there is none yet; in a list also where they are still being worked out."""

    name: str
    model: str
    gpu: str
    workload: str
    objective: tuple[str, ...]
    slo: tuple[str, ...]
    state: State
    message: str | None
    created_at: datetime
    trials_finished: int
    trials_wanted: int | None
    best: Best | None
    verdict: VerdictShown | None
    unreal: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPage:
    """The newest first. `next` begins the next page; None at the end."""

    studies: tuple[StudyShown, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureShown:
    """Why a trial has no measurement."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialShown:
    """A trial. `state` is "running" (also of one that was interrupted) or "finished"; `status` says in words what came of it.
    `settings` are those that differ from the defaults'; `metrics` are by their names with units; `equals` is the trial whose
    server it would repeat."""

    trial: int
    state: Literal["running", "finished"]
    status: str
    settings: Mapping[str, Value]
    is_default: bool
    metrics: Mapping[str, float] = field(default_factory=dict)
    failure: FailureShown | None = None
    marks: tuple[str, ...] = ()
    equals: int | None = None
    slo_violations: Mapping[str, float] = field(default_factory=dict)
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPage:
    """By number. `next` begins the next page; None at the end."""

    trials: tuple[TrialShown, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BestShown:
    """What a study recommends: the trial, the command that it ran, and what the study says of it. `headless` are the commands
    of the other engines where several share each GPU: all run at once."""

    study: str
    trial: TrialShown
    command: tuple[str, ...]
    headless: tuple[tuple[str, ...], ...]
    environment: Mapping[str, str]
    verdict: VerdictShown
    cautions: tuple[str, ...]
    unreal: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextShown:
    """A file to download or to show."""

    text: str
    content_type: str
    file_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuShown:
    """A search space, and the cards that it is for; the CPU's has none."""

    name: str
    gpu: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may ask for at the most."""

    trials: int = 1000
    hours: float | None = None
    users: int = 10_000
    verify: int = 50
    queued: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionsShown:
    """What a request may name."""

    models: tuple[str, ...]
    gpus: tuple[GpuShown, ...]
    workloads: tuple[str, ...]
    objectives: tuple[str, ...]
    samplers: tuple[str, ...]
    engines: tuple[str, ...]
    engine_args: tuple[str, ...]
    secrets: tuple[str, ...]
    formats: tuple[str, ...]
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthShown:
    """Whether the service can do its work. `queue` is "running", or "stopped" where nobody starts what is queued."""

    status: Literal["ok", "unwell"]
    database: Literal["reachable", "unreachable"]
    queue: Literal["running", "stopped"]
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorShown:
    """What is wrong, in one sentence."""

    error: str
