"""A model's shape and settings in; the bytes of weights, activations and CUDA graphs on one GPU out. Pure.

The formulas follow vLLM's code (file names are relative to the vllm package) and PyTorch's allocator; the constants were
measured on H200s with vLLM 0.25.1 and dummy weights of Qwen2 1.5B and 7B and Llama 8B. It does not know budgets, or what fits.
"""

import math

from tuner.predict.precision import bytes_per_weight, computes_in_fp8, quantization
from tuner.predict.settings import Settings, Version, capture_sizes
from tuner.predict.shape import Shape
from tuner.space.gpus import UNSET, Gpu

_MIB = 2**20

#: Hidden states that are alive while an MLP works, beside its three intermediate tensors: eager, and compiled. LlamaMLP lets go
#: of one earlier than the others (model_executor/models/llama.py, qwen2.py).
_EAGER, _EAGER_LLAMA, _COMPILED, _COMPILED_FP8 = 4, 3, 3, 1
_LLAMA_MLP = ("LlamaForCausalLM", "MistralForCausalLM", "Phi3ForCausalLM")
#: Bytes of a logit while it is sampled. Model runner V2: 16 bits and a copy in 32 (v1/worker/gpu/sample/sampler.py). V1 sorts
#: them, too: values and indices, twice (v1/sample/ops/topk_topp_sampler.py); it fits what an RTX 4090 had left with vLLM 0.19.
_LOGIT_V2, _LOGIT_V1 = 6, 30
#: Bytes of a logit that V2 keeps for penalties: a count, and a bit (v1/worker/gpu/sample/penalties.py).
_PENALTY = 4 + 1 / 8
#: cuBLAS's workspace: 32 MiB from compute capability 9.0 on, 8.125 MiB before (torch.backends.cuda, CUBLAS_WORKSPACE_CONFIG).
_WORKSPACE_HOPPER, _WORKSPACE = 32 * _MIB, 8.125 * _MIB
#: While Inductor times kernels, it keeps a buffer of the L2 cache's size; by compute capability (NVIDIA's data sheets).
_L2_BYTES = {(7, 5): 4e6, (8, 0): 40e6, (8, 6): 6e6, (8, 9): 72e6, (9, 0): 60e6}
#: CUDA graphs, fitted to 0.05 to 0.97 GiB: all of them, each, and each token of a whole-model graph in hidden states.
_GRAPHS, _GRAPH, _GRAPH_HIDDEN = 124 * _MIB, 2.2 * _MIB, 8
#: Measured: what fp8 adds while a model is loaded, be it the weights', the KV cache's, or both.
_FP8 = 32 * _MIB
#: MoE models that had model runner V2 by default as early as dense ones (config/vllm.py of 0.25).
_EARLY_MOE = ("DeepseekV2ForCausalLM", "Qwen2MoeForCausalLM", "GraniteMoeForCausalLM")


def has_v2_runner(shape: Shape, version: Version) -> bool:
    """Whether model runner V2 is vLLM's default: for dense models since 0.25 (pull request 44443), for all since 0.29."""
    dense = shape.experts is None or shape.architecture in _EARLY_MOE
    return version >= ((0, 25) if dense else (0, 29))


def counts_graphs(shape: Shape, version: Version) -> bool:
    """Whether CUDA graphs are inside the budget: since 0.21, but not while V2 did not estimate them (vLLM's issue 49224)."""
    return version >= ((0, 29) if has_v2_runner(shape, version) else (0, 21))


def weight_bytes(shape: Shape, settings: Settings) -> float:
    """The weights as PyTorch holds them, with the table of rotary embeddings. The files' sizes count more than the formula."""
    share, wide = settings.tensor_parallel_size, settings.dtype_bytes
    matrices = [(count, size / share) for count, size in _matrices(shape, bytes_per_weight(shape, settings), wide)]
    exact = sum(count * size for count, size in matrices)
    if shape.stored_bytes is not None and settings.quantization == UNSET:
        scale = wide / shape.dtype_bytes if shape.checkpoint_quantization is None else 1.0
        exact = shape.stored_bytes * scale / share
    padding = sum(count * (_held(size) - size) for count, size in matrices)
    rotary = shape.max_positions * shape.head_dim * wide
    fp8 = "fp8" in settings.kv_cache_dtype or "fp8" in quantization(shape, settings)
    return exact + padding + rotary + (_FP8 if fp8 else 0)


