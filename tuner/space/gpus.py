"""What a GPU can run: an engine argument and its value in, the sentence why it cannot run out, or None.

Pure data, read in the source of vLLM 0.32 (file names are relative to the vllm package); nothing was probed on a GPU.
It does not know models, memory sizes or which GPU is present, and has no opinion on a value that it has no entry for:
vLLM itself refuses those when it resolves the arguments.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from tuner.errors import choose
from tuner.types import Value

#: (major, minor), e.g. (7, 5) for a T4. None is the CPU engine.
Capability = tuple[int, int]
#: Cards that talk over NVLink, as far as their kind tells: of A100 and H100 there are such for PCIe alone.
WITH_NVLINK: tuple[Capability, ...] = ((8, 0), (9, 0), (10, 0))
#: The choice that means: do not pass the argument.
UNSET = "none"


class Gpu(Protocol):
    """A card's data sheet, whoever has read it. No names: the CPU."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def memory_gib(self) -> float | None: ...
    @property
    def capability(self) -> Capability | None: ...
    @property
    def bandwidth_gb_per_s(self) -> float | None: ...
    @property
    def tflops(self) -> Mapping[str, float]: ...


#: Quantizations whose weights come from another checkpoint; one class serves all names of a format
#: (model_executor/layers/quantization/auto_awq.py, auto_gptq.py).
CHECKPOINT_QUANTIZATIONS = frozenset({"awq", "awq_marlin", "auto_awq", "gptq", "gptq_marlin", "auto_gptq"})

_MINIMUM_FOR_QUANTIZATION: dict[str, Capability] = {
    # Quantized while the weights load; the least is online/base.py's. Below 8.9 the weights are fp8 and the arithmetic
    # is 16-bit (the Marlin kernel, utils/marlin_utils_fp8.py); from 8.9 on both are fp8.
    "fp8_per_tensor": (7, 5),
    "fp8_per_block": (7, 5),
    "fp8_per_channel": (8, 9),  # online/fp8.py, Fp8PtpcOnlineLinearMethod refuses the weight-only kernel
    "mxfp8": (7, 5),
    "mxfp4": (7, 5),  # utils/marlin_utils_fp4.py
    "int8_per_channel_weight_only": (7, 5),  # experts only: a dense model stays as it is
    "nvfp4_per_token": (10, 0),  # online/nvfp4.py
    # Read from a quantized checkpoint: get_min_capability of each class.
    "awq": (7, 5),
    "awq_marlin": (7, 5),
    "auto_awq": (7, 5),
    "gptq": (6, 0),
    "gptq_marlin": (6, 0),
    "auto_gptq": (6, 0),
    "fp8": (7, 5),
    "fbgemm_fp8": (8, 0),
    "fp_quant": (10, 0),
    "compressed-tensors": (7, 0),
    "experts_int8": (8, 0),
    "modelopt": (8, 0),
    "modelopt_fp4": (7, 5),
    "modelopt_mxfp8": (8, 0),
    "moe_wna16": (7, 0),
    "gpt_oss_mxfp4": (8, 0),
    "torchao": (7, 5),
    "humming": (7, 5),
}

_MINIMUM: dict[str, dict[str, Capability]] = {
    "quantization": _MINIMUM_FOR_QUANTIZATION,
    # platforms/cuda.py, check_if_supports_dtype
    "dtype": {"bfloat16": (8, 0)},
    # v1/attention/backends: fp8 is read by FlashAttention 3 on 9.0 (fa_utils.py), by FlashInfer from 8.0 on
    # (flashinfer.py), by Triton from 8.9 on; bfloat16 needs 8.0 (triton_attn.py).
    "kv_cache_dtype": {
        "bfloat16": (8, 0),
        "fp8": (8, 0),
        "fp8_e4m3": (8, 0),
        "fp8_e5m2": (8, 0),
        "fp8_per_token_head": (8, 9),
    },
    # v1/attention/backends/flash_attn.py, flashinfer.py: supports_compute_capability
    "attention_backend": {"FLASH_ATTN": (8, 0), "FLASHINFER": (8, 0)},
}

#: What the CPU engine takes without AVX-512 or AMX (platforms/cpu.py, v1/attention/backends/cpu_attn.py).
_ON_CPU: dict[str, frozenset[str]] = {
    "compilation_config.cudagraph_mode": frozenset({"NONE"}),
    "quantization": frozenset({"none", "awq", "gptq"}),  # vLLM's docs, quantization, supported hardware: x86 CPU
    "kv_cache_dtype": frozenset({"auto"}),
    "attention_backend": frozenset({"CPU_ATTN"}),
}


MODE = "compilation_config.cudagraph_mode"
#: Both are the same to vLLM.
BACKENDS = ("attention_backend", "attention_config.backend")
#: config/compilation.py, CUDAGraphMode.
_MODES = ("NONE", "PIECEWISE", "FULL", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE")
#: What captures no mixed steps (get_cudagraph_support in v1/attention/backends, AttentionCGSupport below ALWAYS).
_NO_FULL = {"FLASH_ATTN": "FlashAttention 2", "FLASHINFER": "FlashInfer"}


def why_not(capability: Capability | None, parameter: str, value: Value) -> str | None:
    """Why a card of this compute capability (None: the CPU) cannot run `parameter` = `value`; None if it can."""
    if capability is None:
        allowed = _ON_CPU.get(parameter)
        if allowed is None or value in allowed:
            return None
        return f"the CPU engine cannot run {parameter} {value}"
    if parameter == MODE and (why := _no_mode(str(value))):
        return why
    least = _MINIMUM.get(parameter, {}).get(str(value))
    if least is None or capability >= least:
        return None
    return f"{parameter} {value} needs compute capability {_dotted(least)}, and this card has {_dotted(capability)}"


def why_not_full_graphs(capability: Capability | None, backends: Iterable[Value]) -> str | None:
    """Why no CUDA graph of a step that mixes prefill and decode can be captured with any of these attention backends (UNSET:
    vLLM's own choice, of which FlashAttention 3 of 9.0 and Triton below 8.0 can), where that is known."""
    if capability is None:
        return None
    own = "FLASH_ATTN" if capability >= (8, 0) else "TRITON_ATTN"
    asked = [own if backend == UNSET else str(backend) for backend in backends]
    if any(backend not in _NO_FULL or (backend == own and capability[0] == 9) for backend in asked):
        return None
    names = " and ".join(dict.fromkeys(_NO_FULL[backend] for backend in asked))
    return (
        f"{MODE} FULL needs attention that captures steps which mix prefill and decode, which {names} of a card of compute"
        f" capability {_dotted(capability)} does not: vLLM would fall back to FULL_AND_PIECEWISE; TRITON_ATTN does"
    )


def _no_mode(value: str) -> str | None:
    if value in (UNSET, *_MODES):
        return None
    return f"{MODE} {value} is no mode of vLLM{choose(value, _MODES)}"


def parse_capability(text: str | None) -> Capability | None:
    """ "7.5" as (7, 5); None, the CPU, stays None."""
    if text is None:
        return None
    major, minor = text.split(".")
    return int(major), int(minor)


def canonical_name(name: str) -> str:
    """A GPU's name without the maker and product line, which drivers print or leave out: "Tesla T4" is "t4"."""
    return " ".join(word for word in name.casefold().split() if word not in {"nvidia", "tesla", "geforce"})


def _dotted(capability: Capability) -> str:
    return f"{capability[0]}.{capability[1]}"
