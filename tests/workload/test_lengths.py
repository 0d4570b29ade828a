import math
import random
from collections import Counter
from statistics import fmean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.types import Histogram, Lengths, Lognormal, TokenCounts
from tuner.workload.lengths import draw, mean

UNIFORM = Lengths(low=10, high=30)
LOGNORMAL = Lognormal(median=200.0, sigma=0.8, low=1, high=100_000)
CUT = Lognormal(median=200.0, sigma=1.5, low=100, high=250)
BUCKETS = Histogram(buckets=((1, 10, 3.0), (11, 50, 1.0), (1000, 1000, 0.5)))


def _drawn(counts: TokenCounts, number: int = 20_000) -> list[int]:
    rng = random.Random(7)
    return [draw(counts, rng) for _ in range(number)]


@pytest.mark.parametrize("counts", [UNIFORM, LOGNORMAL, CUT, BUCKETS, Lengths(low=5, high=5)], ids=str)
def test_the_mean_is_that_of_what_is_drawn(counts: TokenCounts) -> None:
    drawn = _drawn(counts)
    assert mean(counts) == pytest.approx(fmean(drawn), rel=0.03)
    assert counts.low <= min(drawn)
    assert max(drawn) <= counts.high


def test_a_uniform_range_has_both_ends() -> None:
    assert set(_drawn(UNIFORM)) == set(range(10, 31))
    assert mean(UNIFORM) == 20.0


def test_a_lognormal_has_its_median_and_its_mean() -> None:
    logs = [math.log(tokens) for tokens in _drawn(LOGNORMAL)]
    assert median(logs) == pytest.approx(math.log(200), abs=0.02)
    assert math.sqrt(fmean((x - math.log(200)) ** 2 for x in logs)) == pytest.approx(0.8, rel=0.02)
    assert mean(LOGNORMAL) == pytest.approx(200 * math.exp(0.8**2 / 2), rel=0.002)


def test_a_cut_lognormal_is_one_that_is_drawn_again() -> None:
    rng = random.Random(3)
    again = [n for n in (round(rng.lognormvariate(math.log(200), 1.5)) for _ in range(100_000)) if 100 <= n <= 250]
    drawn = _drawn(CUT)
    for share in (0.1, 0.5, 0.9):
        quantiles = [sorted(sample)[int(share * len(sample))] for sample in (drawn, again)]
        assert quantiles[0] == pytest.approx(quantiles[1], rel=0.03)
    # what is rounded to an end is not heaped there
    assert Counter(drawn)[100] < 2 * Counter(drawn)[101]


def test_buckets_are_taken_by_their_weight() -> None:
    drawn = Counter(_drawn(BUCKETS))
    assert drawn[1000] / 20_000 == pytest.approx(0.5 / 4.5, rel=0.1)
    assert sum(drawn[n] for n in range(1, 11)) / 20_000 == pytest.approx(3 / 4.5, rel=0.05)
    assert drawn[1] / drawn[10] == pytest.approx(1, rel=0.15)  # uniform inside


@given(
    st.integers(1, 10**6),
    st.integers(0, 10**6),
    st.floats(1e-3, 1e9),
    st.floats(1e-6, 1e3),
    st.integers(0, 2**32),
)
def test_any_lognormal_is_drawn_at_once_and_within_its_ends(
    low: int, more: int, mid: float, sigma: float, seed: int
) -> None:
    """Also one that lies nowhere near its ends, where drawing again would not end."""
    counts = Lognormal(median=mid, sigma=sigma, low=low, high=low + more)
    assert low <= draw(counts, random.Random(seed)) <= low + more
