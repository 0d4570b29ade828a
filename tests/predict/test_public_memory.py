"""Memory against public logs: H100s of 80 GB with `gpu_memory_utilization` 0.95 and `max_model_len` 8192 where nothing else is
said (GitHub llm-d-incubation/llm-d-planner, accuracy/results; llm-d/llm-d-benchmark), GiB with two decimals."""

from dataclasses import replace
from typing import Any

import pytest

from predict.shapes import SMALL
from predict.test_families import GEMMA4
from predict.test_memory import LLAMA_8B, QWEN_7B, RTX4090, settled
from predict.test_shape import GPT_OSS, model
from tuner.predict.footprint import activation_bytes, graph_bytes, weight_bytes
from tuner.predict.kv_blocks import KvBlocks
from tuner.predict.memory import predict_memory
from tuner.predict.settings import Version, resolve
from tuner.predict.shape import Experts, Quantized, Shape, read_shape
from tuner.space.files import load_space
from tuner.types import Failed, Params

_GIB = 2**30
H100 = load_space("h100-80gb").gpu
V19: Version = (0, 19)
QWEN_14B = replace(SMALL, layers=40, hidden=5120, heads=40, kv_heads=8, intermediate=17408, max_positions=40960)
GEMMA_9B = replace(
    SMALL, architecture="Gemma2ForCausalLM", layers=42, hidden=3584, heads=16, kv_heads=8, head_dim=256,
    intermediate=14336, vocab=256000, tied=True, window_layers=21, window=4096, max_positions=8192,
)  # fmt: skip
QWEN_30B = replace(
    SMALL, architecture="Qwen3MoeForCausalLM", layers=48, hidden=2048, heads=32, kv_heads=4, max_positions=40960,
    experts=Experts(count=128, active=8, intermediate=768, shared_intermediate=0, layers=48),
)  # fmt: skip
QWEN_72B = replace(SMALL, layers=80, hidden=8192, heads=64, kv_heads=8, intermediate=29568, vocab=152064)


def cache_gib(shape: Shape, version: Version, **params: Any) -> float:
    asked = {"max_model_len": 8192, "gpu_memory_utilization": 0.95, **params}
    settings = resolve(asked, shape, H100, version)
    assert not isinstance(settings, Failed), settings
    return predict_memory(shape, H100, settings, version=version).kv_cache_bytes / _GIB


@pytest.mark.parametrize(
    ("shape", "version", "params", "gib"),
    [
        (LLAMA_8B, V19, {}, 58.11),
        (LLAMA_8B, V19, {"dtype": "float32"}, 42.80),
        (LLAMA_8B, V19, {"tensor_parallel_size": 2}, 63.76),
        (QWEN_7B, V19, {}, 58.53),
        (QWEN_7B, V19, {"tensor_parallel_size": 2}, 63.84),
        (QWEN_72B, V19, {"tensor_parallel_size": 4}, 36.72),
        (QWEN_14B, (0, 15), {}, 41.94),
        (GEMMA_9B, V19, {}, 54.12),
        (QWEN_30B, V19, {}, 15.41),
    ],
)
def test_the_kv_cache_is_that_of_an_h100_within_one_percent(
    shape: Shape, version: Version, params: dict[str, Any], gib: float
) -> None:
    assert cache_gib(shape, version, **params) == pytest.approx(gib, rel=0.01)


def test_the_sampler_of_v1_took_more_before_0_17() -> None:
    """1,024 sequences of 151,936 logits: 38.1 bytes each, then 14.5."""
    found = [
        activation_bytes(QWEN_14B, H100, settled({"max_num_seqs": 1024}, QWEN_14B, H100, version), version, cold=False)
        for version in ((0, 15), V19)
    ]
    logits = 1024 * 151936
    assert found[0] - found[1] == pytest.approx(logits * (38.1 - 14.5))


def test_the_workspaces_of_experts_add_to_the_sampler() -> None:
    """8,192 tokens through 8 experts each, in and out of both multiplications: 2 x 768 below 2,048 and 2,048 numbers."""
    settings = settled({"max_num_batched_tokens": 8192, "max_num_seqs": 1024}, QWEN_30B, H100, V19)
    found = activation_bytes(QWEN_30B, H100, settings, V19, cold=False)
    dense = activation_bytes(replace(QWEN_30B, experts=None), H100, settings, V19, cold=False)
    assert found - dense == pytest.approx(8192 * 8 * (2048 + 2048) * 2)
    assert found / _GIB == pytest.approx(2.68, abs=0.02)  # as logged


