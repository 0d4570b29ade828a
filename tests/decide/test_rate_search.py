import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.decide.rate_search import RESOLUTION, RateSearch


def search(first: float, capacity: float) -> tuple[RateSearch, list[float]]:
    """A server that meets its SLOs up to `capacity` requests a second."""
    found, asked = RateSearch(first), list[float]()
    while (rate := found.next()) is not None:
        asked.append(rate)
        found.tell(rate, met=rate <= capacity)
    return found, asked


@given(st.floats(0.1, 100), st.floats(-5, 5))
def test_the_capacity_is_found_to_the_resolution_in_few_steps(first: float, doublings: float) -> None:
    capacity = first * 2**doublings
    found, asked = search(first, capacity)
    assert found.highest_met is not None
    assert found.highest_met <= capacity < found.highest_met * (1 + RESOLUTION) * (1 + 1e-9)
    assert len(asked) <= 2 + abs(doublings) + math.ceil(math.log2(1 / math.log2(1 + RESOLUTION)))
    assert len(set(asked)) == len(asked)


def test_a_server_that_never_meets_them_and_one_without_a_limit_both_end() -> None:
    never, asked = search(8.0, 0.0)
    assert never.highest_met is None
    assert min(asked) == 8.0 / 64
    always, asked = search(8.0, math.inf)
    assert always.highest_met == max(asked) == 8.0 * 1024


def test_a_rate_that_is_missed_below_one_that_was_met_asks_lower_ones_again() -> None:
    found = RateSearch(8.0)
    found.tell(8.0, met=True)
    found.tell(16.0, met=False)
    found.tell(7.0, met=False)
    assert found.highest_met is None
    assert found.next() == pytest.approx(3.5)
