"""Memory against what real servers reported.

`H200` points: vLLM 0.25.1, CUDA 13, one H200 (two with tensor_parallel_size 2), dummy weights of these shapes, from logs with
VLLM_LOGGING_LEVEL=DEBUG. Public points are named with their source. Tolerances stand beside each.
"""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predict.shapes import H200, SMALL, T4
from tuner.errors import UsageError
from tuner.predict.memory import Memory, MemoryCalibration, Observed, calibrate_memory, predict_memory
from tuner.predict.settings import Settings, Version, resolve
from tuner.predict.shape import Mla, Shape, read_shape
from tuner.space.files import load_space
from tuner.space.search_space import Gpu
from tuner.types import FailureKind, Params

QWEN_7B = replace(SMALL, hidden=3584, heads=28, kv_heads=4, intermediate=18944)
LLAMA_8B = replace(
    read_shape("meta-llama/Llama-3.1-8B-Instruct"), assumed=(), max_positions=32768
)  # as it was measured: a shorter table of rotary embeddings
RTX4090 = load_space("rtx4090").gpu
V25: Version = (0, 25)

#: Model, max_num_batched_tokens, max_num_seqs, gpu_memory_utilization, quantization, kv_cache_dtype, eager,
#: tensor_parallel_size, and the KV cache's tokens that vLLM reported. All were compiled in that start.
POINTS: list[tuple[Shape, int, int, float, str, str, bool, int, int]] = [
    (SMALL, 4096, 512, 0.06, "none", "fp8", True, 1, 317_504),
    (SMALL, 8192, 16, 0.15, "none", "auto", False, 1, 627_728),
    (SMALL, 16384, 512, 0.2, "none", "auto", False, 1, 871_504),
    (SMALL, 4096, 128, 0.9, "fp8_per_tensor", "fp8", False, 1, 9_205_248),
    (SMALL, 512, 8, 0.6, "fp8_per_tensor", "auto", False, 1, 3_034_704),
    (QWEN_7B, 16384, 64, 0.15, "none", "auto", True, 1, 79_600),
    (QWEN_7B, 4096, 64, 0.15, "none", "auto", False, 1, 100_864),
    (QWEN_7B, 16384, 1024, 0.9, "fp8_per_tensor", "auto", False, 1, 2_156_144),
    (QWEN_7B, 8192, 256, 0.15, "fp8_per_tensor", "fp8", False, 1, 426_592),
    (QWEN_7B, 512, 8, 0.2, "fp8_per_tensor", "auto", True, 1, 364_272),
    (LLAMA_8B, 16384, 32, 0.2, "none", "fp8", True, 1, 180_544),
    (LLAMA_8B, 512, 128, 0.1, "fp8_per_tensor", "auto", True, 1, 42_016),
    (LLAMA_8B, 8192, 1024, 0.15, "none", "fp8", False, 1, 76_096),
    (QWEN_7B, 8192, 256, 0.92, "none", "auto", False, 2, 4_503_584),
    (QWEN_7B, 2048, 1024, 0.92, "none", "auto", False, 2, 4_493_680),
]


def settled(params: Params, shape: Shape = SMALL, gpu: Gpu = H200, version: Version = (0, 32)) -> Settings:
    found = resolve({"max_model_len": 4096, **params}, shape, gpu, version)
    assert isinstance(found, Settings), found
    return found


def predicted(params: Params, shape: Shape = SMALL, gpu: Gpu = H200, version: Version = (0, 32), **more: Any) -> Memory:
    return predict_memory(shape, gpu, settled(params, shape, gpu, version), version=version, **more)


def params_of(point: tuple[Shape, int, int, float, str, str, bool, int, int]) -> Params:
    _, tokens, sequences, utilization, quantization, kv_cache_dtype, eager, together, _ = point
    return {
        "max_num_batched_tokens": tokens,
        "max_num_seqs": sequences,
        "gpu_memory_utilization": utilization,
        "quantization": quantization,
        "kv_cache_dtype": kv_cache_dtype,
        "enforce_eager": eager,
        "tensor_parallel_size": together,
    }


@pytest.mark.parametrize("point", POINTS)
def test_the_kv_cache_is_that_of_an_h200_within_a_quarter_of_a_percent(point: Any) -> None:
    found = predicted(params_of(point), point[0], version=V25)
    assert found.failed is None
    assert found.kv_cache_tokens == pytest.approx(point[-1], rel=0.0025)


