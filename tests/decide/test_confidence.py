"""The statistics against simulations whose truth is known. Seeds are fixed, so the shares below are exact repeats."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from tuner.decide.confidence import (
    Difference,
    Paired,
    compare_paired,
    half_width,
    quantile_interval,
    share_above,
    share_interval,
    truncation,
)

Floats = NDArray[np.float64]
RUNS = 1000


def _autoregressive(phi: float, count: int, runs: int = RUNS) -> Floats:
    """Series with mean 0 whose neighbours are correlated by `phi`, one a row, started in their stationary state."""
    noise = default_rng(7).normal(size=(runs, count))
    series = np.empty_like(noise)
    series[:, 0] = noise[:, 0] / np.sqrt(1 - phi**2)
    for n in range(1, count):
        series[:, n] = phi * series[:, n - 1] + noise[:, n]
    return series


def _coverage(series: Floats) -> float:
    """In which share of the series the interval around their mean has the true mean, 0."""
    return float(np.mean([abs(values.mean()) <= (half_width(values) or 0.0) for values in series]))


@pytest.mark.parametrize(
    ("phi", "bins", "least"),
    [(0.0, 20, 0.92), (0.0, 120, 0.92), (0.5, 120, 0.91), (0.8, 120, 0.90), (0.9, 120, 0.88), (0.9, 400, 0.92)],
)
def test_intervals_hold_the_true_mean_though_neighbours_are_alike(phi: float, bins: int, least: float) -> None:
    """95 % is what is claimed. An interval that takes the bins as independent holds it in half at 0.8."""
    assert _coverage(_autoregressive(phi, bins)) >= least


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.5, 0.7, 0.8])
@pytest.mark.parametrize("bins", [48, 192])
def test_intervals_of_a_window_hold_the_truth_as_often_as_is_claimed(phi: float, bins: int) -> None:
    """12 s and 48 s of ticks."""
    assert _coverage(_autoregressive(phi, bins)) >= 0.93


def test_intervals_are_not_so_wide_that_they_say_nothing() -> None:
    """At most 1.5 times the half width that knowledge of the true variance would give."""
    for phi in (0.0, 0.5, 0.8):
        series = _autoregressive(phi, 120)
        ideal = 1.96 * series.mean(axis=1).std()
        assert np.mean([half_width(values) or 0.0 for values in series]) < 1.5 * ideal


def test_negative_correlation_does_not_narrow_the_interval_below_the_truth() -> None:
    """Bins that share a fixed number of tokens: what comes late in one bin is early in the next."""
    assert _coverage(_autoregressive(-0.5, 120)) >= 0.93
    noise = default_rng(3).normal(size=(RUNS, 121))
    assert _coverage(noise[:, 1:] - 0.9 * noise[:, :-1]) >= 0.95


def test_what_is_quick_and_made_up_for_does_not_widen_the_interval() -> None:
    """Tokens that come late in one bin come in the next: the mean hardly varies, whatever the bins do."""
    noise = default_rng(3).normal(size=(RUNS, 121))
    series = 100 + 10 * np.diff(noise) + 0.1 * default_rng(4).normal(size=(RUNS, 120))
    ideal = 1.96 * series.mean(axis=1).std()
    assert (
        np.mean([half_width(values) or 0.0 for values in series]) < 3 * ideal
    )  # their own spread would give 12 times it


def test_a_control_takes_what_it_explains_out_of_the_interval_and_says_how_far_off_its_mean_is() -> None:
    random, covered, narrower = default_rng(8), 0, 0
    for _ in range(RUNS):
        mix, noise = random.normal(size=60), random.normal(size=60)
        values = 100 - 5 * mix + noise
        half, plain = half_width(values, mix), half_width(values)
        assert half is not None
        assert plain is not None
        covered += abs(values.mean() - 100) <= half
        narrower += half < plain
    assert covered >= 0.95 * RUNS
    assert narrower >= 0.8 * RUNS


def test_a_control_that_explains_nothing_does_no_harm() -> None:
    random = default_rng(9)
    found = [(values, half_width(values, random.normal(size=48))) for values in _autoregressive(0.5, 48)]
    assert np.mean([abs(values.mean()) <= (half or 0) for values, half in found]) >= 0.93
    assert half_width([1.0, 2.0, 1.5, 1.2, 1.9] * 2, [0.0] * 10) == half_width([1.0, 2.0, 1.5, 1.2, 1.9] * 2)


def test_an_interval_needs_ten_bins() -> None:
    assert half_width([1.0, 2.0] * 4 + [1.0]) is None
    assert half_width([]) is None
    assert half_width([5.0] * 10) == 0.0
    assert half_width((1.0, 2.0, 1.5, 1.2, 1.9) * 2) is not None


@given(st.lists(st.just(0.0) | st.floats(1e-6, 1e6), min_size=10, max_size=60), st.floats(1e-3, 1e3))
def test_an_interval_has_the_unit_of_the_values(values: list[float], factor: float) -> None:
    plain, scaled = half_width(values), half_width([factor * value for value in values])
    assert plain is not None
    assert scaled == pytest.approx(factor * plain, rel=1e-6, abs=1e-6 * factor * max(values))


def _waits(load: float, count: int, random: Generator) -> Floats:
    """How long requests wait for a server that takes 1 s each (M/D/1), once it is stationary."""
    walk = np.concatenate([[0.0], np.cumsum(1 - random.exponential(1 / load, 2000 + count))])
    return np.asarray((walk - np.minimum.accumulate(walk))[-count:])


@pytest.mark.parametrize(("share", "count"), [(0.5, 50), (0.95, 200), (0.95, 1000), (0.99, 1000)])
def test_quantile_intervals_hold_the_quantile(share: float, count: int) -> None:
    random = default_rng(1)
    true = float(np.quantile(random.lognormal(size=1_000_000), share))
    found = [quantile_interval(random.lognormal(size=count), share) for _ in range(400)]
    given = [interval for interval in found if interval is not None]
    assert len(given) >= 0.8 * len(found)
    assert np.mean([low <= true <= high for low, high in given]) >= 0.95


@pytest.mark.parametrize(("load", "count", "share"), [(0.5, 1000, 0.95), (0.5, 4000, 0.99), (0.7, 4000, 0.95)])
def test_requests_that_queue_count_as_fewer(load: float, count: int, share: float) -> None:
    """As independent ones their intervals would hold it in half."""
    random = default_rng(2)
    true = float(np.quantile(np.concatenate([_waits(load, 200_000, random) for _ in range(10)]), share))
    found = [quantile_interval(_waits(load, count, random), share) for _ in range(150)]
    given = [interval for interval in found if interval is not None]
    assert len(given) >= 0.8 * len(found)
    assert np.mean([low <= true <= high for low, high in given]) >= 0.9


def test_a_quantile_needs_values_beyond_it() -> None:
    values = default_rng(0).random(2000)
    assert quantile_interval(values[:300], 0.99) is None
    assert quantile_interval(values[:19], 0.5) is None
    assert quantile_interval([], 0.5) is None
    assert quantile_interval([3.0] * 400, 0.99) == (3.0, 3.0)
    low, high = quantile_interval(values, 0.9) or (0.0, 0.0)
    assert 0.85 < low < 0.9 < high < 0.95


def test_a_share_above_a_limit_is_known_long_before_the_quantile() -> None:
    values = default_rng(0).exponential(size=250)  # too few for an interval of the 99th percentile, which is 4.6
    assert (share_above(values, 15.0) or (0, 1))[1] < 0.01
    assert (share_above(values, 2.0) or (0, 1))[0] > 0.01
    low, high = share_above(values, 4.6) or (0, 0)
    assert low < 0.01 < high
    assert share_above(values[:19], 1.0) is None


def test_a_share_above_a_limit_is_seldom_wrong_in_a_queue() -> None:
    random = default_rng(3)
    true = float(np.quantile(np.concatenate([1 + _waits(0.7, 200_000, random) for _ in range(10)]), 0.99))
    met = missed = 0
    for _ in range(200):
        waits = 1 + _waits(0.7, 500, random)
        met += (share_above(waits, 0.9 * true) or (0, 1))[1] <= 0.01
        missed += (share_above(waits, 1.1 * true) or (0, 1))[0] > 0.01
    assert met <= 10
    assert missed <= 10


def test_a_share_of_none_is_not_known_to_be_none() -> None:
    low, high = share_interval(np.zeros(100, dtype=bool)) or (1, 1)
    assert low == 0
    assert 0.03 < high < 0.05
    assert share_interval(np.zeros(19, dtype=bool)) is None


def _stationary(values: Floats) -> bool:
    return 2 * truncation(values) <= len(values)


def _share_stationary(series: Callable[[Generator], Floats], runs: int = 300) -> float:
    random = default_rng(11)
    return float(np.mean([_stationary(series(random)) for _ in range(runs)]))


def test_a_ramp_is_cut_where_it_ends() -> None:
    ramp = np.minimum(np.arange(80) / 20, 1.0) * 100
    assert truncation(ramp) == 20
    for seed in range(50):
        assert 16 <= truncation(ramp + 2 * default_rng(seed).normal(size=80)) <= 40


def test_pure_noise_is_stationary_from_its_start() -> None:
    assert _share_stationary(lambda random: 100 + random.normal(size=80)) >= 0.99
    assert _share_stationary(lambda random: 100 + random.normal(size=40)) >= 0.94
    assert np.median([truncation(default_rng(seed).normal(size=80)) for seed in range(100)]) <= 8
    assert truncation([3.0] * 20) == 0


def test_what_still_grows_is_not_stationary() -> None:
    time = np.arange(80) / 80
    assert not _stationary(time)
    assert not _stationary(1 - time)
    assert _share_stationary(lambda random: 100 * (1 - np.exp(-3 * time)) + random.normal(size=80)) == 0
    assert _share_stationary(lambda random: 100 + 20 * time + random.normal(size=80)) <= 0.02
    for count in range(12, 40):
        assert not _stationary(np.arange(float(count)))


def test_a_fast_approach_ends() -> None:
    approach = 100 * (1 - np.exp(-np.arange(120) / 6))
    assert _share_stationary(lambda random: approach + 2 * random.normal(size=120)) >= 0.95


def test_too_short_a_series_is_all_warm_up() -> None:
    assert [truncation([1.0] * count) for count in (0, 1, 11, 12)] == [0, 1, 11, 0]


def _normal(random: Generator) -> Floats:
    return 0.05 * random.normal(size=6)


def _heavy_tailed(random: Generator) -> Floats:
    """Student's t with 2 degrees of freedom: now and then a repeat is far off."""
    return np.asarray(np.clip(0.05 / np.sqrt(2) * random.standard_t(2, size=6), -0.9, 3))


