"""Settings as vLLM 0.25.1 and 0.32 resolve them; the expected values were read from real starts and from their source."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predict.shapes import H200, SMALL, T4
from tuner.errors import UsageError
from tuner.predict.settings import Settings, capture_sizes, resolve
from tuner.space.files import load_space
from tuner.space.search_space import Gpu
from tuner.types import Failed, FailureKind, Params


def settled(params: Params, gpu: Gpu = H200, version: tuple[int, int] = (0, 32)) -> Settings:
    found = resolve(params, SMALL, gpu, version)
    assert isinstance(found, Settings), found
    return found


@pytest.mark.parametrize(
    ("card", "tokens", "sequences"),
    [("t4", 2048, 256), ("l4", 2048, 256), ("a100-80gb", 2048, 256), ("h100-80gb", 8192, 1024), ("h200", 8192, 1024)],
)
def test_the_defaults_are_vllms_for_the_card(card: str, tokens: int, sequences: int) -> None:
    found = settled({}, load_space(card).gpu)
    assert (found.max_num_batched_tokens, found.max_num_seqs) == (tokens, sequences)
    assert (found.max_model_len, found.block_size, found.async_scheduling) == (32768, 16, True)


def test_the_cpu_has_its_own_defaults() -> None:
    found = settled({}, load_space("cpu").gpu)
    assert (found.max_num_batched_tokens, found.max_num_seqs, found.block_size) == (2048, 128, 128)
    assert not found.async_scheduling


@pytest.mark.parametrize(("version", "utilization"), [((0, 19), 0.9), ((0, 21), 0.9), ((0, 22), 0.92), ((0, 32), 0.92)])
def test_the_default_utilization_rose_with_0_22(version: tuple[int, int], utilization: float) -> None:
    assert settled({}, version=version).gpu_memory_utilization == utilization


def test_defaults_give_way_to_what_is_given() -> None:
    assert settled({"max_num_batched_tokens": 512}).max_num_seqs == 512  # the default, 1024, would be refused
    assert settled({"max_num_seqs": 2, "max_model_len": 1000}).max_num_batched_tokens == 2000
    assert settled({"enable_chunked_prefill": False}).max_num_batched_tokens == 32768


def test_a_card_without_bfloat16_computes_in_float16() -> None:
    assert settled({}, T4).dtype == "float16"
    assert settled({}, H200).dtype == "auto"


def test_all_settings_come_back_by_vllms_names() -> None:
    given_: dict[str, Any] = {
        "max_num_seqs": 64,
        "quantization": "none",
        "stream_interval": 8,
    }
    params = settled(given_).params
    assert {name: params[name] for name in ("max_num_seqs", "quantization", "stream_interval")} == {
        "max_num_seqs": 64,
        "quantization": "none",
        "stream_interval": 8,
    }
    assert settled(params) == settled(given_)


@pytest.mark.parametrize(
    ("params", "gpu", "kind", "said"),
    [
        (
            {"max_num_batched_tokens": 64, "max_num_seqs": 128},
            H200,
            "rejected",
            "must be greater than or equal to max_num_seqs",
        ),
        ({"max_num_seqs": 4096, "max_num_batched_tokens": 2048}, T4, "rejected", "(2048) must be greater"),
        ({"max_model_len": 32769}, H200, "rejected", "is greater than the derived max_model_len"),
        (
            {"enable_chunked_prefill": False, "max_num_batched_tokens": 512},
            H200,
            "rejected",
            "is smaller than max_model_len (32768)",
        ),
        ({"tensor_parallel_size": 5}, H200, "rejected", "attention heads (12) must be divisible"),
        ({"max_num_seqs": 0}, H200, "rejected", "max_num_seqs: Input should be greater than or equal to 1"),
        ({"tensor_parallel_size": 0}, H200, "rejected", "tensor_parallel_size"),
        ({"gpu_memory_utilization": 1.01}, H200, "rejected", "less than or equal to 1"),
        ({"gpu_memory_utilization": 0.0}, H200, "rejected", "greater than 0"),
        ({"max_num_seqs": "many"}, H200, "rejected", "--max-num-seqs: invalid int value: 'many'"),
        ({"max_num_seqs": True}, H200, "rejected", "invalid int value"),
        ({"quantization": "awq"}, H200, "unsupported quantization", "Cannot find the config file for awq"),
        ({"quantization": "gguf"}, H200, "unsupported quantization", "Unknown quantization method: gguf"),
        ({"quantization": "fp8_per_channel"}, T4, "unsupported quantization", "needs compute capability 8.9"),
        ({"kv_cache_dtype": "fp8"}, T4, "unsupported quantization", "kv_cache_dtype fp8"),
        ({"dtype": "bfloat16"}, T4, "unsupported quantization", "dtype bfloat16"),
    ],
)
def test_what_vllm_refuses_fails_with_its_sentence(params: Params, gpu: Gpu, kind: str, said: str) -> None:
    found = resolve(params, SMALL, gpu)
    assert isinstance(found, Failed)
    assert found.kind == FailureKind(kind)
    assert said in found.message


def test_a_quantized_checkpoint_takes_its_own_quantization_only() -> None:
    awq = replace(SMALL, checkpoint_quantization="awq")
    assert isinstance(resolve({}, awq, H200), Settings)
    assert isinstance(resolve({"quantization": "awq_marlin"}, awq, H200), Settings)
    found = resolve({"quantization": "fp8_per_tensor"}, awq, H200)
    assert isinstance(found, Failed)
    assert "does not match" in found.message


def test_a_checkpoints_quantization_needs_a_card_that_runs_it() -> None:
    found = resolve({}, replace(SMALL, checkpoint_quantization="fp_quant"), H200)
    assert isinstance(found, Failed)
    assert "10.0" in found.message


@pytest.mark.parametrize(
    "params",
    [
        {"cpu_offload_gb": 4},
        {"kv_cache_memory_bytes": 2**30},
        {"kv_cache_dtype": "nvfp4"},
        {"kv_offloading_size": 16},
    ],
)
def test_what_cannot_be_told_is_refused_and_not_guessed(params: Params) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(params))}.*cannot tell"):
        resolve(params, SMALL, H200)


@pytest.mark.parametrize(
    ("params", "version", "expected"),
    [
        ({"max_num_seqs": 8}, (0, 25), (1, 2, 4, 8, 16)),
        ({"max_num_seqs": 5}, (0, 25), (1, 2, 4, 8)),
        ({"max_num_seqs": 5}, (0, 32), (1, 2, 4, 5, 8)),
        ({"max_num_seqs": 1}, (0, 25), (1, 2)),
        ({"max_num_seqs": 20, "max_num_batched_tokens": 20}, (0, 25), (1, 2, 4, 8, 16, 20)),
        ({"enforce_eager": True}, (0, 32), ()),
    ],
)
def test_graphs_are_captured_for_these_sizes(
    params: Params, version: tuple[int, int], expected: tuple[int, ...]
) -> None:
    assert capture_sizes(settled(params, version=version), version) == expected


def test_as_many_graphs_as_vllm_said() -> None:
    """An H200 with vLLM 0.25.1 captured 51 sizes with 1024 sequences, and 35 with 128 (51 piecewise and 35 full with 256)."""
    sizes = capture_sizes(settled({}, version=(0, 25)), (0, 25))
    assert (len(sizes), sizes[-1]) == (51, 512)
    assert len([size for size in sizes if size <= 256]) == 35
    assert len(capture_sizes(settled({"max_num_seqs": 128}), (0, 25))) == 35


@given(sequences=st.integers(1, 4096), tokens=st.integers(1, 32768), new=st.booleans())
def test_captured_sizes_rise_and_fit_into_a_step(sequences: int, tokens: int, new: bool) -> None:
    found = resolve({"max_num_seqs": sequences, "max_num_batched_tokens": tokens}, SMALL, H200)
    if isinstance(found, Settings):
        sizes = capture_sizes(found, (0, 32) if new else (0, 25))
        assert sizes == tuple(sorted(set(sizes)))
        assert sizes[0] == 1
        assert sizes[-1] <= min(tokens, 2 * sequences, 512)
