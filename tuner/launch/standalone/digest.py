"""Runs inside vLLM's interpreter, as a part of serve_forks.py: parsed arguments and their VllmConfig in; a digest of all that
decides how the server runs, and the key of its compiled code, out.

Two servers of one digest run alike, but for what resolving.py tells of MAY_CHANGE, which is in no digest: vLLM may change
that when it starts. Whatever is not known to be without effect is in it, so that in doubt two digests differ. It imports
nothing of tuner.
"""

import dataclasses
import enum
import hashlib
import json
from pathlib import Path
from typing import Any

#: Differ from run to run, or say what has happened already (config/vllm.py, config/compilation.py, config/parallel.py).
_PER_RUN = {
    *("instance_id", "cache_dir", "local_cache_dir", "debug_dump_path"),
    *("enabled_custom_ops", "disabled_custom_ops", "traced_files", "static_forward_context", "static_all_moe_layers"),
    *("compilation_time", "encoder_compilation_time", "placement_group", "_block_size_resolved"),
}
_PORTS = ("_port", "_port_list")
#: Section and field of what may change; the flag of the first is no field of that name.
_MAY_CHANGE = {
    ("compilation_config", "cudagraph_mode"),
    ("attention_config", "backend"),
    ("cache_config", "block_size"),
    ("cache_config", "user_specified_block_size"),
    ("cache_config", "enable_prefix_caching"),
    ("scheduler_config", "enable_chunked_prefill"),
}
#: Arguments that are in the config under another name, or without effect on how it runs: where it listens, who may ask.
_ELSEWHERE = {
    *("model_tag", "attention_backend", "kv_cache_dtype", "api_server_count", "scheduling_policy"),
    *("config", "host", "port", "uds", "api_key", "hf_token"),
}
_DEEPEST = 8


def digest(args: Any, config: Any) -> str:
    """Of `vllm serve` with these arguments."""
    told = {name: _told(value, name) for name, value in vars(config).items() if not _is_per_run(name)}
    if config.parallel_config.data_parallel_size == 1:
        told["parallel_config"].pop("disable_nccl_for_dp_synchronization", None)  # it follows from what was asked for
    fields = {name for section in vars(config).values() for name in _fields(section)} | _fields(config)
    front = {
        name: _plain(value)
        for name, value in vars(args).items()
        if name not in fields | _ELSEWHERE and not _is_per_run(name)
    }
    front["api_server_count"] = args.api_server_count or args.data_parallel_size
    fits = getattr(config.model_config, "original_max_model_len", None) == -1  # the length is found when it starts
    text = json.dumps([told, front, fits], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def compile_key(config: Any) -> str | None:
    """What vLLM finds its compiled code again by, as compilation/backends.py makes it of the config and of the environment;
    None where nothing is compiled, or where it does not tell."""
    from vllm import envs

    if str(getattr(config.compilation_config.mode, "name", "NONE")) == "NONE":
        return None
    try:
        factors = [config.compute_hash(), json.dumps(envs.compile_factors(), sort_keys=True, default=str)]
    except Exception:  # noqa: BLE001  another vLLM
        return None
    return hashlib.sha256(json.dumps(factors).encode()).hexdigest()[:16]


def _told(value: Any, section: str) -> Any:
    """A section without what may change when the server starts."""
    if not dataclasses.is_dataclass(value):
        return _plain(value)
    kept = _fields(value) - {field for of, field in _MAY_CHANGE if of == section}
    return {name: _plain(getattr(value, name, None)) for name in sorted(kept)}


def _fields(value: Any) -> set[str]:
    if not dataclasses.is_dataclass(value):
        return set()
    return {field.name for field in dataclasses.fields(value) if not _is_per_run(field.name)}


def _is_per_run(name: str) -> bool:
    return name in _PER_RUN or name.endswith(_PORTS)


def _plain(value: Any, depth: int = 0) -> Any:
    """Anything as JSON, the same for the same; of an object that nobody knows its class and what is in it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if depth == _DEEPEST:
        return _class_of(value)
    if isinstance(value, dict):
        return {str(name): _plain(part, depth + 1) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part, depth + 1) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(json.dumps(_plain(part, depth + 1), sort_keys=True, default=str) for part in value)
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"
    if hasattr(value, "to_diff_dict"):  # a model's config.json, as transformers reads it
        return _plain(value.to_dict(), depth + 1)
    if fields := _fields(value):
        return {name: _plain(getattr(value, name, None), depth + 1) for name in sorted(fields)}
    if inside := getattr(value, "__dict__", None):
        return [_class_of(value), _plain(inside, depth + 1)]
    text = repr(value)
    return _class_of(value) if " at 0x" in text else text


def _class_of(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
