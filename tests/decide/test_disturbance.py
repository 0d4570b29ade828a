"""What an A/A check says: of single measurements, and how often it is right, over windows that are drawn with a seed."""

from collections import Counter
from dataclasses import replace
from math import exp

import numpy as np
import pytest
from samples import measured

from tuner.decide.confidence import half_width
from tuner.decide.neighbours import MOST_LOOKS, Disturbance, Told, disturbance, is_fit
from tuner.decide.objective import OBJECTIVES
from tuner.types import Mark, Measured, present

THROUGHPUT, TPOT = OBJECTIVES["throughput"], OBJECTIVES["tpot_mean"]


def served(value: float, ci95: float = 0.02) -> Measured:
    found = measured()
    load = replace(found.load, output_throughput=value, output_throughput_ci95=ci95 * value)
    return replace(found, load=load)


def told(alone: float, *beside: float) -> Disturbance:
    return disturbance(served(alone), [served(value) for value in beside], [THROUGHPUT])


def test_what_is_as_fast_beside_others_is_undisturbed() -> None:
    found = told(1000.0, 998.0)
    assert found.told is Told.UNDISTURBED
    assert found.slower == pytest.approx(0.002, abs=1e-4)
    assert present(found.low) < 0 < present(found.high) < 0.08


def test_what_is_far_slower_is_disturbed() -> None:
    found = told(1000.0, 850.0)
    assert found.told is Told.DISTURBED
    assert present(found.low) > 0


def test_what_lies_between_is_not_told_apart() -> None:
    assert told(1000.0, 960.0).told is Told.UNCLEAR
    assert told(1000.0, 960.0, 999.0, 1001.0).told is Told.UNDISTURBED  # more launches say more


def test_what_is_clearly_faster_beside_others_is_no_proof_of_anything() -> None:
    assert told(850.0, 1000.0).told is Told.UNCLEAR


def test_a_window_without_an_interval_says_nothing() -> None:
    alone = measured()
    alone = replace(alone, load=replace(alone.load, output_throughput_ci95=None, ci95=None))
    found = disturbance(alone, [served(100.0)], [THROUGHPUT])
    assert found == Disturbance(told=Told.UNCLEAR, launches=1)


def test_the_latency_of_an_open_loop_is_too_noisy_to_be_called_undisturbed() -> None:
    alone = measured()
    mean = present(present(alone.load.tpot_s).mean)
    ends = {TPOT.metric: (0.99 * mean, 1.01 * mean)}
    alone = replace(alone, load=replace(alone.load, output_throughput_ci95=None, ci95=ends))
    found = disturbance(alone, [alone] * MOST_LOOKS, [TPOT])
    assert (found.told, found.slower) == (Told.UNCLEAR, 0.0)


def test_what_was_the_load_generators_limit_is_not_compared_with() -> None:
    assert is_fit(served(1000.0))
    assert not is_fit(replace(served(1000.0), marks=(Mark.CLIENT_BOUND,)))


def checked(rng: np.random.Generator, slower: float, launch_error: float) -> Told:
    """A whole check: windows of a closed loop, second by second, with the product's own interval."""

    def launch(mean: float) -> Measured:
        noise = rng.normal(0, 0.05, 40)
        rates = mean * exp(rng.normal(0, launch_error)) * (1 + noise)
        width = half_width(rates)
        assert width is not None
        return served(float(rates.mean()), width / float(rates.mean()))

    alone, beside = launch(1000.0), list[Measured]()
    while len(beside) < MOST_LOOKS:
        beside.append(launch(1000.0 / (1 + slower)))
        if (found := disturbance(alone, beside, [THROUGHPUT])).told is not Told.UNCLEAR:
            return found.told
    return Told.UNCLEAR


def shares(slower: float, launch_error: float) -> dict[Told, float]:
    rng = np.random.default_rng(7)
    found = Counter(checked(rng, slower, launch_error) for _ in range(400))
    return {one: found[one] / 400 for one in Told}


@pytest.mark.parametrize("launch_error", [0.005, 0.02])
def test_there_is_seldom_an_alarm_without_a_disturbance(launch_error: float) -> None:
    found = shares(0.0, launch_error)
    assert found[Told.DISTURBED] <= 0.05
    assert found[Told.UNDISTURBED] >= 0.8


@pytest.mark.parametrize("launch_error", [0.005, 0.02])
def test_a_disturbance_of_a_tenth_is_found_and_never_called_none(launch_error: float) -> None:
    found = shares(0.10, launch_error)
    assert found[Told.DISTURBED] >= 0.9
    assert found[Told.UNDISTURBED] <= 0.01
