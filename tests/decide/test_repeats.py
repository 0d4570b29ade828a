from dataclasses import replace

import pytest
from samples import load_metrics

from tuner.decide.repeats import PRIOR_ERROR, PRIOR_FREEDOM, Bound, Noise, bound, chance_to_meet, noise
from tuner.decide.slo import parse_slo
from tuner.types import LoadMetrics

SLO = parse_slo("ttft_p99=500ms")


def loads(*ttft_s: float) -> list[LoadMetrics]:
    return [load_metrics(ttft_s=value) for value in ttft_s]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((), Bound.OPEN),
        ((0.1,), Bound.OPEN),  # one launch may have been lucky
        ((0.1, 0.1), Bound.MEETS),
        ((0.49, 0.495), Bound.OPEN),
        ((0.9,), Bound.MISSES),
        ((0.52,), Bound.IN_DOUBT),
        ((0.45, 0.6), Bound.IN_DOUBT),
        ((0.4, 0.6), Bound.OPEN),
        ((0.45, 0.9), Bound.MISSES),
    ],
)
def test_one_rule_for_what_the_repeats_say(values: tuple[float, ...], said: Bound) -> None:
    assert bound(loads(*values), [SLO], [Noise(0.1, 4)]) is said


def test_all_slos_must_be_met() -> None:
    other = parse_slo("e2e_p99=100s")
    assert bound(loads(0.9, 0.9), [other, SLO], [Noise(0.1, 4)] * 2) is Bound.MISSES
    assert bound(loads(0.1, 0.1), [], []) is Bound.MEETS


def test_a_latency_that_does_not_exist_meets_its_limit() -> None:
    tpot = parse_slo("tpot_p99=1ms")
    without = [replace(load, tpot_s=None) for load in loads(0.1, 0.1)]
    assert bound(without, [tpot], [Noise(0.1, 4)]) is Bound.MEETS
    assert chance_to_meet(without[0], tpot, 0.1) == 1.0


def test_noise_is_pooled_and_moderated_by_what_is_known_before() -> None:
    alone = noise([loads(0.1), loads(0.2)], SLO)
    assert (alone.error, alone.freedom) == (PRIOR_ERROR, PRIOR_FREEDOM)
    steady = noise([loads(0.1, 0.1, 0.1, 0.1, 0.1), loads(0.2, 0.2, 0.2, 0.2, 0.2)], SLO)
    assert steady.error < 0.07
    assert steady.freedom == PRIOR_FREEDOM + 8
    assert noise([], SLO, prior=0.3).error == pytest.approx(0.3)


def test_the_chance_to_meet_falls_with_the_value() -> None:
    chances = [chance_to_meet(load, SLO, 0.1) for load in loads(0.3, 0.45, 0.5, 0.55, 0.9)]
    assert chances == sorted(chances, reverse=True)
    assert chances[2] == pytest.approx(0.5)
