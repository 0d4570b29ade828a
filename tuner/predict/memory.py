"""A model's shape, a card and settings in; what becomes of the card's memory out: whether vLLM starts, and its KV cache's size.

All of it per GPU. The terms are those of vLLM's start (v1/worker/gpu_worker.py, determine_available_memory): a pass with
max_num_batched_tokens tokens and max_num_seqs sampled sequences is run, and what the budget has left beside the weights,
that pass and the rest is the KV cache. Time is not known here, nor what other processes hold on the card.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from tuner.errors import UsageError
from tuner.predict.footprint import activation_bytes, counts_graphs, graph_bytes, kept_bytes, weight_bytes
from tuner.predict.kv_blocks import KvBlocks
from tuner.predict.margin import FRAGMENTED, Verdict, margin_bytes
from tuner.predict.memory_log import Reported, read_log
from tuner.predict.precision import kv_bytes_per_token
from tuner.predict.settings import LATEST, Settings, Version
from tuner.predict.shape import Shape
from tuner.predict.sharing import of_a_rank
from tuner.space.gpus import WITH_NVLINK, Gpu
from tuner.types import Failed, FailureKind

__all__ = [
    "Memory",
    "MemoryCalibration",
    "Observed",
    "Reported",
    "calibrate_memory",
    "predict_memory",
    "read_log",
    "told_cache_bytes",
]

_GIB = 2**30
#: Measured on H200s with vLLM 0.25.1 (CUDA 13), the same for every model and setting: what CUDA holds before vLLM counts; what
#: the profiling run leaves beside PyTorch's memory and in small tensors; what NCCL adds to that over NVLink. For other cards
#: what CUDA holds is assumed. Before 0.25 as public logs of H100s have it.
_CONTEXT_HOPPER, _CONTEXT = round(0.51 * _GIB), round(0.25 * _GIB)
_OTHER = round(0.228 * _GIB)
_OTHER_BEFORE: Sequence[tuple[Version, int]] = (((0, 17), round(0.14 * _GIB)), ((0, 25), round(0.25 * _GIB)))
_NCCL, _NCCL_BEFORE_0_17 = round(0.29 * _GIB), round(0.4 * _GIB)
#: In between vLLM kept FlashInfer's workspace for all-reduce and norm in one, on Hopper (2.06 to 2.21 GiB in all).
_ALL_REDUCE = round(1.83 * _GIB)
#: Since then vLLM counts all that it holds, instead of weights and what is outside PyTorch (utils/mem_utils.py).
_COUNTS_ALL: Version = (0, 28)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes per GPU; where several engines share it, of one of them, and `total_bytes` is its part of it. `budget_bytes` is
    gpu_memory_utilization of all; weights, activations, the rest and the KV cache fill it, and the CUDA graphs where this vLLM
    counts them (`graphs_counted`); a cache that `is_told` to vLLM (`told_cache_bytes`) leaves a margin. `other_bytes` is what
    is neither.

    `margin_bytes` is by how much all of that may be off, `slack_bytes` by how much it fits, or fails to by the tightest of what
    a start needs (below 0). `failed` is what goes wrong by the likeliest numbers, `at_best` and
    `at_worst` with the margin in favour and against; None where it starts. `kv_cache_tokens` is what vLLM would report: 0
    where it does not start even at best, and the least that it starts with where it may. `largest_length` is the longest
    request that would fit."""

    total_bytes: int
    budget_bytes: int
    weights_bytes: int
    activations_bytes: int
    graphs_bytes: int
    other_bytes: int
    graphs_counted: bool
    kv_bytes_per_token: float
    kv_cache_bytes: int
    kv_cache_tokens: int
    largest_length: int
    is_told: bool = False
    margin_bytes: int = 0
    slack_bytes: int = 0
    failed: Failed | None = None
    at_best: Failed | None = None
    at_worst: Failed | None = None

    @property
    def verdict(self) -> Verdict:
        if self.at_best is not None:
            return Verdict.FAILS
        return Verdict.STARTS if self.at_worst is None else Verdict.MAYBE

    def concurrency(self, tokens_per_request: float) -> float:
        """How many requests of so many tokens the KV cache holds at once."""
        return self.kv_cache_tokens / tokens_per_request


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCalibration:
    """What logs add to the constants: factors, and bytes that are added to the rest."""

    weights: float = 1.0
    graphs: float = 1.0
    other_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed(Reported):
    """What a launch with these settings reported."""

    settings: Settings


