"""What a node tells the coordinator of a launch, in order, and what that one asks of a node. Frozen, and knows no Ray."""

from dataclasses import dataclass
from pathlib import Path

from tuner.errors import TunerError
from tuner.launch.job import RunTrial
from tuner.launch.vllm import Launch
from tuner.measure.visible import Visible
from tuner.types import DetectedGpu, Fingerprint, Outcome, Underway


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """What is looked for on a node. `cards` are the names that NVML may call its card, none for the CPU; a launch takes
    `per_server` of them. Simulated cards are Ray's resource `simulated`, and nothing else is looked for. `version` is that of
    vLLM, None while any will do. `python` is where a node may have it that does not say so itself, None where nobody knows; if
    it `is_named` by the user, nowhere else."""

    model: str
    version: str | None = None
    python: Path | None = None
    is_named: bool = False
    cards: tuple[str, ...] = ()
    per_server: int = 1
    simulated: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted(Sought):
    """What a study asks of a node that launches: `run` is who runs a job there."""

    fingerprint: Fingerprint
    run: RunTrial


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What a node has: `unfit` is the sentence why it cannot run the study, None where it can. `gpus` are those that Ray may
    give there, `time_s` is its clock."""

    gpus: tuple[DetectedGpu, ...] = ()
    processor: str | None = None
    time_s: float
    unfit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a coordinator has to know of the node that it asks, before it knows its settings: the cards that a CUDA program sees
    there, and the UUIDs of those that tell what energy they take; where vLLM is; what of it must be equal for two trials to be
    comparable; and whether it has NVIDIA's multi-process service."""

    cards: Visible
    tell_energy: frozenset[str]
    python: Path
    processor: str
    revision: str | None
    mps: bool = False


@dataclass(frozen=True, slots=True)
class Begun:
    """The launch has a place."""

    node: str
    address: str
    gpus: tuple[DetectedGpu, ...]


@dataclass(frozen=True, slots=True)
class Phase:
    """What the launch does now."""

    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """What the user should know."""

    text: str


@dataclass(frozen=True, slots=True)
class Logged:
    """More of the server's log: it is `data` from `offset` on."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """The node does not fit the study after all, or what runs a job there raised `error`."""

    error: TunerError
    is_node: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The last of all."""

    outcome: Outcome


Told = Begun | Phase | Note | Launch | Underway | Logged | Refused | Ended
