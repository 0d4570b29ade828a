"""What a server's log says of settings that became others. The lines are vLLM's own (0.25.1 and 0.32), in the files named."""

import pytest

from tuner.launch.effective import effective_settings
from tuner.types import Params

GRAPHS, BACKEND = "compilation_config.cudagraph_mode", "attention_backend"
RESOLVED: Params = {
    GRAPHS: "FULL",
    "block_size": 16,
    "enable_chunked_prefill": True,
    "enable_prefix_caching": True,
    "async_scheduling": True,
    "max_model_len": 32768,
    "max_num_seqs": 256,
}
PREFIX = "(EngineCore_DP0 pid=417) {} 11-28 09:41:03 [{}] "
#: Level and file; what it says; what became of the settings.
LINES = {
    "FULL of a backend that can do uniform batches only": (
        "WARNING",
        "compilation.py:1412",
        "CUDAGraphMode.FULL is not supported with FlashInferBackend backend (support: AttentionCGSupport.UNIFORM_BATCH); "
        "setting cudagraph_mode=FULL_AND_PIECEWISE",
        {GRAPHS: "FULL_AND_PIECEWISE"},
    ),
    "FULL that is not compiled in pieces": (
        "WARNING",
        "compilation.py:1412",
        "CUDAGraphMode.FULL is not supported with GDNAttentionBackend backend (support: "
        "AttentionCGSupport.UNIFORM_SINGLE_TOKEN_DECODE); setting cudagraph_mode=FULL_DECODE_ONLY",
        {GRAPHS: "FULL_DECODE_ONLY"},
    ),
    "a backend without any full graph": (
        "WARNING",
        "compilation.py:1439",
        "CUDAGraphMode.FULL_DECODE_ONLY is not supported with FlexAttentionBackend backend (support: "
        "AttentionCGSupport.NEVER); setting cudagraph_mode=PIECEWISE because attention is compiled piecewise",
        {GRAPHS: "PIECEWISE"},
    ),
    "and without pieces": (
        "WARNING",
        "compilation.py:1439",
        "CUDAGraphMode.FULL_DECODE_ONLY is not supported with FlexAttentionBackend backend (support: "
        "AttentionCGSupport.NEVER); setting cudagraph_mode=NONE because attention is not compiled piecewise",
        {GRAPHS: "NONE"},
    ),
    "speculative decoding": (
        "WARNING",
        "compilation.py:1459",
        "CUDAGraphMode.FULL is not supported with spec-decode for attention backend FlashInferBackend (support: "
        "AttentionCGSupport.UNIFORM_SINGLE_TOKEN_DECODE); setting cudagraph_mode=PIECEWISE",
        {GRAPHS: "PIECEWISE"},
    ),
    "a model that cannot be captured in pieces": (
        "WARNING",
        "compilation.py:1466",
        "Cudagraph mode FULL_AND_PIECEWISE requires piecewise capture, but the loaded model provides neither a compiled "
        "submodule nor breakable CUDA graphs. Overriding to FULL_DECODE_ONLY.",
        {GRAPHS: "FULL_DECODE_ONLY"},
    ),
    "a compilation mode without pieces": (
        "INFO",
        "vllm.py:1212",
        "Cudagraph mode PIECEWISE is not compatible with compilation mode 0.Overriding to NONE.",
        {GRAPHS: "NONE"},
    ),
    "dynamic speculative decoding": (
        "WARNING",
        "vllm.py:1049",
        "Dynamic speculative decoding changes the target verification length at runtime. Overriding cudagraph_mode from FULL "
        "to PIECEWISE for reliability. Use VLLM_USE_V2_MODEL_RUNNER=1 if you want to use full CUDA graphs.",
        {GRAPHS: "PIECEWISE"},
    ),
    "the backend that vLLM chose": (
        "INFO",
        "cuda.py:476",
        "Using FLASH_ATTN attention backend out of potential backends: ['FLASH_ATTN', 'FLASHINFER', 'TRITON_ATTN'].",
        {BACKEND: "FLASH_ATTN"},
    ),
    "the backend that was asked for": (
        "INFO",
        "cuda.py:416",
        "Using AttentionBackendEnum.TRITON_ATTN backend.",
        {BACKEND: "TRITON_ATTN"},
    ),
    "a backend that no CPU has": (
        "INFO",
        "cpu.py:82",
        "Cannot use AttentionBackendEnum.FLASH_ATTN backend on CPU.",
        {BACKEND: "CPU_ATTN"},
    ),
    "the block size that the backend wants": (
        "INFO",
        "interface.py:620",
        "Setting kv cache block size to 64 for FLASHMLA backend.",
        {"block_size": 64},
    ),
    "the block size of a hybrid model": (
        "INFO",
        "interface.py:890",
        "Setting attention block size to 544 tokens to ensure that attention page size is >= mamba page size.",
        {"block_size": 544},
    ),
    "a model whose attention is not causal": (
        "INFO",
        "core.py:283",
        "Disabling chunked prefill: model has non-causal attention layers.",
        {"enable_chunked_prefill": False},
    ),
    "no prefix caching": (
        "INFO",
        "core.py:288",
        "Disabling prefix caching: model has non-causal attention layers.",
        {"enable_prefix_caching": False},
    ),
    "MLA on the CPU": (
        "INFO",
        "cpu.py:305",
        "MLA is enabled on a non-GPU platform; forcing chunked prefill and prefix caching to be disabled.",
        {"enable_chunked_prefill": False, "enable_prefix_caching": False},
    ),
    "no asynchronous scheduling": (
        "WARNING",
        "vllm.py:1027",
        "Async scheduling will be disabled because it is not supported with the `ray` distributed executor backend. ",
        {"async_scheduling": False},
    ),
    "a length that fits": (
        "INFO",
        "kv_cache_utils.py:1954",
        "Auto-fit max_model_len: reduced from 32768 to 21504 to fit in available GPU memory (3.1 GiB available for KV cache)",
        {"max_model_len": 21504},
    ),
}