def predict_memory(
    shape: Shape,
    gpu: Gpu,
    settings: Settings,
    calibration: MemoryCalibration = MemoryCalibration(),
    version: Version = LATEST,
    *,
    cold: bool = True,
) -> Memory:
    """What a start does with the card's memory. `cold`: the model is compiled in that start, whose temporary memory vLLM takes
    for the model's; else it comes from the compile cache.

    Raises UsageError for a card whose memory is not known, and for the CPU."""
    is_told = settings.engines_per_gpu > 1
    told = told_cache_bytes(shape, gpu, settings, version) if is_told else 0
    shape, total = of_a_rank(shape, settings), _total_bytes(gpu, settings)
    terms = _terms(shape, gpu, settings, calibration, version, cold=cold)
    left = terms.left
    context = _CONTEXT_HOPPER if gpu.capability == (9, 0) else _CONTEXT
    outside = terms.outside
    if is_told:
        left = told
        outside += left - terms.left  # below 0: so much of the budget stays free
    blocks, margin = KvBlocks(shape, settings), terms.margin
    found = Memory(
        total_bytes=total,
        budget_bytes=terms.budget,
        weights_bytes=terms.weights,
        activations_bytes=terms.activations,
        graphs_bytes=terms.graphs,
        other_bytes=terms.other,
        graphs_counted=terms.graphs_counted,
        kv_bytes_per_token=kv_bytes_per_token(shape, settings),
        kv_cache_bytes=max(0, left),
        kv_cache_tokens=blocks.tokens(left),
        largest_length=blocks.largest_length(left),
        is_told=is_told,
        margin_bytes=margin,
    )
    needed = blocks.needed(settings.max_model_len) * blocks.block_bytes
    needs = _Needs(needed, total - context, outside)
    of_cache = 0 if is_told else margin
    found = replace(found, slack_bytes=round(_slack(found, left, needs, is_told)))
    failed = _failure(found, settings, left, needs)
    at_best = _failure(found, settings, left + of_cache, needs.shifted(margin))
    pieces = 0 if terms.activations > 0.5 * terms.budget else round(FRAGMENTED * terms.activations)
    at_worst = _failure(found, settings, left - of_cache, needs.shifted(-margin, pieces))
    tokens = found.kv_cache_tokens
    if failed is not None:
        tokens = 0 if at_best else max(tokens, settings.max_model_len)
    return replace(found, kv_cache_tokens=tokens, failed=failed, at_best=at_best and failed, at_worst=at_worst)


def told_cache_bytes(shape: Shape, gpu: Gpu, settings: Settings, version: Version = LATEST) -> int:
    """What each of the engines that share a GPU is told to take for its KV cache: what is likely left of its part of the
    budget, less what that may be off by; below 0 where nothing is left. It follows from the settings alone, so that a launch
    is the same in every study.

    Raises UsageError for a card whose memory is not known, and for the CPU."""
    return _terms(of_a_rank(shape, settings), gpu, settings, MemoryCalibration(), version, cold=True).told


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """Bytes: what a start takes of its `budget`, `outside` of it, and by how much all of it may be off (`margin`)."""

    budget: int
    weights: int
    activations: int
    graphs: int
    other: int
    graphs_counted: bool
    outside: int
    margin: int

    @property
    def left(self) -> int:
        """For the KV cache."""
        graphs = self.graphs if self.graphs_counted else 0
        return self.budget - self.weights - self.activations - self.other - graphs

    @property
    def told(self) -> int:
        return self.left - self.margin


def _terms(
    shape: Shape, gpu: Gpu, settings: Settings, calibration: MemoryCalibration, version: Version, *, cold: bool
) -> _Terms:
    """Of a rank's shape."""
    weights = round(weight_bytes(shape, gpu, settings) * calibration.weights)
    activations = round(activation_bytes(shape, gpu, settings, version, cold=cold))
    graphs = round(graph_bytes(shape, settings, version) * calibration.graphs)
    kept, counted = round(kept_bytes(shape, settings, version)), counts_graphs(shape, version)
    moving = {"weights": weights, "activations": activations, "graphs": graphs}
    return _Terms(
        budget=math.ceil(_total_bytes(gpu, settings) * settings.gpu_memory_utilization),
        other=_other_bytes(gpu, settings, version) + calibration.other_bytes + (kept if version >= _COUNTS_ALL else 0),
        graphs_counted=counted,
        outside=(0 if version >= _COUNTS_ALL else kept) + (0 if counted else graphs),
        margin=margin_bytes(shape, gpu, settings, **moving, calibrated=calibration != MemoryCalibration()),
        **moving,
    )


def _total_bytes(gpu: Gpu, settings: Settings) -> int:
    """Of an engine's part of a GPU."""
    if gpu.memory_gib is None:
        raise UsageError("the memory of this card is not known: give its memory_gib in the search space's gpu")
    return round(gpu.memory_gib * _GIB / settings.engines_per_gpu)


def _other_bytes(gpu: Gpu, settings: Settings, version: Version) -> int:
    """What is neither weights nor activations nor graphs, nor kept by the sampler."""
    found = next((size for before, size in _OTHER_BEFORE if version < before), _OTHER)
    together = settings.tensor_parallel_size * settings.pipeline_parallel_size
    if together == 1 or gpu.capability not in WITH_NVLINK:
        return found
    if version >= (0, 25):
        return found + _NCCL
    reduces = settings.tensor_parallel_size > 1 and gpu.capability == (9, 0)
    return found + (_ALL_REDUCE if version >= (0, 17) and reduces else _NCCL_BEFORE_0_17)


