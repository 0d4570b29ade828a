"""A vLLM's /metrics page in; what it tells of its KV cache and its batch at this moment out. It reads no page itself."""

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from tuner.measure.server_page import CACHE_INFO, COUNTERS, RUNNING, kv_cache_tokens_of, totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """`hits` is the share of the prompt tokens so far that came from the prefix cache; None without any prompt."""

    running: float | None
    kv_cache_tokens: int | None
    prefix_caching: bool | None
    hits: float | None


def told(page: str) -> Told:
    """Raises ValueError for what is no page of metrics."""
    values = totals(page)
    queries = values.get(COUNTERS["prefix_cache_queries"])
    return Told(
        running=values.get(RUNNING),
        kv_cache_tokens=kv_cache_tokens_of(page),
        prefix_caching=_prefix_caching(page),
        hits=values.get(COUNTERS["prefix_cache_hits"], 0.0) / queries if queries else None,
    )


def _prefix_caching(page: str) -> bool | None:
    lines = [line for line in page.splitlines() if line.startswith(CACHE_INFO)]
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            value = sample.labels.get("enable_prefix_caching")
            if value in ("True", "False"):
                return value == "True"
    return None
