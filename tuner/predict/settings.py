"""Launch arguments in; all settings that the prediction follows from, as vLLM resolves them, out: or its refusal.

Read in vLLM 0.25.1 and 0.32 (engine/arg_utils.py, config/scheduler.py, config/model.py, config/vllm.py). Arguments that
change neither memory nor speed are passed over; those that do, and that tuner cannot tell, are refused with UsageError. It does
not know whether the model fits.
"""

import re
from dataclasses import dataclass, fields, replace

from tuner.errors import UsageError
from tuner.predict import arguments
from tuner.predict.shape import Shape
from tuner.space import gpus
from tuner.space.gpus import UNSET, Gpu
from tuner.space.speculation import OF_THE_TEXT
from tuner.types import Failed, FailureKind, Params, Value

#: vLLM's version, (major, minor).
Version = tuple[int, int]
LATEST: Version = (0, 32)


def version_of(text: str) -> Version:
    """Of what an engine says of itself; the latest where that is no number."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else LATEST


#: Quantizations of 16-bit weights while they load (model_executor/layers/quantization/online).
ONLINE = ("fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "mxfp8", "mxfp4", "int8_per_channel_weight_only")
#: What these change, the prediction does not know; of a nested config what `arguments.READ` has not.
NOT_PREDICTED = frozenset(
    (
        "kv_cache_memory_bytes",
        "num_gpu_blocks_override",
        "cpu_offload_gb",
        "performance_mode",
        "optimization_level",
        "compilation_config",
        "enable_lora",
        "attention_config",
        "kernel_config",
        "moe_backend",
        "linear_backend",
        "kv_offloading_size",
    )
)
#: Since when copies of a dense model are engines that know nothing of each other (v1/engine/core.py, run_engine_core).
_INDEPENDENT: Version = (0, 25)
#: vLLM pads the vocabulary to whole multiples of this (layers/vocab_parallel_embedding.py).
_VOCAB_PADDING = 64
#: What a KV cache's value takes is known for these; vLLM has more.
_KV_CACHE_DTYPES = ("auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc")
#: Names of one format (gpus.CHECKPOINT_QUANTIZATIONS): what config.json calls "awq" is read by all of them.
_FORMATS = {
    "awq": "awq",
    "awq_marlin": "awq",
    "auto_awq": "awq",
    "gptq": "gptq",
    "gptq_marlin": "gptq",
    "auto_gptq": "gptq",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """vLLM's settings. `quantization` is "none" for weights as they are stored; `dtype` is "auto" for the checkpoint's own (16
    bits where it has 32). None is vLLM's own choice; no method of speculation is none.

    `engines_per_gpu` engines share each GPU, which is no argument of vLLM's: `gpu_memory_utilization` is of all of them
    together, and there are `data_parallel_size` times as many engines.

    `long_prefill_token_threshold` 0 is no threshold. `speculative_tokens` are drafted in a step, of which with the one that
    the model says itself `speculative_acceptance_length` count on the mean, where that is known."""

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    gpu_memory_utilization: float
    quantization: str = UNSET
    kv_cache_dtype: str = "auto"
    dtype: str = "auto"
    enforce_eager: bool = False
    stream_interval: int = 1
    api_server_count: int = 1
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    engines_per_gpu: int = 1
    block_size: int = 16
    enable_prefix_caching: bool = True
    enable_chunked_prefill: bool = True
    async_scheduling: bool = True
    distributed_executor_backend: str | None = None
    cudagraph_mode: str = "FULL_AND_PIECEWISE"
    cudagraph_capture_sizes: tuple[int, ...] | None = None
    max_cudagraph_capture_size: int | None = None
    attention_backend: str | None = None
    long_prefill_token_threshold: int = 0
    speculative_method: str | None = None
    speculative_tokens: int = 0
    speculative_acceptance_length: float | None = None

    @property
    def params(self) -> dict[str, Value]:
        """All that is not left to vLLM, by its names and tuner's `engines_per_gpu`."""
        told = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        if self.speculative_method is None:
            del told["speculative_tokens"]
        return dict(arguments.told(name, value) for name, value in told.items() if value is not None)

    @property
    def gpus(self) -> int:
        """How many the server takes."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size

    @property
    def copies(self) -> int:
        """How many engines there are behind the port, each with the whole model."""
        return self.data_parallel_size * self.engines_per_gpu

    @property
    def has_worker(self) -> bool:
        """Whether the model runs in a process of its own, beside EngineCore, of a server with one GPU: those with more have it
        always, and are predicted as such."""
        if self.gpus > 1:
            return False
        backend = self.distributed_executor_backend
        return backend == "mp" or (backend is None and self.engines_per_gpu > 1)

    @property
    def dtype_bytes(self) -> int:
        """Of a weight that is not quantized, and of activations."""
        return 4 if self.dtype in ("float32", "float") else 2


def resolve(params: Params, shape: Shape, gpu: Gpu, version: Version = LATEST) -> Settings | Failed:
    """What vLLM makes of `params` on this card; Failed with its own sentence where it refuses them.

    Raises UsageError for arguments whose effect cannot be told, and values of another type."""
    try:
        read, given = arguments.read(params)
    except ValueError as error:
        return _rejected(str(error))
    if unknown := sorted(name for name in given if name.partition(".")[0] in NOT_PREDICTED):
        raise UsageError(f"{unknown[0]}: tuner cannot tell what it does to memory and speed; leave it out")
    if (kind := given.get("kv_cache_dtype", "auto")) not in _KV_CACHE_DTYPES:
        raise UsageError(f"kv_cache_dtype {kind}: tuner cannot tell what it takes, only {', '.join(_KV_CACHE_DTYPES)}")
    if why := _ill_typed(given):
        return Failed(kind=FailureKind.REJECTED, message=why)
    found = replace(_with_defaults(given, shape, gpu, version), **read)  # type: ignore[arg-type]
    if found.enforce_eager or gpu.capability is None:
        found = replace(found, cudagraph_mode="NONE")
    if found.distributed_executor_backend == ("mp" if found.gpus * found.engines_per_gpu > 1 else "uni"):
        found = replace(found, distributed_executor_backend=None)  # vLLM's own choice (config/parallel.py)
    for check in (_ranges, _positions, _batches, _quantization, _card):
        if failed := check(found, shape, gpu):
            return failed
    return _shared(found, shape, version) or found


def heeded(params: Params) -> Params:
    """Without what no formula knows: as if it were at its default."""
    return {
        name: value
        for name, value in params.items()
        if name in arguments.READ or name.partition(".")[0] not in NOT_PREDICTED
    }


def capture_sizes(settings: Settings, version: Version = LATEST) -> tuple[int, ...]:
    """The numbers of tokens that a step is padded to and for which a CUDA graph is captured, rising; empty where there are no
    graphs (config/vllm.py, _set_cudagraph_sizes). Blackwell's doubled limit is not known here."""
    if settings.enforce_eager or settings.cudagraph_mode == "NONE":
        return ()
    tokens, sequences, step = settings.max_num_batched_tokens, settings.max_num_seqs, 1 + settings.speculative_tokens
    if settings.cudagraph_capture_sizes is not None:
        return tuple(size for size in settings.cudagraph_capture_sizes if size <= tokens)
    most = min(settings.max_cudagraph_capture_size or min(2 * sequences * step, 512), tokens)
    sizes = {1, 2, 4, *range(8, 256, 8), *range(256, most + 1, 16)}
    if tokens <= most:
        sizes.add(tokens)
    if version > (0, 25) and settings.max_cudagraph_capture_size is None:
        widest = min(sequences, 512)
        requests = {1, 2, 4, *range(8, 256, 8), *range(256, widest + 1, 16)} if step > 1 else set()
        sizes |= {count * step for count in (*requests, widest) if count <= widest}
    return tuple(sorted(size for size in sizes if size <= most))


