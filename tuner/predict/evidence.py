"""A setting and where it is proposed in; whether what it is predicted to bring is measured knowledge or a guess, out. Pure.

Measured is what the model's term for the setting was fitted to, or checked against, on such a card. It does not know how much a
setting brings, nor how far off a number is (tuner.predict.uncertainty).
"""

from dataclasses import dataclass
from enum import StrEnum

from tuner.predict.uncertainty import Known
from tuner.space.engines import ENGINES
from tuner.space.gpus import Gpu
from tuner.types import Value

_HOPPER = (9, 0)
#: Settings whose term was fitted to measurements, or checked against them (benchmarks/predict): the batch, the processes
#: around the engine, CUDA graphs, and the memory.
_MEASURED = frozenset(
    (
        *("max_num_seqs", "max_num_batched_tokens", "max_model_len", "gpu_memory_utilization"),
        *("stream_interval", "api_server_count", "enforce_eager"),
        *("max_cudagraph_capture_size", "cudagraph_capture_sizes"),
        *(f"compilation_config.{name}" for name in ("cudagraph_mode", "cudagraph_capture_sizes")),
        "compilation_config.max_cudagraph_capture_size",
    )
)
#: Of these settings some values were measured: those that begin so.
_MEASURED_VALUES = {"quantization": "fp8", "kv_cache_dtype": "fp8"}
#: What was measured on Hopper cards only.
_ON_HOPPER = frozenset(("attention_backend", "attention_config.backend"))


class Evidence(StrEnum):
    """Of a predicted effect."""

    MEASURED = "measured"
    GUESSED = "guessed"


@dataclass(frozen=True, slots=True)
class Basis:
    """What the prediction of a setting's effect rests on; `why` is what was not measured, None where it was."""

    evidence: Evidence
    why: str | None = None


def basis(
    name: str, default: Value | None, value: Value, gpu: Gpu, known: Known, *, has_acceptance: bool = False
) -> Basis:
    """Of changing `default` to `value`. With `has_acceptance` it was given how often drafts are accepted."""
    if known is Known.NOTHING:
        return Basis(Evidence.GUESSED, f"no measurement of {gpu.names[0] if gpu.names else 'the CPU'} is in the model")
    if name.partition(".")[0] == "speculative_config":
        why = None if has_acceptance else "how often its drafts are accepted was not given"
    elif name in _ON_HOPPER:
        why = None if gpu.capability == _HOPPER else f"{name} was measured on Hopper cards only"
    elif name in _MEASURED_VALUES:
        narrow = next((one for one in (value, default) if _is_other(one, name)), None)
        why = None if narrow is None else f"no measurement of {name}={narrow} is in the model"
    else:
        seen = "one measurement" if name == ENGINES else "no measurement"
        why = None if name in _MEASURED else f"{seen} of {name} is in the model"
    return Basis(Evidence.GUESSED, why) if why else Basis(Evidence.MEASURED)


def _is_other(value: Value | None, name: str) -> bool:
    """Neither what was measured nor what every model is measured with."""
    return str(value) not in ("none", "auto", "None") and not str(value).startswith(_MEASURED_VALUES[name])
