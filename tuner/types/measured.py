"""The numbers of one measurement, and what is to be known before they are believed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TypeVar

from tuner.types.load import ClientMetrics
from tuner.types.quality import Quality
from tuner.types.timeline import Timeline

Known = TypeVar("Known")


def present(value: Known | None) -> Known:
    """A number of what tuner measured, simulated or predicted itself: there it is never absent, as it may be in a recording."""
    assert value is not None, "this number was not recorded"
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Seconds over the requests (TTFT, TPOT, E2EL) or over the chunk gaps (ITL) of the window; `count` is never 0. What a
    recording does not tell (docs/replay.md) is None; tuner itself measures all of them."""

    count: int | None = None
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    p95: float | None = None
    std: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadMetrics:
    """What the client saw in the window. Throughputs are per second; `output_throughput` counts tokens. What a recording
    does not tell is None.

    `output_throughput_ci95` is the half width of the 95 % interval of output_throughput, None if too short and in an open loop,
    whose throughput is that of its arrivals. `ci95` are the ends of that of the latencies, in seconds, and of the goodput that
    the objective or an SLO names, by their names (ttft_p99_s), where there were requests enough.
    A distribution is None where no request gives it (TPOT with one output token). `goodput` counts the requests a second that
    meet every limit; None without limits. `chunk_tokens` is the mean number of tokens in a chunk after the first,
    `request_rate` how many requests a second the open loop asked for. `answer_share` and `prompt_share` are tokens as the
    server counts them for each that was asked for or sent, None where that is not known. `bunched` is the share of the chunks
    that came together with the one before, `first_chunk_tokens` the median number of tokens in first chunks, as their texts'
    lengths tell. `gpus` is how many served it, as who launched the server knows; None on the CPU, and where nobody does.
    """

    window_s: float | None = None
    completed: int | None = None
    failed: int | None = None
    request_throughput: float | None = None
    output_throughput: float | None = None
    output_throughput_ci95: float | None = None
    total_token_throughput: float | None = None
    ttft_s: Distribution | None = None
    tpot_s: Distribution | None = None
    itl_s: Distribution | None = None
    e2el_s: Distribution | None = None
    goodput: float | None = None
    chunk_tokens: float | None = None
    input_tokens: int | None = None
    output_tokens: float | None = None
    request_rate: float | None = None
    ci95: Mapping[str, tuple[float, float]] | None = None
    answer_share: float | None = None
    prompt_share: float | None = None
    bunched: float | None = None
    first_chunk_tokens: float | None = None
    gpus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerMetrics:
    """vLLM's /metrics over the window: counters as differences, gauges as mean and maximum of the samples.

    `agreement` is vLLM's generation tokens divided by the client's, over the window; 1.0 is perfect. The fields after it are of
    speculative decoding, None without: `acceptance_length` is 1 + accepted tokens / drafts, `acceptance_rate` accepted tokens /
    draft tokens, `acceptance_rates` the share of the drafts that were accepted up to each position; the three are None, too,
    where nothing was drafted.

    `steps` are those of the engine, `step_tokens_mean` the prompt and generated tokens of one. The times are means over the
    requests that ended in the window (`itl_mean_s` over the gaps between tokens), as vLLM itself took them. Of the waiting
    requests `waiting_capacity_mean` wait for room in the batch or in the KV cache, `waiting_deferred_mean` for something else.
    A server that does not tell one of them has None there.
    """

    prompt_tokens: float | None = None
    generation_tokens: float | None = None
    preemptions: float | None = None
    prefix_cache_queries: float | None = None
    prefix_cache_hits: float | None = None
    kv_cache_usage_mean: float | None = None
    kv_cache_usage_max: float | None = None
    running_mean: float | None = None
    waiting_mean: float | None = None
    agreement: float | None = None
    drafts: float | None = None
    draft_tokens: float | None = None
    accepted_tokens: float | None = None
    acceptance_length: float | None = None
    acceptance_rate: float | None = None
    acceptance_rates: tuple[float, ...] | None = None
    steps: float | None = None
    step_tokens_mean: float | None = None
    queue_time_mean_s: float | None = None
    prefill_time_mean_s: float | None = None
    decode_time_mean_s: float | None = None
    inference_time_mean_s: float | None = None
    itl_mean_s: float | None = None
    waiting_capacity_mean: float | None = None
    waiting_deferred_mean: float | None = None
    running_max: float | None = None
    waiting_max: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Processor cores that were busy in the window, as a mean: 1.0 is one core full. `engine_core` is that of EngineCore's
    process (the busiest one's), None where it has none of its own; then `api_server_max` is both. `api_server_max` is that of
    the busiest of the `api_servers`, `worker_max` that of the busiest worker that is a process of its own. `host_cores` are
    those that this machine lends to its processes, `host_busy` (0..1) is the share of them that anything used, other programs
    too."""

    engine_core: float | None = None
    api_server_max: float | None = None
    api_servers: int | None = None
    worker_max: float | None = None
    host_cores: int | None = None
    host_busy: float | None = None


#: Of `GpuMetrics.throttle_reasons`: how a card at full load keeps to its power limit.
POWER_CAP = "sw power cap"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMetrics:
    """NVML over the window, for the GPUs of this trial only: shares 0..1 (means over time and GPUs), memory (maximum, sum over
    GPUs), power (mean, sum over GPUs). None where the card does not tell.

    `utilization` is the share of time with any kernel running; `sm_activity` and `tensor_activity` are from GPM (Hopper and
    newer). `energy_per_1k_tokens_j` is joules per 1,000 output tokens. `throttle_reasons` names what held the clocks down in
    a part of the window, `throttled` is the share of samples with any of them. `sm_clock_max_hz` is the fastest that the card
    can be set to, of several the mean."""

    gpus: tuple[int, ...]
    samples: int | None = None
    utilization: float | None = None
    memory_used_bytes: int | None = None
    power_w: float | None = None
    sm_activity: float | None = None
    tensor_activity: float | None = None
    dram_activity: float | None = None
    energy_j: float | None = None
    energy_per_1k_tokens_j: float | None = None
    sm_clock_hz: float | None = None
    sm_clock_max_hz: float | None = None
    throttled: float | None = None
    throttle_reasons: tuple[str, ...] = ()


class Mark(StrEnum):
    """What is to be known before a measurement's numbers are believed; none of them makes it a failure."""

    CLIENT_BOUND = "client bound"  # the load generator was the limit: the server may do better
    UNSTEADY = "unsteady"  # throughput was not stationary when the warm-up's time was up
    IMPRECISE = "imprecise"  # the interval of what decides is wider than asked, or has an SLO's limit inside
    THROTTLED = "throttled"  # the GPU's clocks were held down by heat or by its power supply
    GPU_SHARED = "GPU shared"  # another process used a GPU's memory meanwhile
    PREFIX_CACHE = "prefix cache"  # more of the prompts came from the prefix cache than the workload implies
    SATURATED = "saturated"  # open loop: requests arrived faster than they were served
    OTHER_LENGTHS = "other lengths"  # prompts or answers have not the tokens that were asked for
    BUNCHED = "bunched"  # chunks came together, so that TPOT and ITL are not the server's
    HIDDEN_TOKENS = "hidden tokens"  # the server counts tokens that it did not send
    COUNTED = "counted"  # the server told no usage: its tokenizer counted the text
    RANDOM_TEXT = "random text"  # drafts of random words: how often they are accepted means nothing
    STOPPED_EARLY = "stopped early"  # the best so far can not be reached: its value is known to be worse, not how much
    REPLAYED_ACCEPTANCE = (
        "replayed acceptance"  # drafts were accepted as often as the workload says, not for what they were
    )
    NEIGHBOURS = "neighbours"  # other loads of the study ran on the host, and it was not known that they do not disturb


@dataclass(frozen=True, slots=True, kw_only=True)
class RateTried:
    """A rate of requests a second, over as many `requests`, and what came of it. `seen` are the latencies that have a limit, in
    seconds by their metrics' names; `failure` says why there are none, or what else was wrong with the rate."""

    request_rate: float
    requests: int
    met: bool
    seen: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateFound:
    """The highest request rate that meets the SLOs is in [low, high] with 90 %; None where no rate was tried beyond it.
    `tried` is in the order of trying; the measurement is that of one of them, which met the SLOs if any did."""

    low: float | None
    high: float | None
    tried: tuple[RateTried, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A trial's measurement. `gpu` is None without a GPU, `server` without vLLM's /metrics. `server_cpu_cores` is the mean
    number of cores that the server's processes kept busy in the window, `startup_s` its start (None if tuner did not start
    it). `kv_cache_tokens` is the KV cache's size that vLLM reports. `start` is how the server came to be, "plain" or "warm":
    measurements are compared with their like only. `unknown` names the metrics for which it is marked imprecise. `rate` is how
    the request rate was found, where it was looked for. `at_best` is of one that was stopped early: the objective is at
    the best so many times what was measured (1.08 of a throughput, 0.9 of a latency). `timeline` is how the load went; the
    database keeps it apart, and a measurement that comes from there has none. `cores` is who of the server was busy, None
    where its processes were not seen. `quality` is what the server answered to fixed questions after the load, where it was
    asked; the database keeps it apart, too."""

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
    unknown: tuple[str, ...] = ()
    rate: RateFound | None = None
    at_best: float | None = None
    timeline: Timeline | None = None
    cores: Cores | None = None
    quality: Quality | None = None

    def metrics(self) -> dict[str, float]:
        """Every number by its name with its unit, e.g. output_throughput, ttft_p99_s, gpu_utilization; absent ones left out.

        These names are those of the database's metrics and of Optuna's user attributes.
        """
        found: dict[str, float | int | None] = {"startup_s": self.startup_s, "server_cpu_cores": self.server_cpu_cores}
        found |= {"kv_cache_tokens": self.kv_cache_tokens, "warmup_s": self.warmup_s}
        for position, rate in enumerate((self.server and self.server.acceptance_rates) or (), start=1):
            found[f"server_acceptance_rate_{position}"] = rate
        found["quality_nll"] = self.quality.mean_nll if self.quality else None
        for name in ("output_throughput", "request_throughput"):
            value, gpus = getattr(self.load, name), self.load.gpus
            found[f"{name}_per_gpu"] = value / gpus if value is not None and gpus else None
        parts = (
            (self.load, ""),
            (self.server, "server_"),
            (self.gpu, "gpu_"),
            (self.client, "client_"),
            (self.cores, "cores_"),
        )
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
