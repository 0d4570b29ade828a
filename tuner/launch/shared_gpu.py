"""Settings with several engines on each GPU in; what vLLM is given for them, out. Pure.

vLLM has no setting for it, but its data parallelism takes any number of nodes, and does not look whether they are other hosts:
each engine is a node of this host that sees the same GPUs (vLLM's docs/serving/data_parallel_deployment.md, "Internal Load
Balancing"). They start at once, and each would take what another holds for its own when it measures what is left for its KV
cache; so each is told how much that is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import floor

from tuner.errors import UsageError
from tuner.predict.memory import predict_memory
from tuner.predict.settings import LATEST, Settings, Version, heeded, resolve
from tuner.predict.shape import Shape
from tuner.space.gpus import Gpu
from tuner.space.parallel import ENGINES, engines_of
from tuner.types import Params, Value

#: vLLM's own gpu_memory_utilization, where nobody can tell more of the settings.
_UTILIZATION = 0.9
#: What vLLM refuses with a sentence of its own, where nothing is left.
_LEAST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedGpu:
    """What the memory of an engine follows from; `quantized` are the shapes of the checkpoints that a quantization has."""

    shape: Shape
    gpu: Gpu
    version: Version = LATEST
    quantized: Mapping[str, Shape] = field(default_factory=dict)

    def settings(self, asked: Params) -> Settings | None:
        """As vLLM resolves them; None where it refuses them, or nobody can tell."""
        try:
            found = resolve(heeded(asked), self._shape(asked), self.gpu, self.version)
        except UsageError:
            return None
        return found if isinstance(found, Settings) else None

    def cache_bytes(self, asked: Params, settings: Settings) -> int:
        """Bytes of each engine's KV cache, by the likeliest numbers less what they may be off by."""
        memory = predict_memory(self._shape(asked), self.gpu, settings, version=self.version)
        return max(_LEAST_BYTES, memory.kv_cache_bytes - memory.margin_bytes)

    def _shape(self, asked: Params) -> Shape:
        return self.quantized.get(str(asked.get("quantization")), self.shape)


def spread(asked: Params, shared: SharedGpu | None) -> Params:
    """vLLM's arguments for `asked`: the same where an engine has its GPUs for itself. A size of the KV cache that was asked for
    is that of all engines of a GPU, as gpu_memory_utilization is."""
    engines = engines_of(asked)
    given = {name: value for name, value in asked.items() if name != ENGINES}
    if engines == 1:
        return given
    settings = shared.settings(asked) if shared is not None else None
    local = given.get("data_parallel_size", 1)
    utilization = given.get("gpu_memory_utilization", settings.gpu_memory_utilization if settings else _UTILIZATION)
    found: dict[str, Value] = {
        **given,
        "data_parallel_size": int(local) * engines,
        "data_parallel_size_local": local,
        "gpu_memory_utilization": _part(float(utilization), engines),
    }
    if "kv_cache_memory_bytes" in given:
        return {**found, "kv_cache_memory_bytes": int(given["kv_cache_memory_bytes"]) // engines}
    if shared is not None and settings is not None:
        found["kv_cache_memory_bytes"] = shared.cache_bytes(asked, settings)
    return found


def _part(whole: float, parts: int) -> float:
    """Rounded down, to four decimals."""
    return floor(whole / parts * 1e4 + 1e-9) / 1e4
