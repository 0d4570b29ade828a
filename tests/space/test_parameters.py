"""What value of a parameter another one stands for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.space.parameters import Categorical, Int, near
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
        (choices("none", 16, 64), 128, 64),
        (choices("none", 16, 64), "auto", "none"),
        (choices("auto", "fp8"), 7, "auto"),
        (choices(True, 1, 4), 3, 4),
        (choices(4, 1), True, 4),
        (choices(0.85, 0.9), 0.92, 0.9),
        (choices(True, False), False, False),
        (Int(type="int", low=16, high=64), 128, 64),
    ],
)
def test_of_numbers_the_nearest_stands_for_one_that_cannot_be_chosen(
    parameter: Categorical, wanted: Value, nearest: Value
) -> None:
    found = parameter.nearest(wanted)
    assert (found, type(found)) == (nearest, type(nearest))


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=8, unique=True), st.integers(0, 10**6))
def test_no_other_choice_is_nearer(values: list[int], wanted: int) -> None:
    found = choices(*values).nearest(wanted)
    assert isinstance(found, int)
    assert abs(found - wanted) == min(abs(value - wanted) for value in values)


@pytest.mark.parametrize(
    ("values", "meant", "found"),
    [
        ((16, 2, 1), 1, 1),  # not 16, whose text begins so
        ((16, 2), 1, 2),
        ((1, 2), 4, 2),
        (("none", "mp"), 4, None),
        (("none", 16), 64, 16),
        (("none", "fp8_per_tensor", "fp8_per_channel"), "fp8", "fp8_per_tensor"),
        (("none", "awq"), "fp8", None),
        ((True, False), True, True),
        ((False,), True, None),
    ],
)
def test_what_a_remedy_means_in_a_space_of_its_own_values(
    values: tuple[Value, ...], meant: Value, found: Value | None
) -> None:
    assert near(choices(*values), meant) == found
