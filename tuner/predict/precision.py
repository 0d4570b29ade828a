"""A shape and settings in; how many bytes a weight and a token's keys and values take, and what computes them, out. Pure."""

from collections.abc import Mapping

from tuner.predict.decoder import Shape
from tuner.predict.settings import Settings
from tuner.space.gpus import UNSET, Gpu

#: Bytes of a quantized weight. 4 bits in groups of 128 have a 16-bit scale and a 4-bit zero point each.
_BYTES: Mapping[str, float] = {
    "awq": 0.5 + 2.5 / 128,
    "gptq": 0.5 + 2.5 / 128,
    "mxfp4": 0.5 + 1 / 32,
    "mxfp8": 1 + 1 / 32,
    "compressed-tensors": 1.0,
    "int8_per_channel_weight_only": 2.0,  # experts only (gpus.py)
}
_EIGHT_BITS = ("fp8", "compressed-tensors", "modelopt", "fbgemm_fp8")


def quantization(shape: Shape, settings: Settings) -> str:
    """The weights': what is asked for, else the checkpoint's; UNSET for plain ones."""
    return settings.quantization if settings.quantization != UNSET else shape.checkpoint_quantization or UNSET


def bytes_per_weight(shape: Shape, settings: Settings) -> float:
    """Of the layers' matrices; embedding and head stay as they are."""
    method = quantization(shape, settings)
    if method == UNSET:
        return float(settings.dtype_bytes)
    found = next((size for name, size in _BYTES.items() if name in method), None)
    return found if found is not None else 1.0


def computes_in_fp8(shape: Shape, settings: Settings, gpu: Gpu) -> bool:
    """Whether the layers' matrices are multiplied in 8 bits: else the weights are widened first (Marlin kernels, below 8.9)."""
    method = quantization(shape, settings)
    return "fp8" in gpu.tflops and method.startswith(_EIGHT_BITS)


def kv_bytes_per_token(shape: Shape, settings: Settings) -> float:
    """On one GPU, of layers that keep all tokens: keys and values of every KV head, or MLA's latent, which each has whole."""
    width = 1 if settings.kv_cache_dtype.startswith("fp8") else settings.dtype_bytes
    if shape.mla is not None:
        return shape.layers * (shape.mla.kv_lora_rank + shape.mla.rope_dim) * width
    heads = max(1, shape.kv_heads // settings.tensor_parallel_size)
    return 2 * shape.layers * heads * shape.head_dim * width
