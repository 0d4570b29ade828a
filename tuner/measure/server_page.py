"""The text of vLLM's /metrics in; totals by name out. Pure.

Everything is summed over its label sets (engines, API servers), but for the KV usage, a share, which is averaged. Of a
histogram its sum and its count are kept, no bucket. What a label tells apart has a name of its own: the waiting requests by
their reason, and accepted drafts by their position.
"""

from collections.abc import Iterator, Mapping
from statistics import fmean

from prometheus_client.samples import Sample

from tuner.measure.exposition import samples
from tuner.measure.speculation import ACCEPTED_AT, at_position
from tuner.measure.speculation import COUNTERS as SPECULATION
from tuner.types import Params, Value

#: Fields of ServerMetrics that are differences of a counter.
COUNTERS = {
    "prompt_tokens": "vllm:prompt_tokens_total",
    "generation_tokens": "vllm:generation_tokens_total",
    "preemptions": "vllm:num_preemptions_total",
    "prefix_cache_queries": "vllm:prefix_cache_queries_total",
    "prefix_cache_hits": "vllm:prefix_cache_hits_total",
}
#: Those without which nothing can be told. A version may lack another one.
NECESSARY = tuple(COUNTERS[field] for field in ("prompt_tokens", "generation_tokens"))
#: Fields that are means of a histogram; its count of steps is a field, too. A version may lack one.
HISTOGRAMS = {
    "step_tokens_mean": "vllm:iteration_tokens_total",
    "queue_time_mean_s": "vllm:request_queue_time_seconds",
    "prefill_time_mean_s": "vllm:request_prefill_time_seconds",
    "decode_time_mean_s": "vllm:request_decode_time_seconds",
    "inference_time_mean_s": "vllm:request_inference_time_seconds",
    "itl_mean_s": "vllm:inter_token_latency_seconds",
}
#: Of requests that ended, as vLLM sees them: what own_traffic.py takes instead of a client's.
TTFT, E2EL = "vllm:time_to_first_token_seconds", "vllm:e2e_request_latency_seconds"
ENDED = "vllm:request_success_total"
STEPS = f"{HISTOGRAMS['step_tokens_mean']}_count"
KV_USAGE = "vllm:kv_cache_usage_perc"
RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
#: Why requests wait: for room in the batch or in the KV cache, or for something else.
_BY_REASON = "vllm:num_requests_waiting_by_reason"
CAPACITY, DEFERRED = (f"{_BY_REASON} {reason}" for reason in ("capacity", "deferred"))
CACHE_INFO = "vllm:cache_config_info"
#: With `awake` 0 the engine sleeps.
_SLEEP = "vllm:engine_sleep_state"
AWAKE = f"{_SLEEP} awake"
#: Labels that tell samples apart which are not to be summed, by the sample's name.
_APART = {_BY_REASON: "reason", _SLEEP: "sleep_state"}
_PARTS = tuple(f"{name}_{part}" for name in (*HISTOGRAMS.values(), TTFT, E2EL) for part in ("sum", "count"))
_GAUGES = (KV_USAGE, RUNNING, WAITING, _BY_REASON, _SLEEP)
_NAMES = frozenset((*COUNTERS.values(), ENDED, *SPECULATION, ACCEPTED_AT, *_PARTS, *_GAUGES, CACHE_INFO))
_LINES = tuple(_NAMES)


def totals(text: str) -> dict[str, float]:
    """Value by name. Raises ValueError for what is no page of metrics."""
    values: dict[str, list[float]] = {}
    for sample in _samples(text):
        values.setdefault(_name(sample), []).append(sample.value)
    return {name: fmean(found) if name == KV_USAGE else sum(found) for name, found in values.items()}


def kv_cache_tokens_of(text: str) -> int | None:
    """`kv_cache_size_tokens` of vllm:cache_config_info, else blocks times block size (older versions)."""
    sizes = [_kv_tokens(sample.labels) for sample in _samples(text) if sample.name == CACHE_INFO]
    known = [size for size in sizes if size is not None]
    return sum(known) if known else None


def cache_settings(text: str) -> Params:
    """Settings that vllm:cache_config_info tells, of the first engine."""
    labels = next((sample.labels for sample in _samples(text) if sample.name == CACHE_INFO), {})
    found: dict[str, Value] = {}
    if (dtype := labels.get("cache_dtype")) not in (None, "None"):
        found["kv_cache_dtype"] = str(dtype)
    if (size := labels.get("block_size", "")).isdecimal():
        found["block_size"] = int(size)
    if (cached := labels.get("enable_prefix_caching")) in ("True", "False"):
        found["enable_prefix_caching"] = cached == "True"
    return found


def _samples(text: str) -> Iterator[Sample]:
    """Only the lines of interest are parsed: a whole page would block the load's event loop for 20 ms."""
    return (sample for sample in samples(text, _LINES) if sample.name in _NAMES)


def _name(sample: Sample) -> str:
    if sample.name == ACCEPTED_AT:
        return at_position(sample.labels.get("position", ""))
    label = _APART.get(sample.name)
    return sample.name if label is None else f"{sample.name} {sample.labels.get(label, '')}"


def _kv_tokens(labels: Mapping[str, str]) -> int | None:
    def number(name: str) -> int | None:
        value = labels.get(name, "")
        return int(value) if value.isdecimal() else None

    blocks, block_size = number("num_gpu_blocks"), number("block_size")
    return number("kv_cache_size_tokens") or (blocks * block_size if blocks and block_size else None)
