"""A model's shape and settings in; the bytes of weights, activations and CUDA graphs on one GPU out. Pure.

The formulas follow vLLM's code (file names are relative to the vllm package) and PyTorch's allocator; the constants were
measured on H200s with vLLM 0.25.1 and dummy weights of Qwen2 1.5B and 7B and Llama 8B. It does not know budgets, or what fits.
"""

import math

from tuner.predict.precision import computes_in_fp8, part_bytes, quantization
from tuner.predict.settings import Settings, Version, capture_sizes
from tuner.predict.shape import Shape
from tuner.space.gpus import UNSET, Gpu

_MIB = 2**20

#: Hidden states that are alive while an MLP works, beside its three intermediate tensors: eager, and compiled. LlamaMLP lets go
#: of one earlier than the others (model_executor/models/llama.py, qwen2.py).
_EAGER, _EAGER_LLAMA, _COMPILED, _COMPILED_FP8 = 4, 3, 3, 1
_LLAMA_MLP = ("LlamaForCausalLM", "MistralForCausalLM", "Phi3ForCausalLM")
#: Bytes of a logit while it is sampled. Model runner V2: 16 bits and a copy in 32 (v1/worker/gpu/sample/sampler.py). V1 sorts
#: them, too (v1/sample/ops/topk_topp_sampler.py): fitted to public logs of H100s with 1,024 sequences, before 0.17 and since.
_LOGIT_V2, _LOGIT_V1, _LOGIT_BEFORE_0_17 = 6, 14.5, 38.1
#: Since then the workspaces of a mixture of experts stay allocated while tokens are sampled.
_KEEPS_WORKSPACES: Version = (0, 17)
#: MXFP4 experts are padded to whole multiples: of their width, and outside Hopper's kernels of hidden states, too
#: (model_executor/layers/quantization/mxfp4.py; Triton's on 9.0, Marlin's elsewhere).
_MXFP4_HOPPER, _MXFP4_MARLIN = (256, 1), (128, 256)
#: What a CUDA graph of a mixture of experts takes beside: fitted to public logs, before model runner V2 and since.
_GRAPH_EXPERTS, _GRAPH_EXPERTS_BEFORE_0_25 = 1.6 * _MIB, 8 * _MIB
#: The share of a graph's hidden states that tensor parallelism divides: of Llama 8B with 1, 2 and 4 GPUs.
_GRAPH_DIVIDED = 1 / 3
#: Bytes of a logit that V2 keeps for penalties: a count, and a bit (v1/worker/gpu/sample/penalties.py).
_PENALTY = 4 + 1 / 8
#: cuBLAS's workspace: 32 MiB from compute capability 9.0 on, 8.125 MiB before (torch.backends.cuda, CUBLAS_WORKSPACE_CONFIG).
_WORKSPACE_HOPPER, _WORKSPACE = 32 * _MIB, 8.125 * _MIB
#: While Inductor times kernels, it keeps a buffer of the L2 cache's size; by compute capability (NVIDIA's data sheets).
_L2_BYTES = {(7, 5): 4e6, (8, 0): 40e6, (8, 6): 6e6, (8, 9): 72e6, (9, 0): 60e6}
#: CUDA graphs, fitted to 0.05 to 0.97 GiB: all of them, each, and each token of a whole-model graph in hidden states.
_GRAPHS, _GRAPH, _GRAPH_HIDDEN = 124 * _MIB, 2.2 * _MIB, 8
#: Up to this size whole graphs of steps with prompts were seen to grow: 2,048 take what 512 do (surfaces of benchmarks/data).
_GROWS_TO = 512
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


def weight_bytes(shape: Shape, gpu: Gpu, settings: Settings) -> float:
    """The weights as PyTorch holds them, with the table of rotary embeddings. The files' sizes count more than the formula."""
    share, wide = settings.tensor_parallel_size, settings.dtype_bytes
    padded = _padded_experts(shape, gpu, settings)
    matrices = [(count, size / share) for count, size in _matrices(shape, settings, padded)]
    exact = sum(count * size for count, size in matrices) + shape.tower_parameters * wide / share
    if shape.stored_bytes is not None and (settings.quantization == UNSET or shape.checkpoint_quantization is not None):
        scale = wide / shape.dtype_bytes if shape.checkpoint_quantization is None else 1.0
        of_experts = shape.expert_parameters * part_bytes(shape, settings, "experts")
        exact = (shape.stored_bytes * scale + (padded - 1) * of_experts) / share
    padding = sum(count * (_held(size) - size) for count, size in matrices)
    rotated = shape.head_dim if shape.mla is None else shape.mla.rope_dim
    rotary = (shape.rotary_positions or shape.max_positions) * rotated * wide
    fp8 = "fp8" in settings.kv_cache_dtype or "fp8" in quantization(shape, settings)
    return exact + padding + rotary + (_FP8 if fp8 else 0)


