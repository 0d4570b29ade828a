import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.decide.rate_search import RESOLUTION, Answer, Bisection, RateSearch


def search(first: float, capacity: float) -> tuple[Bisection, list[float]]:
    """A server that meets its SLOs up to `capacity` requests a second."""
    found, asked = Bisection(first), list[float]()
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
    found = Bisection(8.0)
    found.tell(8.0, met=True)
    found.tell(16.0, met=False)
    found.tell(7.0, met=False)
    assert found.highest_met is None
    assert found.next() == pytest.approx(3.5)


#: The seconds that one window and all of them may last.
TIMES = {"window_s": 1e3, "most_s": 1e4}


def noisy(seed: int, true: float, first: float, error: float, slope: float = 2.0) -> RateSearch:
    """A server whose latency rises by the power `slope` of the rate, and faster the higher it is; `error` is the standard error
    of a margin over 100 requests."""
    rng = random.Random(seed)

    def margin(rate: float, requests: int) -> float:
        distance = math.log(rate / true)
        return slope * distance * (1 + 0.5 * max(-1.0, min(1.0, distance))) + rng.gauss(
            0, error * (100 / requests) ** 0.5
        )

    return answered(RateSearch(first, 100, **TIMES), margin)


def answered(found: RateSearch, margin: Callable[[float, int], float | None]) -> RateSearch:
    for _ in range(80):
        probe = found.next()
        if probe is None:
            return found
        found.tell(Answer(rate=probe.rate, requests=probe.requests, margin=margin(probe.rate, probe.requests)))
    raise AssertionError("the search does not end")


def test_chance_in_the_windows_leaves_the_rate_known_to_the_resolution_and_seldom_too_high() -> None:
    """95 % and 90 % are promised; of 60 searches so many at least, with a probability of 99 %."""
    searches = [noisy(seed, 5.0 * 1.01**seed, 5.0, error=0.15) for seed in range(60)]
    told = [found.told / (5.0 * 1.01**seed) for seed, found in enumerate(searches) if found.told]
    assert len(told) == 60
    assert sum(ratio <= 1 for ratio in told) >= 53
    assert sum(abs(ratio - 1) <= RESOLUTION for ratio in told) >= 48
    inside = [
        (found.interval[0] or 0) <= 5.0 * 1.01**seed <= (found.interval[1] or 0) for seed, found in enumerate(searches)
    ]
    assert sum(inside) >= 48


def test_a_first_window_that_said_the_opposite_is_found_out() -> None:
    wrong = [4.0]  # the first answer at it

    def margin(rate: float, requests: int) -> float:
        if rate in wrong:
            wrong.remove(rate)
            return 1.5
        return 2 * math.log(rate / 20.0)

    found = answered(RateSearch(4.0, 100, **TIMES), margin)
    assert found.told == pytest.approx(20.0, rel=RESOLUTION)


def test_without_any_chance_few_windows_are_enough() -> None:
    asked: list[float] = []

    def margin(rate: float, requests: int) -> float:
        asked.append(rate)
        return 3 * math.log(rate / 5.5)

    found = answered(RateSearch(4.0, 100, **TIMES), margin)
    assert found.told is not None
    assert 5.5 * (1 - RESOLUTION) <= found.told <= 5.5
    assert len(asked) <= 10


def test_a_wall_instead_of_a_slope_is_found_from_its_lower_side() -> None:
    """What cannot be measured at all above a rate, and below it is far from its limit: nothing to draw a line through."""
    found = answered(RateSearch(4.0, 100, **TIMES), lambda rate, requests: -2.0 if rate <= 5.5 else None)
    assert found.told is not None
    assert found.told <= 5.5
    assert found.told == pytest.approx(5.5, rel=1.5 * RESOLUTION)


def test_a_search_that_is_out_of_time_says_a_wider_interval() -> None:
    rng = random.Random(1)
    search = RateSearch(4.0, 100, window_s=30.0, most_s=300.0)
    found = answered(search, lambda rate, requests: math.log(rate / 5.0) + rng.gauss(0, 3 / requests**0.5))
    low, high = found.interval
    assert low is not None
    assert high is not None
    assert low < 5.0 < high
    assert high > low * (1 + 2 * RESOLUTION)


def test_the_ends_that_were_not_found_are_not_known() -> None:
    never = answered(RateSearch(8.0, 100, **TIMES), lambda rate, requests: 1.0)
    assert never.told is None
    assert never.interval == (None, 8.0 / 64)
    always = answered(RateSearch(8.0, 100, **TIMES), lambda rate, requests: -1.0)
    assert always.told == 8.0 * 1024
    assert always.interval == (8.0 * 1024, None)
