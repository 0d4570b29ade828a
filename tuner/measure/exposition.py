"""A page of Prometheus metrics in; the samples that are asked for out, by the names that vLLM has for them now. Pure.

The only door to the parser. What is no finite number is dropped: nobody can count with it.
"""

import math
from collections.abc import Sequence

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

#: What vLLM called a metric until 0.10; for some versions a page has it by both names.
_OLDER = {
    "vllm:gpu_cache_usage_perc": "vllm:kv_cache_usage_perc",
    "vllm:gpu_prefix_cache_queries": "vllm:prefix_cache_queries",
    "vllm:gpu_prefix_cache_hits": "vllm:prefix_cache_hits",
}


def samples(text: str, names: tuple[str, ...]) -> Sequence[Sample]:
    """Those whose names begin with one of `names`; other lines are not parsed. Raises ValueError for what is no such page."""
    lines = [line for line in text.splitlines() if line.startswith((*names, *_OLDER))]
    try:
        found = [
            sample
            for family in text_string_to_metric_families("\n".join([*lines, ""]))
            for sample in family.samples
            if math.isfinite(sample.value)
        ]
    except (ValueError, KeyError, IndexError) as error:
        raise ValueError("a line of it is cut or broken") from error
    known = {sample.name for sample in found}
    renamed = [(sample, _now(sample.name)) for sample in found]
    return [
        sample._replace(name=name)
        for sample, name in renamed
        if name.startswith(names) and (name == sample.name or name not in known)
    ]


def _now(name: str) -> str:
    old = next((old for old in _OLDER if name.startswith(old)), None)
    return name if old is None else f"{_OLDER[old]}{name.removeprefix(old)}"
