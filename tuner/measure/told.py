"""A vLLM's /metrics page in; what it tells of its KV cache and its batch at this moment out. It reads no page itself."""

from dataclasses import dataclass

from tuner.measure.exposition import samples
from tuner.measure.server_page import CACHE_INFO, COUNTERS, RUNNING, kv_cache_tokens_of, totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """`hits` is the share of the prompt tokens so far that came from the prefix cache; None without any prompt, or where the
    server does not count them."""

    running: float | None
    kv_cache_tokens: int | None
    prefix_caching: bool | None
    hits: float | None


def told(page: str) -> Told:
    """Raises ValueError for what is no page of metrics."""
    values = totals(page)
    queries, hits = (values.get(COUNTERS[field]) for field in ("prefix_cache_queries", "prefix_cache_hits"))
    return Told(
        running=values.get(RUNNING),
        kv_cache_tokens=kv_cache_tokens_of(page),
        prefix_caching=_prefix_caching(page),
        hits=hits / queries if queries and hits is not None else None,
    )


def _prefix_caching(page: str) -> bool | None:
    told = (sample.labels.get("enable_prefix_caching") for sample in samples(page, (CACHE_INFO,)))
    return next((value == "True" for value in told if value in ("True", "False")), None)
