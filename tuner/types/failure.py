"""Why a launch has no measurement, and whose doing that is."""

from dataclasses import dataclass
from enum import StrEnum


class Whose(StrEnum):
    """Whose doing a failure is. Only the settings' says anything about settings."""

    SETTINGS = "the settings'"
    MODEL = "the model's"
    HOST = "the host's or its environment's"
    CARD = "the card's"
    ANOTHER = "another's"


class FailureKind(StrEnum):
    """Why a trial has no measurement."""

    REJECTED = "rejected"  # vLLM refuses the arguments; never launched when found by resolving
    OUT_OF_MEMORY = "out of memory"
    KV_CACHE_TOO_SMALL = "KV cache too small"
    UNSUPPORTED_QUANTIZATION = "unsupported quantization"
    UNSUPPORTED = "unsupported on this GPU"  # other settings run on it
    CRASHED = "crashed"  # the server ended on its own, or was killed; its exit code may well be 0
    START_TIMEOUT = "start timeout"
    TRIAL_TIMEOUT = "trial timeout"
    STALLED = "stalled"  # healthy, but no token for anybody
    LOAD_FAILED = "load failed"  # the server lives but requests fail or come back cut
    CLIENT_BOUND = "client bound"  # the load generator, not the server, was the limit
    MODEL_NOT_FOUND = "model not found"
    MODEL_UNUSABLE = "model unusable"  # it is there, and no settings would make this vLLM run it
    HUB_UNREACHABLE = "hub unreachable"
    PORT_IN_USE = "port in use"
    GPU_IN_USE = "GPU in use"
    GPU_MEMORY_HELD = "GPU memory held"
    GPU_MEMORY_CHANGED = "GPU memory changed"  # another process gave memory back while vLLM measured it
    GPU_FAILED = "GPU failed"  # ECC, lost, in need of a reset
    GPU_UNSUPPORTED = "GPU unsupported"  # this vLLM is not built for it
    HOST = "host"  # a compiler, the driver, a limit, a permission, /dev/shm, the network
    ENVIRONMENT = "engine environment"  # libraries or build tools that do not match
    HOST_MEMORY = "host out of memory"
    DISK_FULL = "disk full"
    DEFAULTS_FAIL = "defaults fail alike"  # for a cause that nobody knows, but no setting is needed for it
    INTERRUPTED = "interrupted"

    @property
    def whose(self) -> Whose:
        """Whose doing it is."""
        return _WHOSE.get(self, Whose.SETTINGS)

    @property
    def is_of_the_settings(self) -> bool:
        """Whether another try would end alike. Else the trial stays unfinished, and the next run runs it again."""
        return self.whose is Whose.SETTINGS

    @property
    def is_in_doubt(self) -> bool:
        """Whether the text alone does not say whose doing it is: whether the defaults fail alike does."""
        return self in (FailureKind.CRASHED, FailureKind.HOST_MEMORY)

    @property
    def is_transient(self) -> bool:
        """Whether it is nobody's settings' doing and may be gone at once: worth one more try."""
        return self in (
            FailureKind.PORT_IN_USE,
            FailureKind.HUB_UNREACHABLE,
            FailureKind.GPU_MEMORY_CHANGED,
            FailureKind.CLIENT_BOUND,
            FailureKind.HOST_MEMORY,
        )


_WHOSE = {
    FailureKind.CLIENT_BOUND: Whose.HOST,
    FailureKind.MODEL_NOT_FOUND: Whose.MODEL,
    FailureKind.MODEL_UNUSABLE: Whose.MODEL,
    FailureKind.HUB_UNREACHABLE: Whose.ANOTHER,
    FailureKind.PORT_IN_USE: Whose.ANOTHER,
    FailureKind.GPU_IN_USE: Whose.ANOTHER,
    FailureKind.GPU_MEMORY_HELD: Whose.ANOTHER,
    FailureKind.GPU_MEMORY_CHANGED: Whose.ANOTHER,
    FailureKind.GPU_FAILED: Whose.CARD,
    FailureKind.GPU_UNSUPPORTED: Whose.CARD,
    FailureKind.HOST: Whose.HOST,
    FailureKind.ENVIRONMENT: Whose.HOST,
    FailureKind.HOST_MEMORY: Whose.HOST,
    FailureKind.DISK_FULL: Whose.HOST,
    FailureKind.DEFAULTS_FAIL: Whose.HOST,
    FailureKind.INTERRUPTED: Whose.ANOTHER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A trial without a measurement: the kind, one sentence (the log's root-cause line), and the end of the log. `starting`
    is whether a server was launched for it and never became ready."""

    kind: FailureKind
    message: str
    log_tail: str = ""
    starting: bool = False