@dataclass(frozen=True, slots=True)
class _Needs:
    """Bytes: of one request of the longest length, `free` when vLLM starts, and `outside` what it takes beside its budget, or
    leaves of it (below 0)."""

    request: float
    free: int
    outside: int

    def shifted(self, margin: int, pieces: int = 0) -> "_Needs":
        return replace(self, free=self.free + margin, outside=self.outside + pieces)


def _slack(memory: Memory, left: int, needs: _Needs, is_told: bool) -> float:
    """By how many bytes the first thing that would go wrong (`_failure`) does not; a cache that is told suffices or does not,
    for certain."""
    cache = left - max(needs.request, 1.0)
    if is_told:
        cache = math.copysign(memory.total_bytes, cache)
    loaded = memory.weights_bytes + memory.activations_bytes + memory.other_bytes
    return min(needs.free - memory.budget_bytes - max(0, needs.outside), needs.free - loaded, cache)


def _failure(memory: Memory, settings: Settings, left: int, needs: _Needs) -> Failed | None:
    """The first thing that goes wrong on the way up, in vLLM's words; None if the server starts. `left` is for the KV cache."""
    free, needed, outside = needs.free, needs.request, needs.outside
    if memory.budget_bytes > free:
        return _out_of_memory(
            f"Free memory on device cuda:0 ({_gib(free)}/{_gib(memory.total_bytes)} GiB) on startup is less than desired GPU"
            f" memory utilization ({settings.gpu_memory_utilization}, {_gib(memory.budget_bytes)} GiB). Decrease GPU memory"
            " utilization or reduce GPU memory used by other processes."
        )
    if memory.weights_bytes > free:
        return _out_of_memory(
            "Failed to load model - not enough GPU memory. Try lowering --gpu-memory-utilization to free memory for weights,"
            " increasing --tensor-parallel-size, or using --quantization."
            f" (predicted: {_gib(memory.weights_bytes)} GiB of weights)"
        )
    if memory.weights_bytes + memory.activations_bytes + memory.other_bytes > free:
        return _out_of_memory(
            f"CUDA out of memory. Tried to allocate {_gib(memory.activations_bytes)} GiB for activations."
        )
    if left <= 0:
        return _too_small(
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine."
        )
    if needed > left:
        return _too_small(
            f"To serve at least one request with the model's max seq len ({settings.max_model_len}), ({_gib(needed)} GiB KV"
            f" cache is needed, which is larger than the available KV cache memory ({_gib(left)} GiB). Based on the available"
            f" memory, the estimated maximum model length is {memory.largest_length}. Try increasing `gpu_memory_utilization`"
            " or decreasing `max_model_len` when initializing the engine."
        )
    if memory.budget_bytes + outside > free:
        return _out_of_memory(
            f"CUDA out of memory: the budget of {_gib(memory.budget_bytes)} GiB and {_gib(outside)} GiB that vLLM takes beside"
            f" it (CUDA graphs, penalties) are more than the {_gib(free)} GiB that are free; lower gpu_memory_utilization."
        )
    return None


def _out_of_memory(message: str) -> Failed:
    return Failed(kind=FailureKind.OUT_OF_MEMORY, message=message)


def _too_small(message: str) -> Failed:
    return Failed(kind=FailureKind.KV_CACHE_TOO_SMALL, message=message)


def _gib(size: float) -> float:
    return round(size / _GIB, 2)


def calibrate_memory(
    shape: Shape, gpu: Gpu, observed: Sequence[Observed], version: Version = LATEST
) -> MemoryCalibration:
    """What the logs of some launches of this model on this card add to the constants; one launch is enough.

    What a log does not tell stays as it is, and so do the weights where they are right within 1 % (logs have two decimals).
    What is then missing of the KV cache counts as `other_bytes`. Engines that share a GPU teach nothing: their cache was told
    to them."""
    observed = [each for each in observed if each.settings.engines_per_gpu == 1]
    weights, graphs = [1.0], [1.0]
    for each in observed:
        before = predict_memory(shape, gpu, each.settings, version=version)
        weights += [each.weights_bytes / before.weights_bytes] if each.weights_bytes else []
        graphs += [each.graphs_bytes / before.graphs_bytes] if each.graphs_bytes and before.graphs_bytes else []
    weight = median(weights[1:] or weights)
    found = MemoryCalibration(weights=weight if abs(weight - 1) > 0.01 else 1.0, graphs=median(graphs[1:] or graphs))
    missing = []
    for each in observed:
        held = _cache_bytes(of_a_rank(shape, each.settings), each)
        if held is not None:
            memory = predict_memory(shape, gpu, each.settings, found, version, cold=each.compiled is not False)
            missing.append(memory.kv_cache_bytes - held)
    return replace(found, other_bytes=round(median(missing or [0])))


def _cache_bytes(shape: Shape, observed: Observed) -> int | None:
    """The KV cache's bytes: of its tokens, which the log gives exactly, where each layer keeps every token."""
    if observed.kv_cache_tokens and not shape.window_layers:
        return round(observed.kv_cache_tokens * kv_bytes_per_token(shape, observed.settings))
    return observed.kv_cache_bytes
