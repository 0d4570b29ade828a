"""A server's log in; what vLLM says of its memory out. Pure; the texts are those of vLLM 0.25 to 0.32, INFO and DEBUG.

Numbers are as exact as the log: gibibytes with two decimals, tokens exactly. With several GPUs, the first to speak counts.
"""

import re
from dataclasses import dataclass

_GIB = 2**30
_NUMBER = r"(-?\d[\d,]*(?:\.\d+)?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What a log says, per GPU; None where it says nothing. `graphs_bytes` is what the CUDA graphs took in the end,
    `other_bytes` what is neither weights nor activations (DEBUG only, as `activations_bytes`). `compiled` is whether the model
    was compiled in that start, rather than loaded from the compile cache."""

    weights_bytes: int | None = None
    graphs_bytes: int | None = None
    kv_cache_bytes: int | None = None
    kv_cache_tokens: int | None = None
    activations_bytes: int | None = None
    other_bytes: int | None = None
    compiled: bool | None = None


def read_log(log: str) -> Reported:
    """What `log` says of memory, before and after the failure of a start too."""
    weights, activations = _gib(log, r"Model loading took {}"), _gib(log, r"torch peak memory increase: {}\s?GiB")
    other = _gib(log, r"non-torch forward increase memory: {}\s?GiB")
    consumed = _gib(log, r"total consumed \(from mem_get_info\): {}\s?GiB")
    if other is None and consumed is not None and weights is not None:
        other = consumed - weights
    tokens = re.search(rf"KV cache size: {_NUMBER} tokens", log)
    compiled = True if "Compiling a graph for" in log else False if "Directly load" in log else None
    return Reported(
        weights_bytes=weights,
        graphs_bytes=_gib(log, r"Graph capturing finished in \d+ secs, took {} GiB"),
        kv_cache_bytes=_gib(log, r"Available KV cache memory: {} GiB"),
        kv_cache_tokens=int(tokens[1].replace(",", "")) if tokens else None,
        activations_bytes=activations,
        other_bytes=other,
        compiled=compiled,
    )


def _gib(log: str, pattern: str) -> int | None:
    found = re.search(pattern.replace("{}", _NUMBER), log)
    return round(float(found[1].replace(",", "")) * _GIB) if found else None
