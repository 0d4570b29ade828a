import pytest

from tuner.space.gpus import canonical_name, why_not

T4, A100, A10G, L4, H100, B200 = (7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0)


@pytest.mark.parametrize(
    ("parameter", "value", "runs_from"),
    [
        ("dtype", "bfloat16", A100),
        ("dtype", "half", T4),
        ("attention_backend", "FLASH_ATTN", A100),
        ("kv_cache_dtype", "auto", T4),
        ("kv_cache_dtype", "fp8", A100),
        ("kv_cache_dtype", "bfloat16", A100),
        ("quantization", "none", T4),
        ("quantization", "awq", T4),
        ("quantization", "gptq", T4),
        ("quantization", "fp8_per_tensor", T4),
        ("quantization", "fp8_per_block", T4),
        ("quantization", "fp8_per_channel", L4),
        ("quantization", "mxfp4", T4),
        ("quantization", "modelopt", A100),
        ("quantization", "nvfp4_per_token", B200),
        ("max_num_seqs", 4096, T4),
    ],
)
def test_a_value_runs_from_its_least_compute_capability_on(
    parameter: str, value: str, runs_from: tuple[int, int]
) -> None:
    for card in (T4, A100, A10G, L4, H100, B200):
        assert (why_not(card, parameter, value) is None) == (card >= runs_from), card


def test_the_sentence_names_the_value_and_both_capabilities() -> None:
    assert why_not(T4, "dtype", "bfloat16") == ("dtype bfloat16 needs compute capability 8.0, and this card has 7.5")


def test_the_cpu_has_no_quantization_and_no_fp8_kv_cache() -> None:
    assert why_not(None, "quantization", "fp8_per_tensor") == "the CPU engine cannot run quantization fp8_per_tensor"
    assert why_not(None, "kv_cache_dtype", "fp8") == "the CPU engine cannot run kv_cache_dtype fp8"
    assert why_not(None, "quantization", "none") is None
    assert why_not(None, "kv_cache_dtype", "auto") is None
    assert why_not(None, "dtype", "bfloat16") is None


@pytest.mark.parametrize(
    ("printed", "also"),
    [
        ("Tesla T4", "NVIDIA T4"),
        ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
        ("NVIDIA GeForce RTX 4090", "GeForce  RTX 4090"),
    ],
)
def test_old_and_new_drivers_mean_the_same_card(printed: str, also: str) -> None:
    assert canonical_name(printed) == canonical_name(also)


def test_cards_with_a_similar_name_differ() -> None:
    names = [
        "NVIDIA A10",
        "NVIDIA A10G",
        "NVIDIA L4",
        "NVIDIA L40S",
        "NVIDIA GeForce RTX 4090",
        "NVIDIA GeForce RTX 4090 D",
    ]
    assert len({canonical_name(name) for name in names}) == len(names)
