"""Runs inside vLLM's interpreter, as a part of serve_forks.py: does once what each server of a model would do at its start.

In: vLLM's configuration of a server. Out: nothing; its forks have what they need in memory. It imports nothing of tuner. What
fails here, the servers try themselves.
"""

import copy
import importlib
import types
from typing import Any

#: What EngineCore and a worker import when they start; some exist only in some versions.
_MODULES = (
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.executor.uniproc_executor",
    "vllm.v1.executor.multiproc_executor",
    "vllm.v1.worker.gpu.model_runner",
    "vllm.v1.attention.backends.flash_attn",
    "vllm.model_executor.model_loader",
    "vllm.compilation.backends",
)
#: The API server's own tokenizers: `renderer_num_workers`, which is 1 unless it is set, and one more.
_COPIES = 2

_seen: set[int] = set()


def prepare(config: Any) -> None:
    """Import what a server of this configuration would import, and read its tokenizer."""
    from vllm import ModelRegistry

    worker = str(getattr(config.parallel_config, "worker_cls", "")).rpartition(".")[0]
    for module in (*_MODULES, *([worker] if worker else [])):
        try:
            importlib.import_module(module)
        except Exception:  # noqa: BLE001  another vLLM, or another platform
            continue
    for architecture in getattr(config.model_config, "architectures", ()):
        try:
            ModelRegistry.models[architecture].load_model_cls()
        except Exception:  # noqa: BLE001
            continue
    try:
        _read_tokenizer(config.model_config)
    except Exception:  # noqa: BLE001
        return


def _read_tokenizer(model_config: Any) -> None:
    """vLLM keeps it for the process, and copies it deeply for its threads, before EngineCore is started: 2.7 s for a vocabulary
    of 152,000 on an H100's host. The copies are made here, and handed out there."""
    from vllm.tokenizers import hf
    from vllm.tokenizers.registry import cached_tokenizer_from_config

    tokenizer = cached_tokenizer_from_config(model_config)
    if tokenizer is None or id(tokenizer) in _seen or getattr(hf, "copy", None) is None:
        return
    _seen.add(id(tokenizer))  # it stays in vLLM's cache, and so does its address
    backend = tokenizer._tokenizer  # what a shallow copy shares with it
    ready = [copy.deepcopy(tokenizer) for _ in range(_COPIES)]
    original = hf.copy.deepcopy

    def deepcopy(value: Any, *rest: Any) -> Any:
        is_copy = type(value) is type(tokenizer) and value._tokenizer is backend
        return ready.pop() if ready and is_copy and not rest else original(value, *rest)

    hf.copy = types.SimpleNamespace(copy=copy.copy, deepcopy=deepcopy)
