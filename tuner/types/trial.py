"""A trial, as it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tuner.types.failure import Failed
from tuner.types.measured import Measured
from tuner.types.predicted import Predicted
from tuner.types.settings import Command, Explains, Params

Outcome = Measured | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """What a trial has instead of an outcome that was never launched, because its server would run as that of trial `equals`
    did; `why` says what makes them alike."""

    equals: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a trial was launched: in which of the slots, on which GPUs (UUIDs; none on the CPU), and beside how many other
    launches of its study at the most."""

    slot: int
    gpus: tuple[str, ...] = ()
    beside: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A finished trial. `params` are the values searched over (for the defaults: as vLLM resolved them); `resolved` are
    the engine settings that vLLM derived; `command` is what ran; `violations` is by how much each SLO was missed, as a
    fraction of its limit (<= 0: met; empty without SLOs or without a measurement); `attempts` is how often it was begun,
    0 if vLLM refused it before any launch, or if it is a twin. `digest` and `compile_key` are those of the engine's answer
    (Resolved); None in a study of an older tuner. `effective` are the settings that became others than resolved when the
    server started, with what they became. `predicted` is what the model of a server said before the launch, None where it
    could say nothing, or was not asked. `baseline` are the flags of the user's own settings, where it has these, `explains`
    what a launch after the search was made for; a trial of the search has neither. `place` is None where it was not launched,
    and in a study of an older tuner."""

    number: int
    params: Params
    is_default: bool
    resolved: Params
    command: Command
    outcome: Outcome | Twin
    violations: Mapping[str, float]
    started_at: datetime
    ended_at: datetime
    attempts: int = 1
    digest: str | None = None
    compile_key: str | None = None
    effective: Params = field(default_factory=dict)
    predicted: Predicted | None = None
    baseline: str | None = None
    explains: Explains | None = None
    place: Place | None = None

    @property
    def is_searched(self) -> bool:
        """Whether it is one of the search, the defaults among them."""
        return self.baseline is None and self.explains is None