@pytest.mark.parametrize("case", LINES)
def test_each_change_is_read_from_vllms_own_words(case: str) -> None:
    level, file, text, became = LINES[case]
    quiet = PREFIX.format("INFO", "gpu_model_runner.py:5298") + "Model loading took 2.9 GiB memory and 1.1 seconds\n"
    line = PREFIX.format(level, file) + text
    assert effective_settings(quiet + line, RESOLVED) == became
    assert effective_settings(line + "\n" + line, RESOLVED) == became  # each worker says it
    assert effective_settings(f"\x1b[0;36m(Worker_TP0 pid=7)\x1b[0;0m {line}", {**RESOLVED, **became}) == {}


def test_the_last_word_counts() -> None:
    fell = [LINES[case][2] for case in ("FULL that is not compiled in pieces", "and without pieces")]
    assert effective_settings("\n".join(fell), RESOLVED) == {GRAPHS: "NONE"}


def test_of_several_backends_none_is_named() -> None:
    lines = [LINES[case][2] for case in ("the backend that vLLM chose", "the backend that was asked for")]
    assert effective_settings("\n".join(lines), RESOLVED) == {}


def test_what_other_parts_choose_is_no_attention_backend() -> None:
    text = "Using FLASHINFER_CUTLASS Unquantized MoE backend out of potential backends\nUsing xgrammar backend."
    text += (
        "\nUsing FLASH_ATTN MLA prefill backend.\nCUDAGraphMode.FULL is not supported with X backend (support: NEVER)"
    )
    text += "; please try cudagraph_mode=PIECEWISE, and make sure compilation mode is VLLM_COMPILE"
    assert effective_settings(text, RESOLVED) == {}
    assert effective_settings("", RESOLVED) == {}
    assert effective_settings(LINES["a length that fits"][2], {}) == {}  # it is not known what it was
