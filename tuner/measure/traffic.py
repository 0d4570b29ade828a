"""Readings of a live vLLM's /metrics in; the traffic that it served between them out. Pure: knows no HTTP and no workload.

What /metrics tells: how many requests have finished, how many run and wait, and histograms of prompt and generated tokens of
those that finished. A request has arrived when it runs, waits or has finished, so arrivals are the differences of that sum.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from tuner.errors import RunError, UsageError
from tuner.measure.buckets import Observed, fitted, nearly_all_above
from tuner.measure.page_faults import why_absent
from tuner.measure.summed import summed
from tuner.types import Histogram, SharedPrefix

_REQUESTS = "vllm:request_success"
_FINISHED = f"{_REQUESTS}_total"
_RUNNING = "vllm:num_requests_running"
_WAITING = "vllm:num_requests_waiting"
_QUERIES = "vllm:prefix_cache_queries_total"
_HITS = "vllm:prefix_cache_hits_total"
_PROMPTS = "vllm:request_prompt_tokens"
_GENERATIONS = "vllm:request_generation_tokens"
_NAMES = (_REQUESTS, _RUNNING, _WAITING, _QUERIES, _HITS, _PROMPTS, _GENERATIONS)
#: Counts are dispersed over intervals of about so many requests, and over at least so many intervals.
_INTERVAL_REQUESTS = 10
_INTERVALS = 20
#: Below this prefix-cache hit rate prompts are taken to share nothing; vLLM caches whole blocks, of 16 tokens by default.
_LEAST_HIT_RATE = 0.05
_BLOCK_TOKENS = 16
#: At most about this share of the prompts may be too short for the shared prefix.
_TOO_SHORT = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """One reading of /metrics, summed over engines. The gauges, the prefix cache's counters and since when it counts (Unix
    time) are None where absent."""

    time_s: float
    finished: float
    running: float | None
    waiting: float | None
    prefix_queries: float | None
    prefix_hits: float | None
    prompts: Observed
    generations: Observed
    began_s: float | None = None

    @property
    def arrived(self) -> float | None:
        """Requests so far, but for a constant; None without the gauges."""
        if self.running is None or self.waiting is None:
            return None
        return self.finished + self.running + self.waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What was served in `duration_s`. `requests` finished; `request_rate` are those that arrived, a second. `burstiness` is
    as in Workload, None with too few requests to tell. `shared_prefix` is a guess that fits `prefix_hit_rate`. A `saturated`
    server had more requests waiting than running: its arrivals may be what it could serve, not what users wanted."""

    duration_s: float
    requests: int
    request_rate: float
    burstiness: float | None
    input_tokens: Histogram
    output_tokens: Histogram
    input_mean: float
    output_mean: float
    running_mean: float | None
    waiting_mean: float | None
    prefix_hit_rate: float | None
    shared_prefix: SharedPrefix | None

    @property
    def saturated(self) -> bool:
        return self.waiting_mean is not None and self.waiting_mean > (self.running_mean or 0.0)


def parse(text: str, time_s: float, url: str) -> Scrape:
    """A page of /metrics. Raises UsageError, naming `url`, where it is not vLLM's."""
    found = summed(text, _NAMES, url)
    values, prompts, generations = found.values, found.histogram(_PROMPTS), found.histogram(_GENERATIONS)
    missing = [name for name in (_FINISHED, f"{_PROMPTS}_sum", f"{_GENERATIONS}_sum") if name not in values]
    if missing:
        raise UsageError(why_absent(text, url, missing[0]))
    if prompts is None or generations is None:
        raise UsageError(f"{url} has a histogram without its last bucket: is this a vLLM server?")
    return Scrape(
        time_s=time_s,
        finished=values[_FINISHED],
        running=values.get(_RUNNING),
        waiting=values.get(_WAITING),
        prefix_queries=values.get(_QUERIES),
        prefix_hits=values.get(_HITS),
        prompts=prompts,
        generations=generations,
        began_s=found.began(_REQUESTS),
    )


