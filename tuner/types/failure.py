"""Why a launch has no measurement, and whose doing that is."""

from dataclasses import dataclass
from enum import StrEnum


class FailureKind(StrEnum):
    """Why a trial has no measurement."""

    REJECTED = "rejected"  # vLLM refuses the arguments; never launched when found by resolving
    OUT_OF_MEMORY = "out of memory"
    KV_CACHE_TOO_SMALL = "KV cache too small"
    UNSUPPORTED_QUANTIZATION = "unsupported quantization"
    CRASHED = "crashed"  # the server ended on its own, or was killed; its exit code may well be 0
    START_TIMEOUT = "start timeout"
    TRIAL_TIMEOUT = "trial timeout"
    STALLED = "stalled"  # healthy, but no token for anybody
    LOAD_FAILED = "load failed"  # the server lives but requests fail or come back cut
    CLIENT_BOUND = "client bound"  # the load generator, not the server, was the limit
    MODEL_NOT_FOUND = "model not found"
    HUB_UNREACHABLE = "hub unreachable"
    PORT_IN_USE = "port in use"
    GPU_MEMORY_HELD = "GPU memory held"
    GPU_MEMORY_CHANGED = "GPU memory changed"  # another process gave memory back while vLLM measured it
    DISK_FULL = "disk full"  # where the server's log is; it dies of that
    INTERRUPTED = "interrupted"

    @property
    def is_transient(self) -> bool:
        """Whether it is nobody's settings' doing and may be gone at once: worth one more try."""
        return self in (
            FailureKind.PORT_IN_USE,
            FailureKind.HUB_UNREACHABLE,
            FailureKind.GPU_MEMORY_CHANGED,
            FailureKind.CLIENT_BOUND,
        )

    @property
    def is_of_the_settings(self) -> bool:
        """Whether another try would end alike. Else the trial stays unfinished, and the next run runs it again."""
        return not self.is_transient and self not in (
            FailureKind.MODEL_NOT_FOUND,
            FailureKind.GPU_MEMORY_HELD,
            FailureKind.DISK_FULL,
            FailureKind.INTERRUPTED,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A trial without a measurement: the kind, one sentence (the log's root-cause line), and the end of the log."""

    kind: FailureKind
    message: str
    log_tail: str = ""