@pytest.mark.parametrize(("gpu", "gib"), [(H100, 13.47), (RTX4090, 13.72)])
def test_mxfp4_keeps_attention_in_16_bits_and_pads_experts(gpu: Any, gib: float, tmp_path: Any) -> None:
    """gpt-oss-20b: 24 x 32 experts of 3 x 2,880 x 3,072 weights in 4.25 bits, all the rest in 16."""
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    told = {"quant_method": "mxfp4", "modules_to_not_convert": kept}
    shape = read_shape(model(tmp_path, GPT_OSS, quantization_config=told))
    found = weight_bytes(shape, gpu, settled({}, shape, gpu)) / _GIB
    assert found == pytest.approx(gib, abs=0.25)
    if gpu is H100:
        experts, attention = 24 * 32 * 3 * 2880 * 3072 * 0.53125, 24 * (2880 * 80 * 64 + 64 * 64 * 2880) * 2
        assert found == pytest.approx((experts + attention + 2 * 201088 * 2880 * 2) / _GIB, abs=0.2)


def test_the_bits_of_the_checkpoint_count_whatever_name_it_is_asked_for_by() -> None:
    shape = replace(LLAMA_8B, checkpoint_quantization="gptq", quantized=Quantized(weight_bytes=1.0))
    for asked in ("none", "gptq_marlin"):
        found = weight_bytes(shape, H100, settled({"quantization": asked}, shape, H100)) / _GIB
        assert found == pytest.approx((6.98e9 * 1.0 + 2 * 128256 * 4096 * 2) / _GIB, rel=0.01)


def test_a_checkpoint_without_a_word_in_config_json_is_read_from_the_file_beside_it(tmp_path: Any) -> None:
    from predict.test_shape import LLAMA_8B as CONFIG

    folder = model(tmp_path, CONFIG)
    (tmp_path / "hf_quant_config.json").write_text(
        '{"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}'
    )
    shape = read_shape(folder)
    settings = settled({}, shape, H100)
    assert shape.checkpoint_quantization == "modelopt"
    assert weight_bytes(shape, H100, settings) / _GIB == pytest.approx(8.50, abs=0.1)
    assert KvBlocks(shape, settings).block_bytes == 16 * 2 * 32 * 8 * 128  # 8 bits a value
    wide = settled({"kv_cache_dtype": "bfloat16"}, shape, H100)
    assert KvBlocks(shape, wide).block_bytes == 2 * 16 * 2 * 32 * 8 * 128


def test_layers_of_two_head_sizes_share_the_blocks_of_one_pool(tmp_path: Any) -> None:
    """Gemma 4 31B with an fp8 cache of 55.22 GiB, 32,768 tokens a request: vLLM reported 11.57 requests at once."""
    shape = read_shape(model(tmp_path, GEMMA4))
    asked: Params = {"max_model_len": 32768, "max_num_batched_tokens": 8192, "kv_cache_dtype": "fp8"}
    blocks = KvBlocks(shape, settled(asked, shape))
    assert blocks.block_bytes == 16 * 10 * 2 * 16 * 256
    assert blocks.tokens(55.22 * _GIB) / 32768 == pytest.approx(11.57, abs=0.01)


@pytest.mark.parametrize(("share", "gib"), [(1, 0.91), (2, 0.76), (4, 0.67)])
def test_graphs_hardly_shrink_with_tensor_parallelism(share: int, gib: float) -> None:
    settings = settled({"tensor_parallel_size": share, "max_num_seqs": 1024}, LLAMA_8B, H100, V19)
    assert graph_bytes(LLAMA_8B, settings, V19) / _GIB == pytest.approx(gib, abs=0.16)


@pytest.mark.parametrize(
    ("shape", "share", "said"),
    [
        (QWEN_14B, 5, "AssertionError: 151936 is not divisible by 5"),
        (replace(QWEN_7B, vocab=448 * 64, intermediate=18944 * 7), 7, "7 is not divisible by 4"),
        (replace(SMALL, intermediate=8961), 2, "8961 is not divisible by 2"),
    ],
)  # fmt: skip
def test_tensor_parallelism_must_divide_vocabulary_kv_heads_and_widths(shape: Shape, share: int, said: str) -> None:
    found = resolve({"tensor_parallel_size": share, "max_model_len": 4096}, shape, H100)
    assert isinstance(found, Failed)
    assert said in found.message
