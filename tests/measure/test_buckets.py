import pytest
from hypothesis import given
from hypothesis import strategies as st
from metrics_page import at_most

from tuner.measure.buckets import Observed, fitted, nearly_all_above
from tuner.workload.lengths import mean


def observed(values: list[int]) -> Observed:
    return Observed(at_most=at_most(values), sum=float(sum(values)))


@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=60))
def test_the_mean_is_kept_whatever_the_lengths(values: list[int]) -> None:
    histogram = fitted(observed(values))
    assert mean(histogram) == pytest.approx(sum(values) / len(values), rel=0.005)
    assert histogram.low >= 1
    assert all(low <= high and weight > 0 for low, high, weight in histogram.buckets)


@given(st.lists(st.integers(1, 8000), min_size=1, max_size=60))
def test_each_bucket_keeps_its_requests(values: list[int]) -> None:
    counts = at_most(values)
    histogram = fitted(observed(values))
    for bound in (10, 100, 1000, 5000):
        assert sum(weight for _, high, weight in histogram.buckets if high <= bound) == pytest.approx(
            counts[bound], abs=0.02
        )


@pytest.mark.parametrize("length", [1, 3, 7, 33, 128, 512, 700, 4096, 7000, 100_000])
def test_one_length_stays_near_itself(length: int) -> None:
    histogram = fitted(observed([length] * 50))
    assert mean(histogram) == pytest.approx(length, rel=0.005)


def test_the_last_bucket_is_bounded_by_the_sum() -> None:
    values = [100] * 10 + [6000, 7000, 8000]
    assert 7000 <= fitted(observed(values)).high <= 10_000


def test_the_difference_of_two_readings() -> None:
    before, after = observed([5, 300]), observed([5, 300, 40, 41])
    between = after.since(before)
    assert between.count == 2
    assert between.mean == 40.5
    assert fitted(between).low > 20


def test_short_ones_are_left_out() -> None:
    values = [3] * 2 + [700] * 20 + [1500] * 20
    assert nearly_all_above(observed(values), 0.1) == 501
    assert nearly_all_above(observed(values), 0.01) == 3
    histogram = fitted(observed(values), at_least=501)
    assert histogram.low >= 501
    assert mean(histogram) == pytest.approx(sum(values) / len(values), rel=0.02)


def test_answers_of_no_token_count_as_one() -> None:
    histogram = fitted(observed([0, 0, 0]))
    assert (histogram.low, histogram.high) == (1, 1)
