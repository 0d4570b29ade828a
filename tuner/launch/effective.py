"""The log of a vLLM server in; the settings that became others than resolved when it started, with what they became, out. Pure.

vLLM changes some settings only once the model is loaded, and says so nowhere else: an attention backend that cannot run full
CUDA graphs, or one that wants another block size. Read in vLLM 0.25.1 and 0.32; each text names its file.
"""

import re
from collections.abc import Callable, Iterable

from tuner.launch.log_errors import line_text
from tuner.types import Params, Value

_GRAPHS, _BACKEND = "compilation_config.cudagraph_mode", "attention_backend"


def _named(text: str) -> Value:
    """An enum's member, with or without the name of the enum."""
    return text.rpartition(".")[2]


def _off(text: str) -> Value:
    return False


#: What vLLM writes, the setting that it changes, and its value made of the first group.
_CHANGES: tuple[tuple[re.Pattern[str], str, Callable[[str], Value]], ...] = tuple(
    (re.compile(pattern), name, value)
    for pattern, name, value in (
        # config/compilation.py, resolve_cudagraph_mode_and_sizes
        (r"; setting cudagraph_mode=(\w+)", _GRAPHS, _named),
        (r"Cudagraph mode \S+ requires piecewise capture, .* Overriding to ([\w.]+?)\.?$", _GRAPHS, _named),
        # config/vllm.py, before the model is loaded, mostly resolved already
        (r"Cudagraph mode \S+ is not compatible with .*Overriding to ([\w.]+?)\.?$", _GRAPHS, _named),
        (r"Overriding cudagraph_mode (?:from \w+ )?to (\w+)", _GRAPHS, _named),
        (r"(Cudagraph is disabled under eager mode)", _GRAPHS, lambda _: "NONE"),
        # platforms/cuda.py, rocm.py and cpu.py, get_attn_backend_cls
        (r"^Using ([A-Z]\w+) attention backend out of potential backends", _BACKEND, _named),
        (r"^Using (AttentionBackendEnum\.\w+) backend\b", _BACKEND, _named),
        (r"^Using (\w*(?:ATTN|ATTENTION|FLASHINFER|MLA)\w*) backend(?:\.$| \(selected| out of)", _BACKEND, _named),
        (r"^Cannot use (\S+) backend on CPU", _BACKEND, lambda _: "CPU_ATTN"),
        # platforms/interface.py, update_block_size_for_backend
        (r"Setting kv cache block size to (\d+) for", "block_size", int),
        (r"Setting attention block size to (\d+) tokens", "block_size", int),
        # v1/engine/core.py, model_executor/layers/attention, platforms/cpu.py
        (r"([Dd]isabling|DISABLING) chunked prefill", "enable_chunked_prefill", _off),
        (r"([Dd]isabling|DISABLING) prefix caching", "enable_prefix_caching", _off),
        (r"(forcing) chunked prefill and prefix caching to be disabled", "enable_chunked_prefill", _off),
        (r"(forcing) chunked prefill and prefix caching to be disabled", "enable_prefix_caching", _off),
        # config/vllm.py
        (r"(Async scheduling|asynchronous scheduling) (?:will be|is) disabled", "async_scheduling", _off),
        (r"(Async scheduling) not supported with .* and will be disabled", "async_scheduling", _off),
        # v1/core/kv_cache_utils.py
        (r"Auto-fit max_model_len: reduced from \d+ to (\d+) to fit", "max_model_len", int),
    )
)


def effective_settings(log: str, resolved: Params) -> Params:
    """What differs from `resolved`, in which a backend that vLLM was to choose is missing. The last word counts; where a server
    has attention layers of several backends, none is named."""
    told: dict[str, Value] = {}
    backends: set[Value] = set()
    for name, value in _told(log.splitlines()):
        told[name] = value
        if name == _BACKEND:
            backends.add(value)
    if len(backends - {"CPU_ATTN"}) > 1:
        del told[_BACKEND]
    elif others := backends - {"CPU_ATTN"}:
        told[_BACKEND] = others.pop()
    return {name: value for name, value in told.items() if _is_known(name, resolved) and resolved.get(name) != value}


def _is_known(name: str, resolved: Params) -> bool:
    return name in resolved or (name == _BACKEND and bool(resolved))


def _told(lines: Iterable[str]) -> Iterable[tuple[str, Value]]:
    for line in lines:
        text = line_text(line)
        for pattern, name, value in _CHANGES:
            if found := pattern.search(text):
                yield name, value(found[1])