def _ill_typed(given: Params) -> str | None:
    """The first value that is not of its setting's type, as a sentence like vLLM's."""
    for entry in fields(Settings):  # but for those that `arguments` has read
        value, kind = given.get(entry.name), str(getattr(entry.type, "__name__", entry.type))
        if value is not None and type(value).__name__ not in {kind, *(("int",) if kind == "float" else ())}:
            return f"argument --{entry.name.replace('_', '-')}: invalid {kind} value: {value!r}"
    return None


def _with_defaults(given: Params, shape: Shape, gpu: Gpu, version: Version) -> Settings:
    """vLLM's defaults under what is given (engine/arg_utils.py, _set_default_max_num_seqs_and_batched_tokens_args)."""
    known = {entry.name: given[entry.name] for entry in fields(Settings) if entry.name in given}
    together = int(known.get("tensor_parallel_size", 1)) * int(known.get("pipeline_parallel_size", 1))
    tokens, sequences = _batch_defaults(gpu, version, together)
    length = int(known.setdefault("max_model_len", shape.max_positions))
    if "max_num_batched_tokens" not in known:
        if known.get("enable_chunked_prefill") is False:
            tokens = max(length, tokens)
        known["max_num_batched_tokens"] = min(int(known.get("max_num_seqs", sequences)) * length, tokens)
    known.setdefault("max_num_seqs", min(sequences, int(known["max_num_batched_tokens"])))
    copies = int(known.get("data_parallel_size", 1)) * int(known.get("engines_per_gpu", 1))
    known.setdefault("api_server_count", copies)  # entrypoints/cli/serve.py
    known.setdefault("gpu_memory_utilization", 0.92 if version >= (0, 22) else 0.9)
    if known.get("speculative_method") in OF_THE_TEXT:
        known["async_scheduling"] = False  # config/vllm.py; ngram_gpu is not told apart here
    if gpu.capability is None:
        known = {"block_size": 128, **known, "async_scheduling": False}
    elif gpu.capability < (8, 0) and known.get("dtype", "auto") == "auto":
        known["dtype"] = "float16"  # config/model.py: what a card cannot do in bfloat16, vLLM does in float16
    return Settings(**known)  # type: ignore[arg-type]


