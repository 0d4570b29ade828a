"""Each parameter of the spaces that come with tuner stands on one list, with a reason; what is on none counts as able."""

from tuner.space.answers import KEEPS, LOSSY, ROUNDING, can_change, changes_answers, is_lossy, reason
from tuner.space.files import load_space, shipped_spaces
from tuner.types import Params


def test_every_shipped_parameter_is_on_one_list() -> None:
    lists = (KEEPS, LOSSY, ROUNDING)
    for name in {name for card in shipped_spaces() for name in load_space(card).parameters}:
        assert sum(name.partition(".")[0] in known for known in lists) == 1, name
        assert reason(name)
    assert not set(KEEPS) & {*LOSSY, *ROUNDING}
    assert not set(LOSSY) & set(ROUNDING)


def test_what_is_unknown_counts_as_able() -> None:
    assert can_change("an_argument_of_next_year")
    assert not is_lossy("an_argument_of_next_year")
    assert reason("an_argument_of_next_year") == "tuner does not know this argument"


def test_a_part_is_as_its_whole() -> None:
    assert can_change("compilation_config.cudagraph_mode")
    assert can_change("speculative_config.method")
    assert not can_change("max_num_seqs")


def test_only_settings_that_differ_count() -> None:
    usual: Params = {"kv_cache_dtype": "auto", "max_num_seqs": 256, "enforce_eager": False}
    assert changes_answers({"kv_cache_dtype": "auto", "max_num_seqs": 8, "enforce_eager": False}, usual) == ()
    assert changes_answers({"quantization": "none", "attention_backend": "none"}, usual) == ()
    assert changes_answers({"quantization": "fp8", "max_num_seqs": 8}, usual) == ("quantization",)