def _drift(random: Generator) -> Floats:
    """What both have in common: the machine gets slower by up to half, in jumps and slowly."""
    return np.asarray(np.linspace(1, random.uniform(0.5, 1), 6) * random.uniform(0.9, 1.1, size=6))


@pytest.mark.parametrize("noise", [_normal, _heavy_tailed])
@pytest.mark.parametrize("drifts", [False, True])
def test_equal_things_are_seldom_called_different(noise: Callable[[Generator], Floats], drifts: bool) -> None:
    random, different = default_rng(5), 0
    for _ in range(2000):
        level = 1000 * (_drift(random) if drifts else np.ones(6))
        found = compare_paired(list(level * (1 + noise(random))), list(level * (1 + noise(random))))
        different += found.verdict(maximize=True) is not Difference.NONE
    assert 0 < different <= 0.04 * 2000


def test_a_real_difference_is_found() -> None:
    random, slower = default_rng(6), 0
    for _ in range(1000):
        first, second = (level * (1 + 0.03 * random.normal(size=6)) for level in (100.0, 90.0))
        slower += compare_paired(list(first), list(second)).verdict(maximize=True) is Difference.SLOWER
    assert slower >= 900


FIRST = [100.0, 101.0, 99.0, 100.0, 102.0, 98.0]


