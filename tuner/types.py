"""The frozen records that flow between the stages. Standard library only.

Seconds and bytes everywhere; absent is None, never 0. Field names are vLLM's and Optuna's words.
"""

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is run: the exact argument vector of the engine, and the environment variables set on top of the caller's.

    Host and port are not in it: a trial adds its own, the export adds the user's.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedGpu:
    """One GPU. `memory_bytes` is None on boards that share the host's memory; `compute_capability` is (major, minor)."""

    index: int
    uuid: str
    name: str
    memory_bytes: int | None
    compute_capability: tuple[int, int]
    driver: str


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that cannot be confused with a later one of the same pid. `started_s` is psutil's create_time (Unix time)."""

    pid: int
    started_s: float


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

    pgid: int
    startup_s: float
    log: Path
    start: str = "plain"
    speed: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """A uniform range of token counts, both ends included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lognormal:
    """Token counts whose logarithm is normal: `median` and `sigma` of it, drawn again until within [low, high]."""

    median: float
    sigma: float
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Token counts by buckets (low, high, weight), both ends included, uniform inside a bucket."""

    buckets: tuple[tuple[int, int, float], ...]

    @property
    def low(self) -> int:
        return min(low for low, _, _ in self.buckets)

    @property
    def high(self) -> int:
        return max(high for _, high, _ in self.buckets)


