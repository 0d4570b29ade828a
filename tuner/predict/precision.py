"""A shape and settings in; how many bytes a weight and a token's keys and values take, and what computes them, out. Pure."""

from tuner.predict.decoder import Shape
from tuner.predict.quantized import USUAL
from tuner.predict.settings import Settings
from tuner.space.gpus import UNSET, Gpu

_EIGHT_BITS = ("fp8", "compressed-tensors", "modelopt", "fbgemm_fp8")


def quantization(shape: Shape, settings: Settings) -> str:
    """The weights': what is asked for, else the checkpoint's; UNSET for plain ones."""
    return settings.quantization if settings.quantization != UNSET else shape.checkpoint_quantization or UNSET


def quantized_bytes(shape: Shape, settings: Settings) -> float:
    """Of one quantized weight: the checkpoint's own, whatever name it is asked for by."""
    if shape.checkpoint_quantization is not None and shape.quantized is not None:
        return shape.quantized.weight_bytes
    method = quantization(shape, settings)
    if method == UNSET:
        return float(settings.dtype_bytes)
    found = next((size for name, size in USUAL.items() if name in method), None)
    return found if found is not None else 1.0


def part_bytes(shape: Shape, settings: Settings, part: str) -> float:
    """Of a weight of "attention", "mlp", "experts" or "shared", the mean of quantized ones and those that stay as they are."""
    each, told = quantized_bytes(shape, settings), shape.quantized
    if told is None or shape.checkpoint_quantization is None:
        return each
    return each + told.kept(part) * (settings.dtype_bytes - each)


def bytes_per_weight(shape: Shape, settings: Settings) -> float:
    """Of the layers' matrices, the mean over all of them; embedding and head stay as they are."""
    each = quantized_bytes(shape, settings)
    parts = {
        "attention": shape.attention_parameters,
        "mlp": shape.dense_layers * sum(shape.mlp_matrices),
        "experts": shape.expert_parameters,
        "shared": shape.shared_parameters,
    }
    sizes = {part: part_bytes(shape, settings, part) for part in parts}
    if all(size == each for size in sizes.values()):
        return each
    return sum(count * sizes[part] for part, count in parts.items()) / sum(parts.values())


def computes_in_fp8(shape: Shape, settings: Settings, gpu: Gpu) -> bool:
    """Whether the layers' matrices are multiplied in 8 bits: else the weights are widened first (Marlin kernels, below 8.9)."""
    method = quantization(shape, settings)
    return "fp8" in gpu.tflops and method.startswith(_EIGHT_BITS) and quantized_bytes(shape, settings) >= 1


def kv_value_bytes(shape: Shape, settings: Settings) -> int:
    """Of one number of a key or a value."""
    told = settings.kv_cache_dtype == "auto" and shape.quantized is not None and shape.quantized.fp8_kv
    return 1 if told or settings.kv_cache_dtype.startswith("fp8") else settings.dtype_bytes


def kv_layer_bytes(shape: Shape, settings: Settings) -> tuple[float, float]:
    """What a token takes in a layer on one GPU: in one with a window, and in one that keeps all tokens. Keys and values of
    every KV head, or MLA's latent, which each GPU has whole."""
    width = kv_value_bytes(shape, settings)
    if shape.mla is not None:
        return (float((shape.mla.kv_lora_rank + shape.mla.rope_dim) * width),) * 2
    share = settings.tensor_parallel_size
    near, (heads, size) = max(1, shape.kv_heads // share) * shape.head_dim, shape.global_heads
    return 2.0 * near * width, 2.0 * (max(1, heads // share) * size if shape.global_layers else near) * width


def kv_bytes_per_token(shape: Shape, settings: Settings) -> float:
    """On one GPU, of all layers, as if all kept every token."""
    near, far = kv_layer_bytes(shape, settings)
    return shape.window_layers * near + (shape.layers - shape.window_layers) * far
