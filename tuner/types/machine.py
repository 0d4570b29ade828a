"""GPUs, processes and servers, as the stages tell one another of them."""

from dataclasses import dataclass, field
from math import sqrt
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


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpeed:
    """How fast one thread of a host is in vLLM's interpreter, which is of `python_version`: seconds that a turn of each kind of
    work took at its fastest (tuner/launch/standalone/ruler.py), and how many times as long the slower turns took (the 90th
    percentile of `python` or `text`, the larger one)."""

    python_s: float
    text_s: float
    memory_s: float
    wake_s: float
    spread: float
    python_version: str

    def slowness(self, than: "HostSpeed") -> float:
        """How many times as long as on the other host Python and text take: their geometric mean."""
        return sqrt(self.python_s / than.python_s * self.text_s / than.text_s)

    def compared(self, than: "HostSpeed") -> str:
        """`1.8 times as slow`, or as fast."""
        slowness = self.slowness(than)
        return f"{slowness:.1f} times as slow" if slowness > 1 else f"{1 / slowness:.1f} times as fast"


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
    """A server that is ready: answers, is ours, and has completed one token; its processes are in `sessions`. `start` is
    "plain" or "warm" (forked). `speed` is how many of a simulated server's seconds pass in a real one, None for a real server;
    `startup_s` is then simulated, too."""

    sessions: tuple[int, ...]
    startup_s: float
    log: Path
    start: str = "plain"
    speed: float | None = None