def _padded_experts(shape: Shape, gpu: Gpu, settings: Settings) -> float:
    """How many times what they are the experts take, which MXFP4's kernels want in whole multiples."""
    moe = shape.experts
    if moe is None or "mxfp4" not in quantization(shape, settings):
        return 1.0
    width, states = _MXFP4_HOPPER if gpu.capability == (9, 0) else _MXFP4_MARLIN
    own = moe.intermediate / settings.tensor_parallel_size
    return math.ceil(own / width) * width / own * math.ceil(shape.hidden / states) * states / shape.hidden


def _matrices(shape: Shape, settings: Settings, padded: float) -> list[tuple[int, float]]:
    """How many matrices of how many bytes there are, as vLLM fuses them; experts take `padded` times what they are."""
    wide = settings.dtype_bytes
    attention, mlp = part_bytes(shape, settings, "attention"), part_bytes(shape, settings, "mlp")
    found = [(count, size * attention) for count, sizes in shape.attention for size in sizes]
    found += [(shape.dense_layers, size * mlp) for size in shape.mlp_matrices]
    if moe := shape.experts:
        one = moe.count * shape.hidden * moe.intermediate * part_bytes(shape, settings, "experts") * padded
        shared = 3 * shape.hidden * moe.shared_intermediate * part_bytes(shape, settings, "shared")
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
    kept = _expert_workspace_bytes(shape, settings)
    forward = max(_forward_bytes(shape, gpu, settings), kept)
    if not (settings.enforce_eager and computes_in_fp8(shape, settings, gpu)):
        forward += workspace
    sequences = min(settings.max_num_seqs, tokens)
    sampling = (
        sequences * (shape.vocab * _logit_bytes(shape, settings, version) + shape.hidden * wide) + hidden + workspace
    )
    seen = hidden if shape.tower_parameters else 0  # what the encoders made, which is there all the while
    sampling += seen
    sampling += kept if version >= _KEEPS_WORKSPACES else 0
    if settings.enforce_eager or not cold:
        return max(forward, sampling)
    compiling = shape.head_parameters * wide / share + 2 * hidden
    return max(forward + _L2_BYTES.get(capability, 50e6), sampling, compiling)


def _logit_bytes(shape: Shape, settings: Settings, version: Version) -> float:
    """Of one logit while it is sampled; V1 and V2 hold it once as the model gives it."""
    if has_v2_runner(shape, version):
        return _LOGIT_V2
    fitted = _LOGIT_V1 if version >= _KEEPS_WORKSPACES else _LOGIT_BEFORE_0_17
    return fitted + settings.dtype_bytes - 2


def _expert_workspace_bytes(shape: Shape, settings: Settings) -> float:
    """What the kernels of a mixture of experts keep for a full step (model_executor/layers/fused_moe): what goes into and
    comes out of both multiplications, for each expert of each token. MXFP4's have none."""
    moe = shape.experts
    if moe is None or "mxfp4" in quantization(shape, settings):
        return 0.0
    width = moe.intermediate / settings.tensor_parallel_size
    numbers = max(2 * width, shape.hidden) + max(width, shape.hidden)
    return settings.max_num_batched_tokens * moe.active * numbers * settings.dtype_bytes


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
    """What all CUDA graphs take, by mode: of the pieces between attention for each size, of the whole model for decoding
    batches, or, in FULL mode, of the whole model for each size (config/compilation.py, CUDAGraphMode)."""
    sizes = capture_sizes(settings, version)
    if not sizes:
        return 0.0
    pieces = sizes if "PIECEWISE" in settings.cudagraph_mode else ()
    decoding = settings.max_num_seqs * (1 + settings.speculative_tokens)
    whole = [size for size in sizes if size <= decoding] if settings.cudagraph_mode != "PIECEWISE" else []
    if settings.cudagraph_mode == "FULL":
        pieces, whole = (), [size for size in sizes if size <= _GROWS_TO]
    divided = 1 - _GRAPH_DIVIDED + _GRAPH_DIVIDED / settings.tensor_parallel_size
    captured = sum(whole) * shape.hidden * settings.dtype_bytes * divided
    one = _GRAPH
    if shape.experts is not None:
        one += _GRAPH_EXPERTS if version >= (0, 25) else _GRAPH_EXPERTS_BEFORE_0_25
    return _GRAPHS + (len(pieces) + len(whole)) * one + _GRAPH_HIDDEN * captured


def kept_bytes(shape: Shape, settings: Settings, version: Version) -> float:
    """What the sampler keeps from the start on. vLLM counts it since 0.28 (utils/mem_utils.py, total_consumed)."""
    return settings.max_num_seqs * shape.vocab * _PENALTY if has_v2_runner(shape, version) else 0.0
