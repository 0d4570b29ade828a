import math
import random

import pytest

from tuner.decide.drift import (
    FALSE_ALARMS,
    HORIZON,
    TOGETHER,
    Change,
    Counts,
    Detector,
    Drift,
    Expected,
    Lengths,
    Margins,
    Quantity,
    Window,
    at_once,
    changes_of,
    stability_index,
    together,
)

BOUNDS = (100.0, 200.0, 500.0, math.inf)
_RNG = random.Random(0)
LENGTHS = Lengths(tokens=tuple(sorted(_RNG.randint(1, 400) for _ in range(4000))))


def counts(tokens: list[int]) -> Counts:
    shares = Lengths(tokens=tuple(sorted(tokens))).shares(BOUNDS)
    return Counts(sum=sum(tokens), bounds=BOUNDS, counts=tuple(share * len(tokens) for share in shares))


def window(
    rate: float = 1.0, longer: float = 1.0, seed: int = 0, requests: int = 300, share: float | None = None
) -> Window:
    rng = random.Random(seed)
    tokens = [max(1, round(rng.randint(1, 400) * longer)) for _ in range(requests)]
    return Window(duration_s=600, requests=requests, rate=rate, outputs=counts(tokens), prefix_share=share)


def first_alarm(expected: Expected, windows: list[Window]) -> tuple[int, list[Drift]] | None:
    detector = Detector(expected)
    for number, one in enumerate(windows, 1):
        if found := detector.take(one):
            return number, found
    return None


def test_more_than_the_margin_pays_and_less_costs_and_nothing_costs_more_than_the_stake() -> None:
    expected = Expected(rate=1.0)
    change = Change(Quantity.RATE, is_up=True)
    paid = [
        at_once(Window(duration_s=1, requests=9, rate=rate), expected, Margins())[change] for rate in (0.0, 1.2, 2.4)
    ]
    assert paid == [-1.0, 0.0, pytest.approx(1.0)]


def test_the_average_payoff_within_the_margin_is_never_above_nothing_whatever_the_bursts() -> None:
    """The claim that the bound on false alarms is made of, for a mean exactly at the margin."""
    expected, rng = Expected(rate=1.0), random.Random(1)
    rates = [1.2 * 0.6 * rng.paretovariate(2.5) for _ in range(50_000)]  # heavy bursts with a mean of 1.2
    paid = [at_once(Window(duration_s=1, requests=9, rate=rate), expected, Margins()) for rate in rates]
    mean = sum(one[Change(Quantity.RATE, is_up=True)] for one in paid) / len(paid)
    assert mean < 0.03


def test_a_change_that_matters_is_found_and_said_to_have_begun_when_it_did() -> None:
    windows = [window(seed=seed) for seed in range(60)] + [window(longer=2.0, seed=seed) for seed in range(60)]
    found = first_alarm(Expected(rate=1.0, outputs=LENGTHS), windows)
    assert found is not None
    number, (drift, *_) = found
    assert 60 < number <= 100
    assert drift.change == Change(Quantity.OUTPUT, is_up=True)
    assert abs(drift.since - (number - 60)) <= 2


@pytest.mark.parametrize("longer", [1.0, 1.15, 0.9])
def test_a_change_that_does_not_matter_is_not_found_however_many_requests_tell_it(longer: float) -> None:
    windows = [window(rate=longer, longer=longer, seed=seed, requests=3000) for seed in range(130)]
    assert first_alarm(Expected(rate=1.0, outputs=LENGTHS), windows) is None


def test_the_larger_the_change_the_sooner_it_is_found() -> None:
    expected = Expected(rate=1.0)
    late = [first_alarm(expected, [window(rate=rate)] * 400) for rate in (1.5, 2.0, 4.0)]
    windows = [found[0] for found in late if found]
    assert len(windows) == 3
    assert windows == sorted(windows, reverse=True)
    assert windows[-1] <= 12


def test_less_is_found_too_though_later() -> None:
    found = first_alarm(Expected(rate=1.0), [window(rate=0.0)] * 300)
    assert found is not None
    assert found[1][0].change == Change(Quantity.RATE, is_up=False)
    assert found[0] % TOGETHER == 0


def test_another_shape_of_the_same_mean_is_found() -> None:
    mean = round(LENGTHS.mean)
    same = Window(duration_s=600, requests=300, rate=1.0, outputs=counts([mean] * 300))
    found = first_alarm(Expected(rate=1.0, outputs=LENGTHS), [same] * 200)
    assert found is not None
    assert found[1][0].change.quantity is Quantity.OUTPUT_SHAPE


def test_the_share_in_the_prefix_cache_counts_by_its_difference() -> None:
    expected = Expected(prefix_share=0.5)
    near, far = (first_alarm(expected, [window(share=share)] * 100) for share in (0.6, 0.2))
    assert near is None
    assert far is not None
    assert far[1][0].change == Change(Quantity.PREFIX, is_up=False)


def test_a_window_of_few_requests_says_nothing_of_lengths() -> None:
    few = window(longer=5.0, requests=10)
    paid = at_once(few, Expected(rate=1.0, outputs=LENGTHS), Margins())
    assert {change.quantity for change in paid} == {Quantity.RATE}


def test_what_the_study_does_not_know_is_not_compared() -> None:
    assert changes_of(Expected()) == []
    assert first_alarm(Expected(), [window(rate=9.0, longer=9.0)] * 200) is None
    assert together([window()] * TOGETHER, Expected(), Margins()) == {}


def test_chance_alone_gives_no_index() -> None:
    """The index of samples of the same distribution is about nothing on average, whatever their size."""
    for requests in (50, 500):
        found = [
            stability_index(window(seed=seed, requests=requests).outputs or counts([1]), LENGTHS) for seed in range(200)
        ]
        assert abs(sum(found) / len(found)) < 0.02


def test_the_limit_is_that_of_all_changes_together() -> None:
    detector = Detector(Expected(rate=1.0, outputs=LENGTHS))
    assert detector.limit == HORIZON * 5 / FALSE_ALARMS
    assert detector.evidence() == 0.0


def test_windows_exactly_at_the_margin_alarm_no_oftener_than_is_said() -> None:
    """The worst case of the hypothesis: bursts around a mean that is the margin itself."""
    expected, alarms = Expected(rate=1.0), 0
    for seed in range(40):
        rng = random.Random(seed)
        windows = [Window(duration_s=1, requests=9, rate=1.2 * rng.expovariate(1.0)) for _ in range(HORIZON)]
        alarms += first_alarm(expected, windows) is not None
    assert alarms <= 5