@pytest.mark.parametrize(
    ("name", "gpu", "params", "version", "cold", "tokens", "within"),
    [
        # LLMServingSim, bench/examples (GitHub casys-kaist/LLMServingSim), RTX 4090 with vLLM 0.19: 2,588 blocks
        ("meta-llama/Llama-3.1-8B-Instruct", RTX4090, {"gpu_memory_utilization": 0.9}, (0, 19), True, 41_408, 0.03),
        # vLLM's pull request 54479: two RTX 4090, Qwen3-32B-AWQ, vLLM 0.28, from the compile cache: 5,315 blocks
        (
            "Qwen/Qwen3-32B",
            RTX4090,
            {
                "gpu_memory_utilization": 0.85,
                "max_num_batched_tokens": 5120,
                "max_num_seqs": 72,
                "tensor_parallel_size": 2,
            },
            (0, 28),
            False,
            85_040,
            0.05,
        ),
    ],
    ids=["4090-llama-8b", "2x4090-qwen3-32b-awq"],
)
def test_the_kv_cache_is_that_of_public_logs(
    name: str, gpu: Gpu, params: Params, version: Version, cold: bool, tokens: int, within: float
) -> None:
    shape = read_shape(name)
    if "32B" in name:
        shape = replace(shape, checkpoint_quantization="awq")
    found = predicted({"max_model_len": 8192, **params}, shape, gpu, version, cold=cold)
    assert found.kv_cache_tokens == pytest.approx(tokens, rel=within)


@pytest.mark.parametrize(
    ("shape", "weights_gib", "quantization"),
    [
        (SMALL, 3.41, "none"),
        (QWEN_7B, 14.29, "none"),
        (LLAMA_8B, 14.97, "none"),
        (SMALL, 2.18, "fp8_per_tensor"),
        (QWEN_7B, 8.20, "fp8_per_tensor"),
        (LLAMA_8B, 8.50, "fp8_per_tensor"),
    ],
)
def test_weights_are_those_that_vllm_loaded_within_10_mib(shape: Shape, weights_gib: float, quantization: str) -> None:
    found = predicted({"quantization": quantization}, shape).weights_bytes / 2**30
    assert found == pytest.approx(weights_gib, abs=0.01)


@pytest.mark.parametrize(
    ("shape", "sequences", "graphs_gib"),
    [
        (SMALL, 8, 0.11),
        (SMALL, 128, 0.28),
        (SMALL, 512, 0.5),
        (QWEN_7B, 64, 0.21),
        (QWEN_7B, 1024, 0.91),
        (LLAMA_8B, 1024, 0.97),
    ],
)
def test_graphs_are_those_that_vllm_captured_within_0_1_gib(shape: Shape, sequences: int, graphs_gib: float) -> None:
    found = predicted({"max_num_seqs": sequences}, shape, version=V25).graphs_bytes / 2**30
    assert found == pytest.approx(graphs_gib, abs=0.1)


@pytest.mark.parametrize(
    ("shape", "tokens", "sequences", "utilization", "starts"),
    [
        (QWEN_7B, 8192, 1024, 0.1, False),  # vLLM: no available memory, -1.68 GiB
        (QWEN_7B, 512, 64, 0.1, False),  # -0.64 GiB
        (QWEN_7B, 2048, 64, 0.13, True),
        (SMALL, 4096, 8, 0.1, True),
        (SMALL, 4096, 512, 0.06, True),
    ],
)
def test_it_starts_where_an_h200_did(
    shape: Shape, tokens: int, sequences: int, utilization: float, starts: bool
) -> None:
    params = {"max_num_batched_tokens": tokens, "max_num_seqs": sequences, "gpu_memory_utilization": utilization}
    found = predicted({**params, "enforce_eager": not starts}, shape, version=V25)
    assert (found.failed is None) == starts
    if not starts:
        assert found.failed
        assert found.failed.kind == FailureKind.KV_CACHE_TOO_SMALL
        assert "No available memory for the cache blocks" in found.failed.message
        assert found.kv_cache_tokens == 0


