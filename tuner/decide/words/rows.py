"""A metric's name in; its label, unit, factor and decimals out. Units are milliseconds and percent only where people read."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """How a metric is shown: its value times `factor`, in `unit`. `more_is_better` is None where neither is."""

    label: str
    unit: str
    factor: float = 1.0
    decimals: int = 1
    more_is_better: bool | None = None

    @property
    def lower(self) -> str:
        """The label inside a sentence: `output throughput`, but `TTFT p99`."""
        return self.label if self.label[1:2].isupper() else f"{self.label[0].lower()}{self.label[1:]}"


STATISTICS = ("mean", "p50", "p90", "p95", "p99")
#: Latency -> label, decimals of its milliseconds.
LATENCIES = {"ttft": ("TTFT", 1), "tpot": ("TPOT", 2), "itl": ("ITL", 2), "e2el": ("E2E latency", 0)}
#: By the name that Measured.metrics() gives, in the order of the tables.
THROUGHPUT: Mapping[str, Row] = {
    "output_throughput": Row("Output throughput", "tok/s", 1, 1, True),
    "total_token_throughput": Row("Total throughput", "tok/s", 1, 1, True),
    "output_throughput_per_gpu": Row("Output throughput a GPU", "tok/s", 1, 1, True),
    "request_throughput": Row("Requests", "req/s", 1, 2, True),
    "request_throughput_per_gpu": Row("Requests a GPU", "req/s", 1, 2, True),
    "request_rate": Row("Requests asked for", "req/s", 1, 2),
    "goodput": Row("Goodput", "req/s", 1, 2, True),
}
LATENCY: Mapping[str, Row] = {
    f"{name}_{statistic}_s": Row(f"{label} {statistic}", "ms", 1e3, decimals, False)
    for name, (label, decimals) in LATENCIES.items()
    for statistic in STATISTICS
}
REST: Mapping[str, Row] = {
    "completed": Row("Completed", "requests", 1, 0),
    "failed": Row("Failed", "requests", 1, 0),
    "window_s": Row("Window", "s"),
    "warmup_s": Row("Warm-up", "s"),
    "chunk_tokens": Row("Tokens a chunk", "tok", 1, 2),
    "quality_nll": Row("NLL of a fixed text", "nats", 1, 4, False),
    "startup_s": Row("Start-up", "s", 1, 1, False),
    "kv_cache_tokens": Row("KV cache", "tok", 1, 0),
    "server_running_mean": Row("Running", "requests"),
    "server_waiting_mean": Row("Waiting", "requests"),
    "server_kv_cache_usage_max": Row("KV cache used at most", "%", 100, 0),
    "server_preemptions": Row("Preemptions", "", 1, 0),
    "server_accepted_tokens": Row("Tokens from drafts", "tok", 1, 0),
    "server_acceptance_length": Row("Acceptance length", "tok", 1, 2),
    "server_acceptance_rate": Row("Acceptance rate", "%", 100, 0),
    **{f"server_acceptance_rate_{n}": Row(f"Accepted up to draft {n}", "%", 100, 0) for n in range(1, 9)},
    "server_cpu_cores": Row("Server CPU", "cores", 1, 2),
    "gpus": Row("GPUs", "", 1, 0),
    "gpu_utilization": Row("GPU utilization", "%", 100, 0),
    "gpu_sm_activity": Row("SM activity", "%", 100, 0),
    "gpu_tensor_activity": Row("Tensor activity", "%", 100, 0),
    "gpu_dram_activity": Row("DRAM activity", "%", 100, 0),
    "gpu_memory_used_bytes": Row("GPU memory", "GiB", 1 / 1024**3),
    "gpu_power_w": Row("GPU power", "W", 1, 0),
    "gpu_energy_per_1k_tokens_j": Row("Energy per 1,000 tokens", "J", 1, 1, False),
    "cost_per_million_output_tokens": Row("Cost of 1M output tokens", "", 1, 4, False),
    "gpu_sm_clock_hz": Row("SM clock", "MHz", 1e-6, 0),
    "gpu_sm_clock_max_hz": Row("SM clock, at most", "MHz", 1e-6, 0),
    "gpu_throttled": Row("Clocks held down", "%", 100, 0),
    "client_workers": Row("Load workers", "", 1, 0),
    "client_cpu": Row("Busiest load worker", "% of a core", 100, 0),
    "client_delay_mean_s": Row("Chunk unread, at most, mean", "ms", 1e3, 2),
    "client_send_delay_mean_s": Row("Sent late, mean", "ms", 1e3, 2),
    "client_send_delay_p99_s": Row("Sent late p99", "ms", 1e3, 2),
}
ROWS = {**THROUGHPUT, **LATENCY, **REST}
