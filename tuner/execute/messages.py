"""What a node tells the coordinator of a launch, in order, and what that one asks of a node. Frozen, and knows no Ray."""

from dataclasses import dataclass
from pathlib import Path

from tuner.errors import TunerError
from tuner.launch.job import RunTrial
from tuner.launch.vllm import Launch
from tuner.types import DetectedGpu, Fingerprint, Outcome, Underway


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a study asks of a node. `cards` are the names that NVML may call its card, none for the CPU; a launch takes
    `per_server` of them. Simulated cards are Ray's resource `simulated`, and nothing else is looked for. `python` is where the
    coordinator has vLLM, `run` is who runs a job that is there."""

    fingerprint: Fingerprint
    python: Path
    run: RunTrial
    cards: tuple[str, ...] = ()
    per_server: int = 1
    simulated: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What a node has: `unfit` is the sentence why it cannot run the study, None where it can. `time_s` is its clock, and
    `driver` that of its cards."""

    gpus: tuple[DetectedGpu, ...] = ()
    driver: str | None = None
    time_s: float
    unfit: str | None = None


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
