"""Names of vLLM's arguments in; whether one can change what a model answers, and why, out. A list as data; pure.

What is on no list counts as able to. Where a model runs is never here: a server answers a request otherwise, too, when others
are in its batch, for the order of sums changes. That is the base rate of disagreement, which tuner measures.
"""

from collections.abc import Iterable, Mapping

from tuner.types import Params

#: Other numbers by design: fewer bits hold the weights or the KV cache.
LOSSY: Mapping[str, str] = {
    "quantization": "weights, and mostly activations, are held in fewer bits",
    "kv_cache_dtype": "keys and values of the context are held in fewer bits",
    "dtype": "weights and activations are held in another format",
    "calculate_kv_scales": "the scale of an 8-bit KV cache is guessed from the first batch",
}
#: The same numbers in theory, and by another kernel: it rounds otherwise, and it may be wrong.
ROUNDING: Mapping[str, str] = {
    "enforce_eager": "without compiled code and CUDA graphs other kernels run",
    "compilation_config": "another mode of CUDA graphs, or other fused kernels, run another code",
    "max_cudagraph_capture_size": "steps above it run without a graph, those below it are padded",
    "cudagraph_capture_sizes": "a step is padded to the next of these sizes",
    "optimization_level": "it chooses which kernels are fused and which graphs are made",
    "performance_mode": "it chooses the sizes of CUDA graphs",
    "attention_backend": "another attention kernel sums in another order",
    "attention_config": "another attention kernel sums in another order",
    "block_size": "the attention kernel reads the context in other pieces",
    "linear_backend": "another kernel of the linear layers; some round the activations, too",
    "moe_backend": "another kernel of the experts",
    "enable_expert_parallel": "experts are summed across GPUs in another order",
    "tensor_parallel_size": "sums are split over GPUs",
    "pipeline_parallel_size": "a batch is run as several smaller ones",
    "enable_dbo": "a step is run as two",
    "speculative_config": "several drafted tokens are checked in one step, by other shapes of the kernels",
    "hf_overrides": "the model itself is changed",
    "load_format": "other weights may be loaded",
    "model_impl": "another implementation of the model",
    "logits_processors": "they change what is chosen",
    "generation_config": "it has defaults of the sampling",
    "override_generation_config": "it changes defaults of the sampling",
    "chat_template": "it changes the prompt",
}
#: What only says which requests are computed together, where bytes lie, or who carries them.
KEEPS: Mapping[str, str] = {
    "max_num_seqs": "how many requests are in a step",
    "max_num_batched_tokens": "how many tokens are in a step",
    "max_num_active_seqs": "how many requests are admitted",
    "long_prefill_token_threshold": "how much of a prompt is in a step",
    "enable_chunked_prefill": "whether a prompt is read in pieces",
    "scheduling_policy": "who is first",
    "scheduler_reserve_full_isl": "when a request is admitted",
    "watermark": "when a request is admitted",
    "distributed_executor_backend": "in which process the model runs",
    "async_scheduling": "when the next step is prepared",
    "gpu_memory_utilization": "how much memory is taken",
    "kv_cache_memory_bytes": "how much memory is taken",
    "num_gpu_blocks_override": "how much memory is taken",
    "enable_prefix_caching": "the same keys and values are kept instead of computed again",
    "prefix_caching_hash_algo": "how they are found again",
    "kv_offloading_size": "where keys and values lie, unchanged",
    "kv_offloading_backend": "who moves them",
    "stream_interval": "how many tokens are in a message",
    "api_server_count": "how many processes speak HTTP",
    "tokenizer_mode": "which program splits text",
    "max_model_len": "the longest request that is taken",
    "data_parallel_size": "how many copies of the model there are",
    "engines_per_gpu": "how many copies of the model share a GPU",
    "disable_log_stats": "what is written down",
}


def can_change(name: str) -> bool:
    """Whether an argument can change the answers; `compilation_config.cudagraph_mode` is as `compilation_config`."""
    return _whole(name) not in KEEPS


def is_lossy(name: str) -> bool:
    """Whether it changes them by design."""
    return _whole(name) in LOSSY


def reason(name: str) -> str:
    """Why it can, or cannot."""
    known = {**KEEPS, **LOSSY, **ROUNDING}
    return known.get(_whole(name), "tuner does not know this argument")


def changing(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that can."""
    return tuple(name for name in names if can_change(name))


def changes_answers(params: Params, usual: Params) -> tuple[str, ...]:
    """The settings that differ from the usual ones and can change the answers; "none" and "auto" leave the choice to vLLM."""
    return changing(name for name, value in params.items() if value not in (usual.get(name), "none", "auto"))


def _whole(name: str) -> str:
    return name.partition(".")[0]