def test_effect_and_interval_are_of_the_ratio() -> None:
    factors = (1.10, 1.11, 1.09, 1.10, 1.12, 1.08)
    found = compare_paired(FIRST, [value * factor for value, factor in zip(FIRST, factors, strict=True)])
    assert found.effect == pytest.approx(0.1, abs=1e-4)
    assert found.low is not None
    assert found.high is not None
    assert 0.08 < found.low < found.effect < found.high < 0.12
    assert (found.pairs, found.p_value) == (6, 2 / 64)
    assert found.verdict(maximize=True) == "faster"
    assert found.verdict(maximize=False) == "slower"
    assert found.verdict(maximize=True, least=0.2) == "no difference"


def test_the_exact_test_counts_every_pattern_of_signs() -> None:
    """Logarithms 1, 2, 3 and -1, whose sum is 5. With any signs at least 5 is 1+2+3+1, 1+2+3-1 and -1+2+3+1: 6 of 16."""
    found = compare_paired([1.0, 1.0, 1.0, np.e], [np.e, np.e**2, np.e**3, 1.0])
    assert found.p_value == 6 / 16


def test_many_pairs_are_sampled_alike_each_time() -> None:
    random = default_rng(9)
    first, second = list(random.uniform(90, 110, size=14)), list(random.uniform(92, 112, size=14))
    found = compare_paired(first, second)
    assert found == compare_paired(first, second)
    assert found.p_value == pytest.approx(compare_paired(second, first).p_value)
    assert compare_paired([100.0] * 14, [110.0] * 14).p_value <= 4 / 4096


def test_few_pairs_decide_nothing() -> None:
    for pairs in range(1, 6):
        found = compare_paired([100.0] * pairs, [200.0] * pairs)
        assert not found.can_decide
        assert found.verdict(maximize=True) is Difference.NONE
    assert compare_paired([100.0] * 6, [200.0] * 6).can_decide
    assert compare_paired([100.0], [200.0]) == Paired(effect=1.0, low=None, high=None, p_value=1.0, pairs=1)


def test_equal_values_are_no_difference() -> None:
    found = compare_paired(FIRST, FIRST)
    assert (found.effect, found.p_value, found.verdict(maximize=True)) == (0.0, 1.0, Difference.NONE)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [-1.0])])
def test_what_cannot_be_compared_is_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="as many values of each, all above zero"):
        compare_paired(a, b)


def test_the_statistics_load_no_library_until_they_are_asked() -> None:
    """Every command imports them, and few ask."""
    code = "import sys, tuner.decide.confidence, tuner.decide.deciding; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "scipy"} & set(loaded)
