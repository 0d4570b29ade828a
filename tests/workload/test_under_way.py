from dataclasses import replace
from statistics import fmean, stdev

import pytest

from tuner.types import Histogram, Lengths, Lognormal, Workload
from tuner.workload.presets import PRESETS
from tuner.workload.under_way import UnderWay

R1 = PRESETS["reasoning-r1"]
LONG_TAIL = replace(R1, output_tokens=Lognormal(median=200, sigma=0.8, low=1, high=4000))
TWO = replace(R1, output_tokens=Histogram(buckets=((10, 10, 0.9), (1000, 1000, 0.1))))


def _stationary(workload: Workload) -> tuple[float, float]:
    """Mean context and rest in a loop that has run for long: one token a step, looked at in every step."""
    places = UnderWay(replace(workload, seed=99))  # its draws only
    context = rest = steps = 0.0
    for whole in places._among:
        length = whole.output_tokens
        steps += length
        context += whole.input_tokens * length + length * (length - 1) / 2
        rest += length * (length + 1) / 2
    return context / steps, rest / steps


@pytest.mark.parametrize("workload", [R1, LONG_TAIL, TWO, PRESETS["multi-turn"]])
def test_users_are_found_where_a_load_that_has_run_for_long_has_them(workload: Workload) -> None:
    context, rest = _stationary(workload)
    places = [UnderWay(replace(workload, seed=seed)) for seed in range(20)]
    begun = [one.of(user) for one in places for user in range(64)]
    assert fmean(one.input_tokens for one in begun) == pytest.approx(context, rel=0.06)
    assert fmean(one.left_tokens for one in begun) == pytest.approx(rest, rel=0.04)
    assert min(one.left_tokens for one in begun) >= 1
    assert min(one.said_tokens for one in begun) >= 0


def test_a_long_answer_is_found_as_often_as_it_is_long() -> None:
    places = UnderWay(TWO)
    found = [places.of(user).whole.output_tokens for user in range(500)]
    assert found.count(1000) / len(found) == pytest.approx(100 / 109, abs=0.02)


def test_few_users_together_are_as_many_would_be() -> None:
    """The tokens in the contexts of 32 users. If each were drawn by itself, they would vary by 9 %."""
    places = [UnderWay(replace(R1, seed=seed)) for seed in range(30)]
    means = [fmean(one.of(user).input_tokens for user in range(32)) for one in places]
    assert stdev(means) < 0.04 * fmean(means)


def test_it_repeats_and_depends_on_the_seed() -> None:
    one, again, other = UnderWay(R1), UnderWay(R1), UnderWay(replace(R1, seed=1))
    assert [one.of(user) for user in range(9)] == [again.of(user) for user in range(9)]
    assert [one.of(user) for user in range(9)] != [other.of(user) for user in range(9)]


def test_answers_of_one_token_begin_whole() -> None:
    begun = UnderWay(replace(R1, output_tokens=Lengths(low=1, high=1))).of(0)
    assert (begun.said_tokens, begun.left_tokens) == (0, 1)
