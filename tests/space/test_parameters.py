"""What value of a parameter another one stands for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.diagnose.table import begins_so
from tuner.space.parameters import Categorical, Int, meant
from tuner.types import Value


def choices(*values: Value) -> Categorical:
    return Categorical(type="categorical", choices=values)


@pytest.mark.parametrize(
    ("parameter", "wanted", "nearest"),
    [
        (choices(8, 32, 64), 128, 64),
        (choices(64, 32, 8), 128, 64),
        (choices(8, 32, 64), 1, 8),
        (choices(8, 32, 64), 32, 32),
        (choices(16, "none", 64), 128, "none"),
        (choices(16, "none", 64), "auto", "none"),
        (choices("auto", 16, 64), 128, 64),
        (choices("auto", "fp8"), 7, "auto"),
        (choices(True, 1, 4), 3, 4),
        (choices(4, 1), True, 4),
        (choices(0.85, 0.9), 0.92, 0.9),
        (choices(True, False), False, False),
        (Int(type="int", low=16, high=64), 128, 64),
    ],
)
def test_what_stands_for_a_value_that_cannot_be_chosen(parameter: Categorical, wanted: Value, nearest: Value) -> None:
    found = parameter.nearest(wanted)
    assert (found, type(found)) == (nearest, type(nearest))


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=8, unique=True), st.integers(0, 10**6))
def test_no_other_choice_is_nearer(values: list[int], wanted: int) -> None:
    found = choices(*values).nearest(wanted)
    assert isinstance(found, int)
    assert abs(found - wanted) == min(abs(value - wanted) for value in values)


@pytest.mark.parametrize(
    ("values", "wanted", "current", "found"),
    [
        ((16, 2, 1), 1, 2, 1),  # not 16, whose text begins so
        ((16, 2), 1, 16, 2),
        ((1, 2), 4, 1, 2),
        ((1, 8), 4, 1, 8),
        ((1, 2), 4, 2, None),
        ((16, 32), 256, 64, None),  # all are below what it has
        ((16, 32), 256, None, 32),
        ((16, 32), 256, "auto", 32),
        (("none", "mp"), 4, 1, None),
        (("none", 16), 64, "none", 16),
        (("none", "awq"), "fp8", "none", None),
        (("none", "fp8_per_tensor"), "fp8", "none", None),
        (("none", "mp"), "mp", "none", "mp"),
        (("none", "mp"), "mp", "mp", None),
        (("FULL_AND_PIECEWISE", "PIECEWISE"), "FULL", "PIECEWISE", None),
        ((True, False), True, False, True),
        ((False,), True, False, None),
        ((1, 2), True, 2, None),
    ],
)
def test_what_a_remedy_means_in_a_space_of_its_own_values(
    values: tuple[Value, ...], wanted: Value, current: Value | None, found: Value | None
) -> None:
    assert meant(choices(*values), wanted, current) == found


def test_a_word_that_stands_for_all_that_begin_so_is_the_first_of_these() -> None:
    parameter = choices("none", "fp8_per_tensor", "fp8_per_channel")
    assert meant(parameter, "fp8", "none", begins=True) == "fp8_per_tensor"
    assert meant(parameter, "awq", "none", begins=True) is None
    assert begins_so("quantization", "fp8")
    assert not begins_so("compilation_config.cudagraph_mode", "FULL")


@pytest.mark.parametrize(
    ("wanted", "current", "found"), [(256, 32, 64), (256, 64, None), (4, 64, 16), (256, 100, None)]
)
def test_of_a_range_the_end_is_meant_if_it_lies_there(wanted: int, current: int, found: int | None) -> None:
    assert meant(Int(type="int", low=16, high=64), wanted, current) == found
