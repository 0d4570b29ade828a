"""The frozen records that flow between the stages. Standard library only.

Seconds and bytes everywhere; absent is None, never 0. Field names are vLLM's and Optuna's words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from pathlib import Path

Value = bool | int | float | str
#: Engine arguments by vLLM's Python name, e.g. {"max_num_seqs": 256}.
Params = Mapping[str, Value]


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
        return self in (FailureKind.PORT_IN_USE, FailureKind.HUB_UNREACHABLE, FailureKind.GPU_MEMORY_CHANGED)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is run: the exact argument vector of the engine, and the environment variables set on top of the caller's.

    Host and port are not in it: a trial adds its own, the export adds the user's.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server that is ready: answers, is ours, and has completed one token. `start` is "plain" or "warm" (forked)."""

    base_url: str
    model: str
    pgid: int
    startup_s: float
    log: Path
    start: str = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """A uniform range of token counts, both ends included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the users do. Closed loop: each of `users` sends its next request when the last one ended.

    `api` is "chat" (/v1/chat/completions) or "completions" (/v1/completions). `response_prefix` is what the assistant's
    answer is forced to start with. The window is `window_s` long and starts when the server is in steady state.
    """

    name: str
    api: str
    users: int
    input_tokens: Lengths
    output_tokens: Lengths
    temperature: float = 0.0
    top_p: float = 1.0
    system_prompt: str | None = None
    response_prefix: str | None = None
    stop: tuple[str, ...] = ()
    warmup_s: float = 8.0
    window_s: float = 20.0
    stall_s: float = 60.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRequest:
    """One request: the prompt as token ids (completions) or as text (chat), and the exact token counts it must have."""

    index: int
    prompt: str | tuple[int, ...]
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """What came back. Times are seconds on the client's monotonic clock. `error` is None exactly when the stream was whole:
    it ended with usage and [DONE], and its token counts are those that were asked for."""

    index: int
    sent_s: float
    ended_s: float
    chunk_times_s: tuple[float, ...]  # arrival of each chunk that carries output
    input_tokens: int | None  # from the server's usage
    output_tokens: int | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """All requests of one load, and the steady window [window_start_s, window_end_s] on the same clock."""

    records: tuple[RequestRecord, ...]
    window_start_s: float
    window_end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Seconds over the requests (TTFT, TPOT, E2EL) or over the chunk gaps (ITL) of the window; `count` is never 0."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadMetrics:
    """What the client saw in the window. Throughputs are per second; `output_throughput` counts tokens.

    `output_throughput_ci95` is the half width of the 95 % interval of output_throughput (batch means), None if too short.
    A distribution is None where no request gives it (TPOT with one output token).
    """

    window_s: float
    completed: int
    failed: int
    request_throughput: float
    output_throughput: float
    output_throughput_ci95: float | None
    total_token_throughput: float
    ttft_s: Distribution
    tpot_s: Distribution | None
    itl_s: Distribution | None
    e2el_s: Distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerMetrics:
    """vLLM's /metrics over the window: counters as differences, gauges as mean and maximum of the samples.

    `agreement` is vLLM's generation tokens divided by the client's, over the window; 1.0 is perfect.
    """

    prompt_tokens: float
    generation_tokens: float
    preemptions: float
    prefix_cache_queries: float
    prefix_cache_hits: float
    kv_cache_usage_mean: float | None
    kv_cache_usage_max: float | None
    running_mean: float | None
    waiting_mean: float | None
    agreement: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMetrics:
    """NVML over the window, for the GPUs of this trial only: utilization 0..1 (mean), memory (maximum, sum over GPUs),
    power (mean, sum over GPUs; None where the card does not tell)."""

    gpus: tuple[int, ...]
    samples: int
    utilization: float
    memory_used_bytes: int
    power_w: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A trial's measurement. `gpu` is None without a GPU. `server_cpu_cores` is the mean number of cores that the server's
    processes kept busy in the window. `kv_cache_tokens` is the KV cache's size that vLLM reports. `start` is how the server
    came to be, "plain" or "warm": measurements are compared with their like only."""

    load: LoadMetrics
    server: ServerMetrics
    gpu: GpuMetrics | None
    server_cpu_cores: float | None
    startup_s: float
    kv_cache_tokens: int | None = None
    start: str = "plain"

    def metrics(self) -> dict[str, float]:
        """Every number by its name with its unit, e.g. output_throughput, ttft_p99_s, gpu_utilization; absent ones left out.

        These names are those of the database's metrics and of Optuna's user attributes.
        """
        found: dict[str, float | int | None] = {"startup_s": self.startup_s, "server_cpu_cores": self.server_cpu_cores}
        found["kv_cache_tokens"] = self.kv_cache_tokens
        for record, prefix in ((self.load, ""), (self.server, "server_"), (self.gpu, "gpu_")):
            for entry in fields(record) if record is not None else ():
                value = getattr(record, entry.name)
                if isinstance(value, Distribution):
                    for statistic in ("mean", "p50", "p90", "p99"):
                        name = entry.name.removesuffix("_s")
                        found[f"{name}_{statistic}_s"] = getattr(value, statistic)
                elif isinstance(value, int | float):
                    found[f"{prefix}{entry.name}"] = value
        return {name: value for name, value in found.items() if value is not None}


Outcome = Measured | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What must be equal for two trials to be comparable. `gpu` is None without a GPU; `host` is its processor."""

    gpu: str | None
    gpu_count: int
    driver: str | None
    engine_version: str
    model: str
    model_revision: str | None
    workload_hash: str
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Settings to try. `number` is Optuna's trial number. Trial 0 has no params to pass: it runs vLLM's defaults."""

    number: int
    params: Params
    is_default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A finished trial. `params` are the values searched over (for the defaults: as vLLM resolved them); `resolved` are
    the engine settings that vLLM derived; `command` is what ran; `violations` is by how much each SLO was missed, as a
    fraction of its limit (<= 0: met; empty without SLOs or without a measurement); `attempts` is how often it was begun,
    0 if vLLM refused it before any launch."""

    number: int
    params: Params
    is_default: bool
    resolved: Params
    command: Command
    outcome: Outcome
    violations: Mapping[str, float]
    started_at: datetime
    ended_at: datetime
    attempts: int = 1
