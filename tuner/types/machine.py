"""GPUs, processes and servers, as the stages tell one another of them."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedGpu:
    """One GPU, or a MIG slice of the card `card_uuid`, whose index it has. `memory_bytes` is None on boards that share the
    host's memory; `usable_bytes` is what CUDA sees of it, without what the driver keeps, None where NVML does not tell;
    `compute_capability` is (major, minor)."""

    index: int
    uuid: str
    name: str
    memory_bytes: int | None
    compute_capability: tuple[int, int]
    driver: str
    card_uuid: str | None = None
    usable_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that cannot be confused with a later one of the same pid. `started_s` counts from the boot of the host; `place`
    is that boot and the PID namespace, None for what an older tuner stored, whose `started_s` is Unix time."""

    pid: int
    started_s: float
    place: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where requests go: an OpenAI-compatible server, without the /v1 in `base_url`, and the model's name there. The key is
    sent as a bearer token, and is never shown or stored."""

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Target):
    """A server that is ready: answers, is ours, and has completed one token. `start` is "plain" or "warm" (forked). `speed` is
    how many of a simulated server's seconds pass in a real one, None for a real server; `startup_s` is then simulated, too."""

    session: int
    startup_s: float
    log: Path
    start: str = "plain"
    speed: float | None = None
