"""vLLM's arguments, by each of its spellings, in; the fields of `Settings` that are not named as the argument is, out. Pure.

Read in vLLM 0.25.1 and 0.32 (engine/arg_utils.py, config/compilation.py, attention.py and speculative.py). It does not know
the other arguments, nor what any of them does.
"""

import json
from collections.abc import Mapping

from tuner.space.engines import ENGINES
from tuner.space.gpus import UNSET
from tuner.space.speculation import CONFIG, METHOD, MODEL, TOKENS, broken, config_of, is_of_speculation, tokens_of
from tuner.types import Params, Value
from tuner.types.settings import as_list, engines_sharing, list_text

#: How vLLM captures CUDA graphs, and by which name of its command line (config/compilation.py, CUDAGraphMode).
MODE, MODES = (
    "compilation_config.cudagraph_mode",
    ("NONE", "PIECEWISE", "FULL", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE"),
)
SIZES, LARGEST, BACKEND = "cudagraph_capture_sizes", "max_cudagraph_capture_size", "attention_backend"
#: In which process the model runs, where its name says it (config/parallel.py, DistributedExecutorBackend).
EXECUTOR, _EXECUTORS = "distributed_executor_backend", ("ray", "mp", "uni", "external_launcher")
_LENGTH, _RATES = "speculative_config.synthetic_acceptance_length", "speculative_config.synthetic_acceptance_rates"
#: vLLM's name of a field of `Settings`, where it has another one.
NAMES: Mapping[str, str] = {
    "cudagraph_mode": MODE,
    "speculative_method": METHOD,
    "speculative_tokens": TOKENS,
    "speculative_acceptance_length": _LENGTH,
}
_OTHERWISE = {
    "compilation_config.cudagraph_capture_sizes": SIZES,
    "compilation_config.max_cudagraph_capture_size": LARGEST,
    "attention_config.backend": BACKEND,
}
#: How many copies are a node's: with fewer than there are altogether, nodes share the GPUs (tuner.types.settings).
LOCAL = "data_parallel_size_local"
_JSON = ("compilation_config", "attention_config")
#: All that is read here.
READ = frozenset(
    (
        *(*NAMES.values(), SIZES, LARGEST, BACKEND, EXECUTOR, *_OTHERWISE, *_JSON, CONFIG, MODEL, _RATES),
        *("spec_method", "spec_tokens", LOCAL),
    )
)


def read(given: Params) -> tuple[dict[str, object], Params]:
    """Fields of `Settings`, and what of `given` is not read here. Raises ValueError, with a sentence like vLLM's, for values
    that it refuses."""
    params = {_OTHERWISE.get(name, name): value for name, value in _flat(given).items()}
    found: dict[str, object] = dict(_speculation(params))
    rest = {name: value for name, value in params.items() if not is_of_speculation(name) and value != UNSET}
    if (mode := rest.pop(MODE, None)) is not None:
        if str(mode).upper() not in MODES:
            raise ValueError(f"{MODE}: {mode!r} is not one of {', '.join(MODES)}")
        found["cudagraph_mode"] = str(mode).upper()
    if (backend := rest.pop(BACKEND, None)) is not None and str(backend).lower() != "auto":
        found[BACKEND] = str(backend).upper()
    if (executor := rest.pop(EXECUTOR, None)) is not None:
        if executor not in _EXECUTORS:
            raise ValueError(f"{EXECUTOR}: {executor!r} is not one of {', '.join(_EXECUTORS)}")
        found[EXECUTOR] = executor
    if (sizes := rest.pop(SIZES, None)) is not None:
        found[SIZES] = _sizes(sizes)
    if (largest := rest.pop(LARGEST, None)) is not None:
        found[LARGEST] = _size(LARGEST, largest)
    return found | _shared(rest), rest


def told(field: str, value: object) -> tuple[str, Value]:
    """A field of `Settings` as vLLM's argument."""
    return NAMES.get(field, field), list_text(value) if isinstance(value, tuple) else value  # type: ignore[return-value]


def _shared(rest: dict[str, Value]) -> dict[str, object]:
    """Engines that share a GPU, which vLLM tells one by one: what is left of `rest` is of all of them together. The KV cache of
    each follows from that."""
    engines = engines_sharing(rest)
    if engines == 1:
        return {}
    rest.pop("kv_cache_memory_bytes", None)
    if isinstance(each := rest.get("gpu_memory_utilization"), int | float):
        rest["gpu_memory_utilization"] = round(each * engines, 3)  # each was rounded down
    return {ENGINES: engines, "data_parallel_size": rest[LOCAL]}


def _flat(given: Params) -> dict[str, Value]:
    """A config that is given as one JSON text as the dotted names that say the same."""
    found: dict[str, Value] = {}
    for name, value in given.items():
        whole = _object(value) if name in _JSON else None
        for key, one in (whole or {}).items():
            if one is not None:
                found[f"{name}.{key}"] = list_text(one) if isinstance(one, list) else one  # type: ignore[assignment]
        if whole is None:
            found[name] = value
    return found


def _object(value: Value) -> dict[str, object] | None:
    try:
        found = json.loads(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _sizes(value: Value) -> tuple[int, ...]:
    sizes = as_list(SIZES, value)
    found = tuple(sorted({_size(SIZES, size) for size in ([value] if sizes is None else sizes)}))
    if not found:
        raise ValueError(f"AssertionError: {SIZES} should contain at least one element when using cuda graph.")
    return found


def _size(name: str, value: Value) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"argument --{name.replace('_', '-')}: invalid int value: {value!r}")
    if value < 1:
        raise ValueError(
            "AssertionError: Maximum cudagraph size should be greater than or equal to 1 when using cuda graph."
        )
    return value


def _speculation(params: Params) -> Mapping[str, object]:
    """Nothing where there is none. A draft model is named without a method, or by it."""
    config = config_of(params)
    if not config:
        return {}
    for _, why in broken(params):
        raise ValueError(why)
    method = str(config.get("method", "draft_model"))
    tokens = tokens_of(config)
    if tokens is None and method.startswith("ngram"):
        raise ValueError(f"{method}: num_speculative_tokens must be provided")
    tokens = tokens or 1  # what a checkpoint with such layers has
    found: dict[str, object] = {"speculative_method": method, "speculative_tokens": tokens}
    length, rates = config.get("synthetic_acceptance_length"), config.get("synthetic_acceptance_rates")
    if isinstance(rates, str):
        rates = as_list(_RATES, rates)
    if length is None and isinstance(rates, list):
        length = 1 + sum(float(rate) for rate in rates[:tokens])
    if length is not None:
        if isinstance(length, bool) or not isinstance(length, int | float) or not 1 <= length <= tokens + 1:
            raise ValueError(f"synthetic_acceptance_length must be in [1, {tokens + 1}], got {length}.")
        found["speculative_acceptance_length"] = float(length)
    return found
