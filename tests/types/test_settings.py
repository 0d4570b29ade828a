import json

import pytest

from tuner.types import Params, Value
from tuner.types.settings import as_list, flag, list_text, nested, option


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("max_num_seqs", 64, ("--max-num-seqs", "64")),
        ("enable_prefix_caching", True, ("--enable-prefix-caching",)),
        ("enable_prefix_caching", False, ("--no-enable-prefix-caching",)),
        ("cudagraph_capture_sizes", "[1, 2, 4]", ("--cudagraph-capture-sizes", "1", "2", "4")),
        ("allowed_origins", '["*"]', ("--allowed-origins", '["*"]')),
        ("chat_template", "[INST] {{ x }}", ("--chat-template", "[INST] {{ x }}")),
        ("compilation_config.cudagraph_mode", "FULL", ("--compilation-config.cudagraph_mode", "FULL")),
        ("compilation_config.use_inductor", False, ("--compilation-config.use_inductor", "false")),
        ("compilation_config.pass_config.fuse_x", True, ("--compilation-config.pass_config.fuse_x", "true")),
        ("compilation_config.compile_sizes", "[1, 2]", ("--compilation-config.compile_sizes", "[1, 2]")),
        ("speculative_config.num_speculative_tokens", 3, ("--speculative-config.num_speculative_tokens", "3")),
        ("speculative_config.model", "some/model_a", ("--speculative-config.model", "some/model_a")),
    ],
)
def test_the_words_of_an_argument(name: str, value: Value, words: tuple[str, ...]) -> None:
    assert flag(name, value) == words


@pytest.mark.parametrize(
    "text",
    ["1k", "0123", "12", "1e3", "true", "null", "NaN", "Infinity", "-1", "--x_y", "", " a", "1_000", '"a"', "{}"],
)
def test_a_text_that_vllm_would_read_as_something_else_is_quoted(text: str) -> None:
    (_, word) = flag("hf_overrides.a", text)
    assert json.loads(word) == text


def test_dotted_names_are_the_mappings_that_they_stand_for() -> None:
    params: Params = {"a.b": 1, "a.c.d": "[1, 2]", "e": False, "a.f": True}
    assert nested(params) == {"a": {"b": 1, "c": {"d": [1, 2]}, "f": True}, "e": False}
    assert option("a_b.c_d") == "--a-b.c_d"


def test_a_list_is_a_text_and_back() -> None:
    assert as_list("x", list_text([1, "a", True])) == [1, "a", True]
    assert [as_list("x", other) for other in ("[1", "1 2", 1, '{"a": 1}')] == [None] * 4
