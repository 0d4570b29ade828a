import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng
from scipy.stats import ttest_ind  # type: ignore[import-untyped]

from tuner.decide.gain import Gain, enough, gain, launches_to_see
from tuner.decide.objective import OBJECTIVES

THROUGHPUT, TTFT, GOODPUT = (OBJECTIVES[name] for name in ("throughput", "ttft_p99", "goodput"))


def of(defaults: list[float], winner: list[float], objective: str = "throughput") -> Gain:
    return gain(OBJECTIVES[objective], defaults, winner, 0.05)


def test_better_needs_a_gain_that_is_no_chance() -> None:
    assert of([100, 102, 101], [130, 128]).is_better(0.05)
    assert of([0.5, 0.52, 0.51], [0.2, 0.21, 0.2], "ttft_p99").is_better(0.05)
    assert not of([100, 102, 131], [130, 128]).is_better(0.05)  # the defaults were once as fast
    assert not of([100, 120], [131]).is_better(0.05)  # one launch tells nothing of the noise
    assert not of([100], [130]).is_better(0.05)
    assert not of([100.0, 100.01, 100.02], [100.5, 100.51]).is_better(0.05)  # real, and not worth it
    assert not of([100, 102, 101], [70, 71]).is_better(0.05)
    assert of([100, 102, 101], [70, 71, 70]).is_worse(0.05)


def test_the_test_agrees_with_scipys_of_unequal_variances() -> None:
    a, b = [10.0, 12.0, 14.0, 13.0], [15.0, 17.0, 15.5]
    assert of(a, b).p_better == pytest.approx(ttest_ind(b, a, equal_var=False, alternative="greater").pvalue)


def test_goodput_may_be_zero() -> None:
    assert of([0.0, 0.0], [5.0, 5.1], "goodput").is_better(0.05)
    assert of([0.0, 0.0], [5.0, 5.1], "goodput").noise is None
    assert not of([0.0, 0.0], [0.0, 0.0], "goodput").is_better(0.05)
    assert not of([5.0, 5.1], [0.0, 0.0], "goodput").is_better(0.05)


@given(st.lists(st.floats(1, 1e4), min_size=2, max_size=5))
def test_equal_settings_are_never_called_better(values: list[float]) -> None:
    assert not of(values, values).is_better(0.05)


def test_a_noisier_pair_would_have_seen_less() -> None:
    quiet, loud = of([100, 101, 99], [100, 101, 99]), of([100, 120, 80], [100, 120, 80])
    assert quiet.least_seen is not None
    assert loud.least_seen is not None
    assert loud.least_seen == pytest.approx(20 * quiet.least_seen)


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.08])
def test_so_many_launches_find_the_gain_that_was_asked_for(noise: float) -> None:
    launches = launches_to_see(0.1, noise, lambda _: 0.01)
    assert launches is not None
    random = default_rng(7)
    found = 0
    for _ in range(1000):
        base, better = random.normal(100, 100 * noise, launches), random.normal(110, 100 * noise, launches)
        found += gain(THROUGHPUT, base.tolist(), better.tolist(), 0.01).is_better(0.01)
    assert 0.75 < found / 1000 <= 0.99


def test_where_a_hundred_launches_are_too_few_no_number_is_told() -> None:
    assert launches_to_see(0.1, 0.5, lambda _: 0.01) is None


@pytest.mark.parametrize(
    ("noise", "least_seen", "wanted"), [(0.03, 2.2, 0.1), (0.08, 4.4, 0.2), (0.3, 4.1, None), (0.03, 0.09, None)]
)
def test_the_smallest_gain_that_launches_can_show_is_the_one_to_ask_for(
    noise: float, least_seen: float, wanted: float | None
) -> None:
    found = enough(Gain(gain=0.05, noise=noise, least_seen=least_seen), 2, lambda launches: 0.02 / 2 ** (launches - 2))
    assert (found.gain if found else None) == wanted
    assert found is None or 3 <= found.launches <= 12
