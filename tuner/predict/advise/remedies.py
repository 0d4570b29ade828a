"""A case in which nothing starts in; what would make it start out: a shorter context, fewer bits, more GPUs, a larger card.

It asks for memory only: what starts may still be slow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tuner.predict.advise.case import Case
from tuner.predict.advise.limits import limit_of_start
from tuner.predict.advise.region import thrifty
from tuner.predict.memory import Memory
from tuner.space import gpus
from tuner.space.parallel import searched_sizes
from tuner.space.search_space import SearchSpace
from tuner.types import Failed

_SIZES = (2, 4, 8, 16)
#: Not told to be lengths: 37,421 says more than anybody knows.
_ROUND = 256


def why_nothing_starts(case: Case, others: Sequence[SearchSpace]) -> str:
    """One sentence: why not even the thriftiest settings start, and what would. `others` are the spaces of other cards."""
    points = list(thrifty(case.space))
    tried = [case.memory(point) for point in points]
    # the one that comes furthest: vLLM looks at the cache after all else
    left = [memory.kv_cache_bytes if isinstance(memory, Memory) else -1 for memory in tried]
    furthest = left.index(max(left))
    failed, memory = case.why_not(points[furthest]), tried[furthest]
    assert failed is not None
    limit = limit_of_start(case, points[furthest], memory if isinstance(memory, Memory) else None, failed)
    found = list(_remedies(case, tried, others))
    would = f"it would start with {', or '.join(found)}" if found else "nor would it on any card that tuner knows"
    return f"no settings of the search space {case.space.name} start on {case.card}: {limit.evidence}; {would}"


def _remedies(case: Case, tried: Sequence[Memory | Failed], others: Sequence[SearchSpace]) -> Iterator[str]:
    lengths = [_sure_length(found) for found in tried if isinstance(found, Memory)]
    length = max(lengths, default=0) // _ROUND * _ROUND
    if length >= case.longest_tokens and _starts(replace(case, space=case.space.with_fixed({"max_model_len": length}))):
        yield f"--max-model-len {length}"
    can_run_awq = gpus.why_not(case.space.gpu.capability, "quantization", "awq") is None
    if case.shape.checkpoint_quantization is None and can_run_awq and "awq" not in case.quantized:
        quantized = replace(case.shape, checkpoint_quantization="awq", stored_bytes=None)
        if _starts(replace(case, shape=quantized)):
            yield "a checkpoint of 4 bits (--model, or --quantized-model awq=PATH)"
    if "tensor_parallel_size" not in case.space.parameters:
        here = case.space.fixed.get("tensor_parallel_size", 1)
        for size in _SIZES:
            if size > int(here) and _starts(_with_size(case, size)):
                yield f"{size} of these GPUs (--engine-arg tensor_parallel_size={size})"
                break
    for space in sorted(others, key=lambda other: other.gpu.memory_gib or 0):
        if space.gpu.capability is not None and _starts(replace(case, space=_on(case, space))):
            yield f"--gpu {space.name}"
            break


def _sure_length(memory: Memory) -> int:
    """The longest request that fits even if the prediction is off by its margin."""
    cache = memory.kv_cache_bytes
    if memory.is_told:
        return memory.largest_length
    return int(memory.largest_length * max(0, cache - memory.margin_bytes) / cache) if cache else 0


def _with_size(case: Case, size: int) -> Case:
    return replace(case, space=case.space.with_fixed({"tensor_parallel_size": size}))


def _on(case: Case, space: SearchSpace) -> SearchSpace:
    """The other card's space with what the user fixed."""
    own = {name: value for name, value in case.space.fixed.items() if name in ("max_model_len", "tensor_parallel_size")}
    space = space.without(searched_sizes(space))
    return space.with_quantized_models(dict.fromkeys(case.quantized, "")).with_fixed(own)


def _starts(case: Case) -> bool:
    return any(case.why_not(point) is None for point in thrifty(case.space))
