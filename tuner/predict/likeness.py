"""Settings in; what two of them must share to be simulated alike, to be compiled alike, and how likely one starts, out. Pure.

It knows no points of a search space, and simulates nothing.
"""

from dataclasses import dataclass, replace
from math import erf, sqrt

from tuner.predict.memory import Memory
from tuner.predict.settings import LATEST, Settings, Version, capture_sizes
from tuner.types import Params, Workload

#: The margin of the memory is taken as so many standard deviations of what it is off by.
_DEVIATIONS = 2.0
#: A KV cache that is taken by less than this on the mean limits nothing: a larger one makes no difference.
_ROOM = 0.6
#: Arguments without a formula that are a part of the compiled code all the same.
_COMPILED = ("linear_backend", "moe_backend", "attention_config", "speculative_config.method")


@dataclass(frozen=True, slots=True)
class Room:
    """The KV cache of a simulation, in tokens, how many of them were taken on the mean, and whether that was ever too few."""

    tokens: int
    taken: float
    short: bool

    def serves_alike(self, tokens: int) -> bool:
        """Whether the same simulation with a KV cache of so many tokens would be the same."""
        return tokens == self.tokens or (not self.short and self.taken <= _ROOM * min(tokens, self.tokens))


def simulated_alike(settings: Settings, workload: Workload) -> Settings:
    """Equal for settings whose simulations differ by their KV caches at most."""
    most = settings.max_num_seqs if workload.users is None else min(settings.max_num_seqs, workload.users)
    shares = workload.shared_prefix is not None or workload.turns is not None
    return replace(
        settings,
        max_num_seqs=most,
        cudagraph_capture_sizes=capture_sizes(settings),
        max_cudagraph_capture_size=None,
        gpu_memory_utilization=0.0,
        enable_prefix_caching=settings.enable_prefix_caching and shares,
    )


def compiled_alike(settings: Settings, params: Params, version: Version = LATEST) -> str:
    """Equal for settings whose compiled code is the same; `params` are those that they were resolved from.

    vLLM's hash is of its whole config but for what is known to be without effect on the graph; of what is searched, these were
    seen to change it (config/vllm.py, compute_hash)."""
    if settings.enforce_eager:
        return "eager"
    sizes = capture_sizes(settings, version)
    beside = sorted((name, str(value)) for name, value in params.items() if name.startswith(_COMPILED))
    of_the_graph = (
        settings.max_num_batched_tokens,
        settings.cudagraph_mode,
        settings.cudagraph_capture_sizes or (sizes[-1] if sizes else 0),
        settings.quantization,
        settings.kv_cache_dtype,
        settings.dtype,
        settings.attention_backend,
        settings.tensor_parallel_size,
        settings.pipeline_parallel_size,
    )
    return repr((*of_the_graph, *beside))


def chance_to_start(memory: Memory) -> float:
    """0..1: that what the start needs is there, where the prediction is off by a normal distribution."""
    deviation = max(memory.margin_bytes / _DEVIATIONS, 1.0)
    return 0.5 * (1 + erf(memory.slack_bytes / deviation / sqrt(2)))
