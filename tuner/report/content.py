"""All that a report says, as one record: what stands between a database and the text that is made of it.

It does not know databases, commands, or how any of it will look.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tuner.decide.attribution import Attribution
from tuner.decide.before_after import BeforeAfter
from tuner.decide.objective import Objective
from tuner.decide.verdict import Decision
from tuner.diagnose.diagnosis import Diagnosis
from tuner.predict.agreement import Agreement
from tuner.types import Fingerprint, Importances, Outcome, Timeline, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """One launch of the verification: of trial `trial`, in round `round`."""

    trial: int
    round: int
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """How one measurement of a trial went: that of the search, or that of a round of the verification."""

    trial: int
    is_default: bool
    round: int | None
    timeline: Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosed:
    """What holds a trial back."""

    trial: int
    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How a study measured, None for what an older tuner did not keep. `workload` is its YAML, `precision`, `warmup_s` and
    `window_s` are the workload's, `rounds` how often each side may be launched again, `level` the chance of a wrong claim."""

    load: str
    workload: str | None
    slos: tuple[str, ...]
    precision: float | None
    warmup_s: float | None
    window_s: float | None
    max_window_s: float | None
    sampler: str | None
    start: str | None
    rounds: int | None
    level: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Of one study, as it stood at `made_at`. `state` is "running", "ended" or "not finished"; `answer` the verdict in words,
    with `cautions` beside it, and `command` what is to be deployed, None where that is nothing. `trials` are those that ended,
    by number, `begun` how many have not. `compared` are the defaults beside the winner, or else the best of the others.
    `attribution` is what each setting of the contest's winner brings, None where that was not launched. `diagnoses` are of the
    defaults and of what is recommended."""

    study: str
    made_at: datetime
    tuner_version: str
    created_at: datetime
    state: str
    unreal: str | None
    unreal_sentence: str | None
    gpu: str
    model: str
    workload: str
    fingerprint: Fingerprint
    method: Method
    objectives: tuple[Objective, ...]
    trials: tuple[Trial, ...]
    begun: int
    again: tuple[Again, ...]
    found: Decision
    answer: str
    cautions: tuple[str, ...]
    command: str | None
    compared: BeforeAfter | None
    importances: tuple[Importances, ...]
    attribution: Attribution | None
    time_lines: tuple[Drawn, ...]
    agreement: Agreement | None
    agreement_sentence: str | None
    diagnoses: tuple[Diagnosed, ...] = ()

    @property
    def by_number(self) -> Mapping[int, Trial]:
        return {trial.number: trial for trial in self.trials}
