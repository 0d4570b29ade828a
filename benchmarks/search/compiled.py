"""Settings in, what tells their compiled code from others' out. Pure."""

from tuner.types import Params

#: Settings that were seen to make vLLM compile anew.
_COMPILED = (
    *("max_num_batched_tokens", "max_cudagraph_capture_size", "cudagraph_capture_sizes"),
    *("compilation_config.cudagraph_mode", "quantization", "kv_cache_dtype", "dtype", "attention_backend"),
    *("linear_backend", "moe_backend", "speculative_config.method", "max_model_len"),
)


def compile_key(params: Params) -> str:
    """Equal for settings whose compiled code is the same; eager servers compile nothing."""
    if params.get("enforce_eager"):
        return "eager"
    return repr([(name, params[name]) for name in _COMPILED if name in params])