def test_a_request_that_does_not_fit_names_the_longest_that_does() -> None:
    found = predicted(
        {"gpu_memory_utilization": 0.13, "max_model_len": 32768, "max_num_seqs": 1024}, LLAMA_8B, version=V25
    )
    assert found.failed
    assert found.failed.kind == FailureKind.KV_CACHE_TOO_SMALL
    assert 0 < found.largest_length < 32768
    assert f"estimated maximum model length is {found.largest_length}" in found.failed.message
    again = predicted(
        {"gpu_memory_utilization": 0.13, "max_model_len": found.largest_length, "max_num_seqs": 1024},
        LLAMA_8B,
        version=V25,
    )
    assert again.failed is None


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"gpu_memory_utilization": 1.0}, "Free memory on device cuda:0"),
        ({"tensor_parallel_size": 1}, "Failed to load model - not enough GPU memory"),
    ],
)
def test_too_little_memory_is_out_of_memory_in_vllms_words(params: Params, said: str) -> None:
    shape = SMALL if "gpu_memory_utilization" in params else read_shape("meta-llama/Llama-3.3-70B-Instruct")
    found = predicted(params, shape, T4)
    assert found.failed
    assert found.failed.kind == FailureKind.OUT_OF_MEMORY
    assert said in found.failed.message


def test_what_vllm_0_25_left_out_of_the_budget_can_be_too_much() -> None:
    """Its model runner V2 reserved nothing for CUDA graphs (vLLM's issue 49224): near the whole card the capture fails."""
    params = {"gpu_memory_utilization": 0.97, "max_num_seqs": 512}
    found = predicted(params, SMALL, RTX4090, V25)
    assert found.failed
    assert found.failed.kind == FailureKind.OUT_OF_MEMORY
    assert predicted(params, SMALL, RTX4090).failed is None


def test_graphs_came_into_the_budget_with_0_21_and_left_it_for_a_while() -> None:
    counted = {
        version: predicted({}, version=version).graphs_counted for version in ((0, 20), (0, 21), V25, (0, 29), (0, 32))
    }
    assert list(counted.values()) == [False, True, False, True, True]
    eager, graphs = predicted({"enforce_eager": True}), predicted({})
    assert graphs.kv_cache_bytes < eager.kv_cache_bytes - graphs.graphs_bytes * 0.9


def test_a_cold_start_leaves_less_than_one_from_the_compile_cache() -> None:
    cold, warm = (predicted({"max_num_seqs": 16}, cold=cold).kv_cache_bytes for cold in (True, False))
    assert cold < warm
    eager = [predicted({"enforce_eager": True}, cold=cold).kv_cache_bytes for cold in (True, False)]
    assert eager[0] == eager[1]


def test_a_card_without_a_memory_size_and_the_cpu_are_refused() -> None:
    settings = settled({})
    for gpu in (load_space("cpu").gpu, H200.model_copy(update={"memory_gib": None})):
        with pytest.raises(UsageError, match="memory_gib"):
            predict_memory(SMALL, gpu, settings)


def test_the_terms_fill_the_budget() -> None:
    found = predicted({})
    spent = (
        found.weights_bytes + found.activations_bytes + found.other_bytes + found.graphs_bytes + found.kv_cache_bytes
    )
    assert spent == found.budget_bytes
    assert found.kv_cache_tokens * found.kv_bytes_per_token == pytest.approx(found.kv_cache_bytes, rel=1e-4)
    assert found.concurrency(1000) == found.kv_cache_tokens / 1000


def test_the_files_of_a_checkpoint_count_more_than_the_formula() -> None:
    plain = predicted({}).weights_bytes
    larger = predicted({}, replace(SMALL, stored_bytes=SMALL.parameters * 2 + 10**9)).weights_bytes
    assert larger - plain == pytest.approx(10**9, rel=0.001)
    double = replace(SMALL, stored_bytes=SMALL.parameters * 4, dtype_bytes=4.0)  # stored in 32 bits, loaded in 16
    assert predicted({}, double).weights_bytes == pytest.approx(plain, rel=0.001)


def test_latent_attention_keeps_one_vector_a_token_on_every_gpu() -> None:
    mla = Mla(kv_lora_rank=512, rope_dim=64, q_lora_rank=None, v_head_dim=128, nope_dim=128)
    shape = replace(SMALL, layers=27, heads=16, kv_heads=16, mla=mla)
    for together in (1, 2):
        assert predicted({"tensor_parallel_size": together}, shape).kv_bytes_per_token == 27 * 576 * 2