def traffic(seen: Sequence[Scrape]) -> Traffic:
    """The traffic between the first and the last of at least two readings. Raises RunError when no request finished."""
    first, last = seen[0], seen[-1]
    prompts, generations = last.prompts.since(first.prompts), last.generations.since(first.generations)
    duration_s, requests = last.time_s - first.time_s, last.finished - first.finished
    if requests <= 0 or prompts.count <= 0 or generations.count <= 0:
        raise RunError(
            f"no request finished in {duration_s:.0f} s: look for longer (--for), or while the server is used"
        )
    arrivals = [(scrape.time_s, scrape.arrived) for scrape in seen if scrape.arrived is not None]
    arrived = arrivals[-1][1] - arrivals[0][1] if arrivals else 0.0
    hit_rate = _hit_rate(first, last)
    prefix = shared_prefix(prompts, hit_rate)
    return Traffic(
        duration_s=duration_s,
        requests=round(requests),
        request_rate=(arrived if arrived > 0 else requests) / duration_s,
        burstiness=burstiness(arrivals),
        input_tokens=fitted(prompts, prefix.tokens + 1 if prefix else 1),
        output_tokens=fitted(generations),
        input_mean=prompts.mean,
        output_mean=generations.mean,
        running_mean=_mean([scrape.running for scrape in seen]),
        waiting_mean=_mean([scrape.waiting for scrape in seen]),
        prefix_hit_rate=hit_rate,
        shared_prefix=prefix,
    )


def burstiness(arrived: Sequence[tuple[float, float]]) -> float | None:
    """The gamma shape of the arrivals' gaps, from times and how many had arrived by then; None with too few.

    Over long intervals the variance of a renewal process's counts is their mean times the squared coefficient of variation of
    its gaps (Cox, Renewal Theory, 1962, 4.2), which is 1 / shape for gamma gaps. It is 1 where the counts could well be a
    Poisson process's: within two standard errors sqrt(2 / (n - 1)) of the dispersion.
    """
    if len(arrived) < 2:
        return None
    total = arrived[-1][1] - arrived[0][1]
    group = math.ceil(_INTERVAL_REQUESTS * (len(arrived) - 1) / total) if total > 0 else len(arrived)
    edges = arrived[::group]
    intervals = len(edges) - 1
    if intervals < _INTERVALS:
        return None
    rate = (edges[-1][1] - edges[0][1]) / (edges[-1][0] - edges[0][0])
    if rate <= 0:
        return None
    dispersion = 0.0
    for (began_s, before), (ended_s, after) in pairwise(edges):
        expected = rate * (ended_s - began_s)
        dispersion += (after - before - expected) ** 2 / expected / (intervals - 1)
    if abs(dispersion - 1) <= 2 * math.sqrt(2 / (intervals - 1)):
        return 1.0
    return float(f"{1 / min(max(dispersion, 0.01), 20.0):.2g}")


def shared_prefix(prompts: Observed, hit_rate: float | None) -> SharedPrefix | None:
    """One prefix of all prompts that would be found in the cache as often; shorter, where many prompts are shorter."""
    if hit_rate is None or hit_rate <= _LEAST_HIT_RATE:
        return None
    tokens = min(round(hit_rate * prompts.mean), nearly_all_above(prompts, _TOO_SHORT) - 1)
    return SharedPrefix(tokens=tokens, count=1) if tokens >= _BLOCK_TOKENS else None


def _hit_rate(first: Scrape, last: Scrape) -> float | None:
    if None in (first.prefix_queries, first.prefix_hits, last.prefix_queries, last.prefix_hits):
        return None
    queries = (last.prefix_queries or 0.0) - (first.prefix_queries or 0.0)
    return ((last.prefix_hits or 0.0) - (first.prefix_hits or 0.0)) / queries if queries > 0 else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