TokenCounts = Lengths | Lognormal | Histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrefix:
    """What prompts begin with alike: each request has one of `count` prefixes of `tokens` tokens, counted in its input."""

    tokens: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A file that the load is made of. `digest` is the SHA-256 of what is read of it, so that its content is a part of the
    workload's hash. A trace's times are divided by `speedup`; `unit_s` is the length of one of its units of time."""

    path: Path
    digest: str
    unit_s: float = 1.0
    speedup: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the users do. Exactly one of `users`, `request_rate` and `trace` is set.

    Closed loop: each of `users` sends its next request when the last one ended and it has thought for a while (exponential
    with mean `think_time_s`). Open loop: requests arrive at `request_rate` a second whatever the server does; `burstiness` is
    the shape of the gamma distribution of the gaps as in `vllm bench serve` (1: Poisson, inf: constant), and the rate grows
    linearly from 0 over the first `ramp_up_s`. With `find_rate` that is only the first rate tried, and the highest one that
    meets the SLOs is looked for. Trace: arrivals and lengths from a file.

    `api` is "chat" (/v1/chat/completions) or "completions" (/v1/completions). `response_prefix` is what the assistant's
    answer is forced to start with. `dataset` holds conversations whose first prompts are sent instead of synthetic ones.
    With `turns` each arrival is a conversation of so many requests, each with all that was said before it.

    The warm-up lasts until throughput is stationary, at least `warmup_s`. The window lasts until the 95 % interval of
    throughput is within `precision` (a fraction), at least `window_s` and at most `max_window_s` (default: 4 times as long).
    """

    name: str
    api: str
    users: int | None = None
    think_time_s: float = 0.0
    request_rate: float | None = None
    burstiness: float = 1.0
    ramp_up_s: float = 0.0
    find_rate: bool = False
    trace: DataFile | None = None
    dataset: DataFile | None = None
    input_tokens: TokenCounts
    output_tokens: TokenCounts
    shared_prefix: SharedPrefix | None = None
    turns: Lengths | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    system_prompt: str | None = None
    response_prefix: str | None = None
    stop: tuple[str, ...] = ()
    warmup_s: float = 4.0
    window_s: float = 12.0
    max_window_s: float | None = None
    precision: float = 0.02
    stall_s: float = 60.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """What came back. Times are seconds on the client's monotonic clock. `error` is None exactly when the stream was whole:
    it ended with usage and [DONE], and its token counts are those that were asked for.

    `scheduled_s` is when it was due (open loop, trace) or begun (closed loop): latencies count from it, so that a client that
    sends late does not flatter the server (coordinated omission)."""

    index: int
    scheduled_s: float
    sent_s: float  # just before its first byte, or its connection
    ended_s: float
    chunk_times_s: Sequence[float]  # arrival of each chunk that carries output
    input_tokens: int | None  # from the server's usage
    output_tokens: int | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientMetrics:
    """How well the load generator itself did in the window. `cpu` is the busiest worker's share of a core. `delay_mean_s` is an
    upper bound of how long a chunk lay unread while its worker was at others, meaned over the chunks; `lag_mean_s` and
    `lag_p99_s` by how much timers were late; `send_delay_mean_s` and `send_delay_p99_s` how much later than scheduled requests
    were sent (None in a closed loop)."""

    workers: int
    cpu: float
    delay_mean_s: float
    lag_mean_s: float
    lag_p99_s: float
    send_delay_mean_s: float | None
    send_delay_p99_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """All requests of one load, and the steady window [window_start_s, window_end_s] on the same clock. `warmup_s` is how
    long the warm-up took, `stationary` whether throughput was stationary then. `shared_tokens` is how many tokens all prompts
    begin with alike (template, system prompt, shared prefix); None where the workload does not say."""

    records: tuple[RequestRecord, ...]
    window_start_s: float
    window_end_s: float
    client: ClientMetrics
    warmup_s: float
    stationary: bool
    shared_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Seconds over the requests (TTFT, TPOT, E2EL) or over the chunk gaps (ITL) of the window; `count` is never 0."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    p95: float | None = None
    std: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadMetrics:
    """What the client saw in the window. Throughputs are per second; `output_throughput` counts tokens.

    `output_throughput_ci95` is the half width of the 95 % interval of output_throughput (batch means), None if too short.
    A distribution is None where no request gives it (TPOT with one output token). `goodput` counts the requests a second that
    meet every limit; None without limits. `chunk_tokens` is the mean number of tokens in a chunk after the first,
    `request_rate` how many requests a second the open loop asked for.
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
    goodput: float | None = None
    chunk_tokens: float | None = None
    input_tokens: int | None = None
    output_tokens: float | None = None
    request_rate: float | None = None


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
    """NVML over the window, for the GPUs of this trial only: shares 0..1 (means over time and GPUs), memory (maximum, sum over
    GPUs), power (mean, sum over GPUs). None where the card does not tell.

    `utilization` is the share of time with any kernel running; `sm_activity` and `tensor_activity` are from GPM (Hopper and
    newer). `energy_per_1k_tokens_j` is joules per 1,000 output tokens. `throttle_reasons` names what held the clocks down in
    a part of the window, `throttled` is the share of samples with any of them."""

    gpus: tuple[int, ...]
    samples: int
    utilization: float
    memory_used_bytes: int
    power_w: float | None
    sm_activity: float | None = None
    tensor_activity: float | None = None
    dram_activity: float | None = None
    energy_j: float | None = None
    energy_per_1k_tokens_j: float | None = None
    sm_clock_hz: float | None = None
    throttled: float | None = None
    throttle_reasons: tuple[str, ...] = ()


class Mark(StrEnum):
    """What is to be known before a measurement's numbers are believed; none of them makes it a failure."""

    CLIENT_BOUND = "client bound"  # the load generator was the limit: the server may do better
    UNSTEADY = "unsteady"  # throughput was not stationary when the warm-up's time was up
    IMPRECISE = "imprecise"  # the 95 % interval is wider than the workload's precision
    THROTTLED = "throttled"  # the GPU's clocks were held down by heat or by its power supply
    PREFIX_CACHE = "prefix cache"  # more of the prompts came from the prefix cache than the workload implies
    SATURATED = "saturated"  # open loop: requests arrived faster than they were served


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A trial's measurement. `gpu` is None without a GPU, `server` without vLLM's /metrics. `server_cpu_cores` is the mean
    number of cores that the server's processes kept busy in the window, `startup_s` its start (None if tuner did not start
    it). `kv_cache_tokens` is the KV cache's size that vLLM
    reports. `start` is how the server came to be, "plain" or "warm": measurements are compared with their like only."""

    load: LoadMetrics
    server: ServerMetrics | None
    gpu: GpuMetrics | None
    server_cpu_cores: float | None
    startup_s: float | None
    kv_cache_tokens: int | None = None
    start: str = "plain"
    client: ClientMetrics | None = None
    warmup_s: float | None = None
    marks: tuple[Mark, ...] = ()

    def metrics(self) -> dict[str, float]:
        """Every number by its name with its unit, e.g. output_throughput, ttft_p99_s, gpu_utilization; absent ones left out.

        These names are those of the database's metrics and of Optuna's user attributes.
        """
        found: dict[str, float | int | None] = {"startup_s": self.startup_s, "server_cpu_cores": self.server_cpu_cores}
        found |= {"kv_cache_tokens": self.kv_cache_tokens, "warmup_s": self.warmup_s}
        parts = ((self.load, ""), (self.server, "server_"), (self.gpu, "gpu_"), (self.client, "client_"))
        for record, prefix in parts:
            for entry in fields(record) if record is not None else ():
                value = getattr(record, entry.name)
                if isinstance(value, Distribution):
                    for statistic in ("mean", "std", "p50", "p90", "p95", "p99"):
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

    @property
    def unreal(self) -> str | None:
        """ "SIMULATED" or "REPLAYED", with which the version of an engine that was not run begins; None for a real one."""
        word = self.engine_version.partition(" ")[0]
        return word if word in ("SIMULATED", "REPLAYED") else None


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
