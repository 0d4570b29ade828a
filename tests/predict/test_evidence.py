"""Which part of a proposed setting is measured knowledge."""

import pytest

from tuner.predict.evidence import Evidence, basis
from tuner.predict.uncertainty import Known, known_of
from tuner.space.files import load_space
from tuner.types import Value

H200, A100, T4 = (load_space(name).gpu for name in ("h200", "a100-80gb", "t4"))


@pytest.mark.parametrize(
    ("name", "default", "value", "why"),
    [
        ("max_num_seqs", 256, 512, None),
        ("max_num_batched_tokens", 8192, 2048, None),
        ("gpu_memory_utilization", 0.9, 0.95, None),
        ("stream_interval", 1, 8, None),
        ("api_server_count", 1, 4, None),
        ("enforce_eager", False, True, None),
        ("compilation_config.cudagraph_mode", "FULL_AND_PIECEWISE", "PIECEWISE", None),
        ("quantization", "none", "fp8_per_tensor", None),
        ("quantization", "fp8_per_tensor", "none", None),
        ("quantization", "none", "awq", "quantization=awq"),
        ("quantization", "awq", "none", "quantization=awq"),
        ("quantization", "none", "int8_per_channel_weight_only", "quantization=int8_per_channel_weight_only"),
        ("kv_cache_dtype", "auto", "fp8", None),
        ("kv_cache_dtype", "auto", "bfloat16", "kv_cache_dtype=bfloat16"),
        ("block_size", 16, 64, "no measurement of block_size"),
        ("kv_offloading_size", "none", 8, "no measurement of kv_offloading_size"),
        ("engines_per_gpu", 1, 2, "one measurement of engines_per_gpu is in the model"),
        ("moe_backend", "auto", "marlin", "no measurement of moe_backend"),
        ("a_knob_of_tomorrow", None, 1, "no measurement of a_knob_of_tomorrow"),
        ("attention_backend", "none", "TRITON_ATTN", None),
        ("speculative_config.method", "none", "ngram", "was not given"),
    ],
)
def test_what_is_known_of_a_setting_on_a_measured_card(
    name: str, default: Value | None, value: Value, why: str | None
) -> None:
    found = basis(name, default, value, H200, known_of(H200))
    assert found.evidence is (Evidence.GUESSED if why else Evidence.MEASURED)
    assert (why is None and found.why is None) or (why is not None and found.why is not None and why in found.why)


def test_attention_backends_were_measured_on_hopper_only() -> None:
    found = basis("attention_backend", "none", "TRITON_ATTN", A100, Known.CARD)
    assert found.why == "attention_backend was measured on Hopper cards only"


def test_on_an_unmeasured_card_everything_is_guessed_until_it_is_calibrated_there() -> None:
    found = basis("max_num_seqs", 256, 512, T4, known_of(T4))
    assert (found.evidence, found.why) == (Evidence.GUESSED, "no measurement of Tesla T4 is in the model")
    assert basis("max_num_seqs", 256, 512, T4, known_of(T4, 3)).evidence is Evidence.MEASURED


def test_speculation_is_known_where_its_acceptance_is() -> None:
    name = "speculative_config.num_speculative_tokens"
    assert basis(name, "none", 4, H200, Known.CARD, has_acceptance=True).evidence is Evidence.MEASURED
