"""Words of vLLM's command line in; arguments by name out."""

import pytest

from tuner.space.vllm_flags import Given, given, parts, value_of
from tuner.space.words import is_secret_argument


def test_words_belong_to_the_flag_before_them() -> None:
    assert list(given(["m", "-tp=2", "--a_b.c-d", "1", "2", "--wrong!"])) == [
        Given(flag="", name="model", values=("m",)),
        Given(flag="-tp", name="tensor_parallel_size", values=("2",)),
        Given(flag="--a_b.c-d", name="a_b.c-d", values=("1", "2")),
        Given(flag="--wrong!", name=None, values=()),
    ]
    assert list(given([])) == []


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("max_model_len", "8k", 8000),
        ("max_model_len", "8K", 8192),
        ("max_model_len", "25.6k", 25600),
        ("max_model_len", "1.5K", "1.5K"),  # vLLM takes no fraction of a binary unit
        ("max_num_batched_tokens", "2m", 2_000_000),
        ("speculative_config.x", "1G", 2**30),
        ("dtype", "8k", "8k"),
        ("max_num_seqs", "-1", -1),
        ("gpu_memory_utilization", "0.5", 0.5),
    ],
)
def test_sizes_have_the_units_that_vllm_reads(name: str, word: str, value: object) -> None:
    assert value_of(name, [word]) == (name, value)


def test_a_flag_without_a_value_is_a_switch() -> None:
    assert value_of("enforce_eager", []) == ("enforce_eager", True)
    assert value_of("no_enforce_eager", []) == ("enforce_eager", False)


def test_a_nested_config_is_its_parts() -> None:
    assert list(parts("a", {"b": {"c": 1}, "d": [1, 2], "e": None})) == [("a.b.c", 1), ("a.d", "[1, 2]"), ("a.e", None)]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("api_key", True),
        ("hf_token", True),
        ("ssl_keyfile_password", True),
        ("kv_transfer_config.kv_connector_extra_config.auth", True),
        ("kv_transfer_config.credentials.user", True),
        ("a.accessKey", True),
        ("a.apikey", True),
        ("max_num_batched_tokens", False),
        ("speculative_config.num_speculative_tokens", False),
        ("override_generation_config.eos_token", False),
        ("hf_overrides.num_experts_per_token", False),
        ("ssl_keyfile", False),
        ("allow_credentials", False),
        ("tokenizer", False),
        ("trust_remote_code", False),
    ],
)
def test_secrets_are_known_by_how_their_names_end(name: str, is_one: bool) -> None:
    assert is_secret_argument(name) is is_one