def _batch_defaults(gpu: Gpu, version: Version, gpus_together: int) -> tuple[int, int]:
    """max_num_batched_tokens and max_num_seqs of `vllm serve` (engine/arg_utils.py, get_batch_defaults)."""
    memory_gib, name = gpu.memory_gib or 0.0, gpu.names[0].casefold() if gpu.names else ""
    if gpu.capability is None:
        return 2048 * gpus_together, 128 * gpus_together
    if memory_gib >= 160 and version > (0, 25):
        return 16384, 1024
    if memory_gib >= 70 and "a100" not in name:
        return 8192, 1024
    return 2048, 256


def _positions(settings: Settings, shape: Shape, gpu: Gpu) -> Failed | None:
    if settings.max_model_len > shape.max_positions:
        return _rejected(
            f"User-specified max_model_len ({settings.max_model_len}) is greater than the derived max_model_len"
            f" (max_position_embeddings={shape.max_positions} in model's config.json)."
        )
    if shape.heads % settings.tensor_parallel_size:
        return _rejected(
            f"Total number of attention heads ({shape.heads}) must be divisible by tensor parallel size"
            f" ({settings.tensor_parallel_size})."
        )
    if settings.pipeline_parallel_size > shape.layers:
        return _rejected(f"{shape.layers} layers are fewer than {settings.pipeline_parallel_size} pipeline stages.")
    return _divided(settings, shape)


