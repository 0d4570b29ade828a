"""Near the border of the memory a setting is "maybe", never "no"."""

from dataclasses import replace

from predict.test_memory import LLAMA_8B, settled
from tuner.predict.margin import Verdict
from tuner.predict.memory import Memory, MemoryCalibration, predict_memory
from tuner.space.files import load_space
from tuner.space.search_space import Gpu

A10G, H100 = load_space("a10g").gpu, load_space("h100-80gb").gpu
_LONG = 131_072
SHAPE = replace(LLAMA_8B, max_positions=_LONG)


def memory(length: int, card: Gpu = A10G, calibration: MemoryCalibration | None = None) -> Memory:
    settings = settled({"max_model_len": length}, SHAPE, card)
    return predict_memory(SHAPE, card, settings, calibration or MemoryCalibration())


def test_the_longest_length_that_fits_is_maybe_and_so_is_a_little_more() -> None:
    fits = memory(_LONG).largest_length
    assert memory(fits // 2).verdict is Verdict.STARTS
    assert memory(fits).verdict is Verdict.MAYBE
    more = memory(fits + 64)
    assert more.failed is not None
    assert more.verdict is Verdict.MAYBE
    assert more.kv_cache_tokens >= fits + 64  # the least with which it starts
    assert memory(_LONG).verdict is Verdict.FAILS


def test_the_margin_is_smaller_where_more_is_known() -> None:
    seen = MemoryCalibration(other_bytes=1)
    assert memory(8192, H100, seen).margin_bytes < memory(8192, H100).margin_bytes < memory(8192, A10G).margin_bytes


def test_a_guess_has_a_wide_margin() -> None:
    guess = replace(LLAMA_8B, assumed=("tuner does not know Thing: its layers are counted like Llama's",))
    own = settled({}, LLAMA_8B, A10G)
    assert predict_memory(guess, A10G, own).margin_bytes > 2 * predict_memory(LLAMA_8B, A10G, own).margin_bytes