def test_layers_with_a_window_hold_more_requests() -> None:
    """Gemma's pattern: 5 of 6 layers keep 1,024 tokens, so a long request takes a fraction of what it would."""
    full = replace(SMALL, layers=30)
    windowed = replace(full, window_layers=25, window=1024)
    params = {"max_model_len": 32768, "max_num_batched_tokens": 2048}
    assert 3 < predicted(params, windowed).kv_cache_tokens / predicted(params, full).kv_cache_tokens < 6


@given(
    tokens=st.sampled_from((512, 1024, 2048, 4096, 8192, 16384)),
    sequences=st.integers(1, 512),
    utilization=st.floats(0.1, 0.95),
    eager=st.booleans(),
    version=st.sampled_from((V25, (0, 32))),
)
def test_more_for_steps_and_graphs_is_less_for_the_cache(
    tokens: int, sequences: int, utilization: float, eager: bool, version: Version
) -> None:
    def cache(**changes: Any) -> int:
        params = {"max_num_batched_tokens": tokens, "max_num_seqs": sequences, "gpu_memory_utilization": utilization}
        return predicted({**params, "enforce_eager": eager, **changes}, SMALL, H200, version).kv_cache_bytes

    assert cache(max_num_batched_tokens=2 * tokens) <= cache()
    assert cache(max_num_seqs=max(1, sequences // 2)) >= cache()
    assert cache(gpu_memory_utilization=utilization + 0.04) > cache()
    assert cache(enforce_eager=True) >= cache() - 64 * 2**20  # an eager step holds one hidden state more


def test_one_launch_is_enough_to_calibrate() -> None:
    """A card that keeps 1 GiB more for itself: what one launch reported makes all others right within 2 %."""
    odd = MemoryCalibration(other_bytes=2**30)
    first, other = settled({"max_num_seqs": 64}, QWEN_7B, RTX4090), settled({"enforce_eager": True}, QWEN_7B, RTX4090)
    real = predict_memory(QWEN_7B, RTX4090, first, odd)
    told = Observed(
        settings=first, kv_cache_tokens=real.kv_cache_tokens, weights_bytes=real.weights_bytes, compiled=True
    )
    found = calibrate_memory(QWEN_7B, RTX4090, [told])
    expected = predict_memory(QWEN_7B, RTX4090, other, odd).kv_cache_tokens
    assert predict_memory(QWEN_7B, RTX4090, other).kv_cache_tokens != pytest.approx(expected, rel=0.1)
    assert predict_memory(QWEN_7B, RTX4090, other, found).kv_cache_tokens == pytest.approx(expected, rel=0.02)


def test_calibrated_on_one_measured_launch_the_others_are_right_within_2_percent() -> None:
    measured = [point for point in POINTS if point[0] == QWEN_7B and point[-2] == 1]
    for one in measured:
        settings = settled(params_of(one), QWEN_7B, version=V25)
        found = calibrate_memory(QWEN_7B, H200, [Observed(settings=settings, kv_cache_tokens=one[-1])], V25)
        for other in measured:
            tokens = predict_memory(
                QWEN_7B, H200, settled(params_of(other), QWEN_7B, version=V25), found, V25
            ).kv_cache_tokens
            assert tokens == pytest.approx(other[-1], rel=0.02)


def test_calibration_learns_weights_and_graphs_but_not_their_rounding() -> None:
    settings = settled({})
    before = predict_memory(SMALL, H200, settings)
    rounded = Observed(settings=settings, weights_bytes=round(before.weights_bytes * 1.004))
    assert calibrate_memory(SMALL, H200, [rounded]) == MemoryCalibration()
    told = Observed(
        settings=settings,
        weights_bytes=round(before.weights_bytes * 1.2),
        graphs_bytes=round(before.graphs_bytes * 0.5),
    )
    found = calibrate_memory(SMALL, H200, [told])
    assert found.weights == pytest.approx(1.2)
    assert found.graphs == pytest.approx(0.5)
    assert calibrate_memory(SMALL, H200, []) == MemoryCalibration()