def _divided(settings: Settings, shape: Shape) -> Failed | None:
    """What tensor parallelism must divide beside the heads (distributed/utils.py, layers/linear.py,
    layers/vocab_parallel_embedding.py, which pads the vocabulary to 64)."""
    share = settings.tensor_parallel_size
    vocab = -(-shape.vocab // _VOCAB_PADDING) * _VOCAB_PADDING
    for size in [vocab, *([shape.intermediate] if shape.dense_layers else [])]:
        if size % share:
            return _rejected(f"AssertionError: {size} is not divisible by {share}")
    if shape.mla is None and shape.kv_heads % share and share % shape.kv_heads:
        large, small = max(shape.kv_heads, share), min(shape.kv_heads, share)
        return _rejected(f"AssertionError: {large} is not divisible by {small}")
    return None


def _batches(settings: Settings, shape: Shape, gpu: Gpu) -> Failed | None:
    tokens, sequences, length = settings.max_num_batched_tokens, settings.max_num_seqs, settings.max_model_len
    if tokens < length and not settings.enable_chunked_prefill:
        return _rejected(
            f"max_num_batched_tokens ({tokens}) is smaller than max_model_len ({length}). This effectively limits the maximum"
            " sequence length to max_num_batched_tokens and makes vLLM reject longer sequences. Please increase"
            " max_num_batched_tokens or decrease max_model_len."
        )
    if settings.long_prefill_token_threshold > length:
        return _rejected(
            f"long_prefill_token_threshold ({settings.long_prefill_token_threshold}) cannot be greater than the max_model_len"
            f" ({length})."
        )
    if tokens < sequences:
        return _rejected(
            f"max_num_batched_tokens ({tokens}) must be greater than or equal to max_num_seqs ({sequences})."
        )
    return None


def _ranges(settings: Settings, shape: Shape, gpu: Gpu) -> Failed | None:
    for entry in fields(settings):
        least = 0 if entry.name in ("long_prefill_token_threshold", "speculative_tokens") else 1
        if entry.type is int and getattr(settings, entry.name) < least:
            return _rejected(f"{entry.name}: Input should be greater than or equal to {least}")
    sizes, largest = capture_sizes(settings), settings.max_cudagraph_capture_size
    if settings.cudagraph_capture_sizes is not None and largest is not None and sizes and sizes[-1] != largest:
        return _rejected(
            f"customized max_cudagraph_capture_size(={largest}) should be consistent with the max value of"
            f" cudagraph_capture_sizes(={sizes[-1]})"
        )
    if not 0 < settings.gpu_memory_utilization <= 1:
        bound = "less than or equal to 1" if settings.gpu_memory_utilization > 1 else "greater than 0"
        return _rejected(f"gpu_memory_utilization: Input should be {bound}")
    return None


def _quantization(settings: Settings, shape: Shape, gpu: Gpu) -> Failed | None:
    asked, stored = settings.quantization, shape.checkpoint_quantization
    if asked == UNSET or _FORMATS.get(asked, asked) == stored:
        return None
    if stored is not None:
        return _unsupported(
            f"Quantization method specified in the model config ({stored}) does not match the quantization method specified"
            f" in the `quantization` argument ({asked})."
        )
    if asked in _FORMATS:
        return _unsupported(f"Cannot find the config file for {_FORMATS[asked]}")
    if asked not in ONLINE:
        return _unsupported(f"Unknown quantization method: {asked}. Must be one of {sorted((*ONLINE, *_FORMATS))}.")
    return None


def _card(settings: Settings, shape: Shape, gpu: Gpu) -> Failed | None:
    """What the card cannot run (tuner.space.gpus). The checkpoint's own quantization counts as asked for."""
    asked = settings.params
    if settings.quantization == UNSET and shape.checkpoint_quantization is not None:
        asked["quantization"] = shape.checkpoint_quantization
    for name in ("quantization", "kv_cache_dtype", "dtype"):
        if why := gpus.why_not(gpu.capability, name, asked[name]):
            return _unsupported(why)
    return None


def why_not_sharing(shape: Shape, version: Version = LATEST) -> str | None:
    """Why several engines with this model cannot be on one GPU; None where they can."""
    if shape.experts is not None:
        return "copies of a mixture of experts exchange tokens through NCCL, which refuses two ranks on one GPU"
    if version < _INDEPENDENT:
        known, this = (".".join(map(str, one)) for one in (_INDEPENDENT, version))
        return f"copies of a model know nothing of each other since vLLM {known} only, and this is {this}"
    return None


def _shared(settings: Settings, shape: Shape, version: Version) -> Failed | None:
    if settings.engines_per_gpu == 1 or (why := why_not_sharing(shape, version)) is None:
        return None
    return _rejected(f"{settings.engines_per_gpu} engines cannot share a GPU: {why}.")


def _rejected(message: str) -> Failed:
    return Failed(kind=FailureKind.REJECTED, message=message)


def _unsupported(message: str) -> Failed:
    return Failed(kind=FailureKind.UNSUPPORTED_QUANTIZATION, message=message)
