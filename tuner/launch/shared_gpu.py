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
from tuner.predict.memory import told_cache_bytes
from tuner.predict.settings import LATEST, Settings, Version, heeded, resolve
from tuner.predict.shape import Shape
from tuner.space.engines import ENGINES, engines_of
from tuner.space.gpus import Gpu
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

    def utilization(self, asked: Params) -> float:
        """gpu_memory_utilization, where it is left to vLLM."""
        settings = self._settings(asked)
        return settings.gpu_memory_utilization if settings else _UTILIZATION

    def cache_bytes(self, asked: Params) -> int | None:
        """Bytes of the KV cache of each engine; None where vLLM refuses the settings, or nobody can tell."""
        if (settings := self._settings(asked)) is None:
            return None
        return max(_LEAST_BYTES, told_cache_bytes(self._shape(asked), self.gpu, settings, self.version))

    def _settings(self, asked: Params) -> Settings | None:
        try:
            found = resolve(heeded(asked), self._shape(asked), self.gpu, self.version)
        except UsageError:
            return None
        return found if isinstance(found, Settings) else None

    def _shape(self, asked: Params) -> Shape:
        return self.quantized.get(str(asked.get("quantization")), self.shape)


def spread(asked: Params, shared: SharedGpu | None) -> Params:
    """vLLM's arguments for `asked`: the same where an engine has its GPUs for itself. A size of the KV cache that was asked for
    is that of all engines of a GPU, as gpu_memory_utilization is. Raises UsageError for what is no number."""
    engines = engines_of(asked)
    given = {name: value for name, value in asked.items() if name != ENGINES}
    if engines == 1:
        return given
    local, whole = _whole("data_parallel_size", given.get("data_parallel_size", 1)), given.get("gpu_memory_utilization")
    if whole is None:
        whole = shared.utilization(given) if shared else _UTILIZATION
    each: dict[str, Value] = {
        **given,
        "gpu_memory_utilization": _part(_number("gpu_memory_utilization", whole), engines),
    }
    if (size := given.get("kv_cache_memory_bytes")) is not None:
        each["kv_cache_memory_bytes"] = _whole("kv_cache_memory_bytes", size) // engines
    elif shared and (room := shared.cache_bytes({**asked, "gpu_memory_utilization": whole})) is not None:
        each["kv_cache_memory_bytes"] = room
    return {**each, "data_parallel_size": local * engines, "data_parallel_size_local": local}


def _number(name: str, value: Value) -> float:
    if isinstance(value, bool | str):
        raise UsageError(f"{name} {value}: expected a number, of which each of the engines that share a GPU has a part")
    return value


def _whole(name: str, value: Value) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name} {value}: expected a whole number, of which the engines that share a GPU have parts")
    return value


def _part(whole: float, parts: int) -> float:
    """Rounded down, to four decimals."""
    return floor(whole / parts * 1e4 + 1e-9) / 1e4