def _matrices(shape: Shape, each: float, wide: float) -> list[tuple[int, float]]:
    """How many matrices of how many bytes there are, as vLLM fuses them; a weight has `each` byte in layers, else `wide`."""
    found = [(shape.layers, size * each) for size in shape.attention_matrices]
    found += [(shape.dense_layers, size * each) for size in shape.mlp_matrices]
    if moe := shape.experts:
        one = moe.count * shape.hidden * moe.intermediate * each
        shared = 3 * shape.hidden * moe.shared_intermediate * each
        found += [(moe.layers, 2 * one), (moe.layers, one), (moe.layers, shared + shape.hidden * moe.count * wide)]
    return [*found, (1 if shape.tied else 2, shape.head_parameters * wide), (2 * shape.layers, shape.hidden * wide)]


def _held(size: float) -> float:
    """What PyTorch's allocator takes for a tensor: from 20 MiB on whole pieces of 2 MiB, below it tensors share pieces of 20
    (c10/cuda/CUDACachingAllocator)."""
    return math.ceil(size / (2 * _MIB)) * 2 * _MIB if size >= 20 * _MIB else size


def activation_bytes(shape: Shape, gpu: Gpu, settings: Settings, version: Version, *, cold: bool) -> float:
    """The peak of the profiling run: the largest of a forward pass, of sampling, and of compiling when the start is `cold`."""
    tokens, share, wide = settings.max_num_batched_tokens, settings.tensor_parallel_size, settings.dtype_bytes
    capability = gpu.capability or (0, 0)
    workspace = _WORKSPACE_HOPPER if capability >= (9, 0) else _WORKSPACE
    hidden = tokens * shape.hidden * wide
    forward = _forward_bytes(shape, gpu, settings)
    if not (settings.enforce_eager and computes_in_fp8(shape, settings, gpu)):
        forward += workspace
    logit = _LOGIT_V2 if has_v2_runner(shape, version) else _LOGIT_V1
    sequences = min(settings.max_num_seqs, tokens)
    sampling = sequences * (shape.vocab * logit + shape.hidden * wide) + hidden + workspace
    if settings.enforce_eager or not cold:
        return max(forward, sampling)
    compiling = shape.head_parameters * wide / share + 2 * hidden
    return max(forward + _L2_BYTES.get(capability, 50e6), sampling, compiling)


def _forward_bytes(shape: Shape, gpu: Gpu, settings: Settings) -> float:
    """The three tensors inside an MLP, in fp8 one of them in 8 bits once more, and the hidden states around it."""
    width, narrow = _widest(shape) / settings.tensor_parallel_size, computes_in_fp8(shape, settings, gpu)
    llama = shape.architecture in _LLAMA_MLP
    if settings.enforce_eager:
        states, narrow = (_EAGER_LLAMA, False) if llama else (_EAGER, narrow)
    else:
        states = _COMPILED_FP8 if narrow else _COMPILED
    wide = settings.dtype_bytes * (3 * width + states * shape.hidden)
    return settings.max_num_batched_tokens * (wide + (width if narrow else 0))


def _widest(shape: Shape) -> float:
    """The width of the widest MLP, as experts have it: each token is in the tensors of all its experts."""
    moe = shape.experts
    sparse = 0 if moe is None else moe.active * moe.intermediate + moe.shared_intermediate
    return max(sparse, shape.intermediate if shape.dense_layers else 0)


def graph_bytes(shape: Shape, settings: Settings, version: Version) -> float:
    """What all CUDA graphs take: of the pieces between attention for each size, of the whole model for decoding batches."""
    sizes = capture_sizes(settings, version)
    if not sizes:
        return 0.0
    whole = [size for size in sizes if size <= settings.max_num_seqs]
    captured = sum(whole) * shape.hidden * settings.dtype_bytes / settings.tensor_parallel_size
    return _GRAPHS + (len(sizes) + len(whole)) * _GRAPH + _GRAPH_HIDDEN * captured


def kept_bytes(shape: Shape, settings: Settings, version: Version) -> float:
    """What the sampler keeps from the start on. vLLM counts it since 0.28 (utils/mem_utils.py, total_consumed)."""
    return settings.max_num_seqs * shape.vocab * _PENALTY if has_v2_runner(shape, version) else 0.0
