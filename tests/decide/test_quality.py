"""What the comparisons of answers claim, by seeded simulation of what they are given."""

import random
from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from statistics import NormalDist
from typing import Any

import pytest

from tuner.decide.harm import MAX_LOSS, Harm, judged
from tuner.decide.quality import (
    LEVEL,
    POWER,
    Missing,
    agreement,
    at_least_lost,
    loss,
    more_apart,
    paired_loss,
    rights,
    scores,
)
from tuner.decide.words.quality import harm_text
from tuner.types.quality import Quality, Task

PIECES, RUNS = 24, 1000


def most(share: float) -> float:
    """What RUNS may show where the truth is that share: three standard errors more."""
    return share + 3 * sqrt(share * (1 - share) / RUNS)


Noise = Callable[[random.Random], float]


def normal(rng: random.Random) -> float:
    return rng.gauss(0, 0.01)


def heavy(rng: random.Random) -> float:
    """Student's t with three degrees of freedom: now and then a piece is far off."""
    return 0.006 * rng.gauss(0, 1) / sqrt(rng.gammavariate(1.5, 2) / 3)


def skewed(rng: random.Random) -> float:
    """Most pieces differ little, some by much, and always to the same side; the mean is 0."""
    return 0.01 * (rng.expovariate(1.0) - 1.0)


def gaining(rng: random.Random) -> float:
    """The same to the other side: a few pieces are foretold much better."""
    return -skewed(rng)


def pieces(rng: random.Random) -> list[float]:
    return [rng.uniform(1.5, 3.5) for _ in range(PIECES)]


def shifted(rng: random.Random, before: list[float], share: float, noise: Noise) -> list[float]:
    usual = sum(before) / len(before)
    return [value + share * usual + noise(rng) * usual for value in before]


@pytest.mark.parametrize("noise", [normal, heavy])
def test_what_is_the_same_is_told_apart_in_5_percent_at_most(noise: Noise) -> None:
    rng, alarms = random.Random(1), 0
    for _ in range(RUNS):
        before = pieces(rng)
        found = paired_loss(before, shifted(rng, before, 0.0, noise))
        assert found is not None
        alarms += not found.low <= 0 <= found.high
    assert alarms / RUNS <= most(0.05)


@pytest.mark.parametrize(("noise", "level"), [(normal, LEVEL), (heavy, LEVEL), (skewed, LEVEL), (gaining, 0.07)])
def test_a_loss_of_the_limit_itself_is_refused_no_more_often_than_is_said(noise: Noise, level: float) -> None:
    rng, refused = random.Random(2), 0
    for _ in range(RUNS):
        before = pieces(rng)
        found = paired_loss(before, shifted(rng, before, MAX_LOSS, noise))
        assert found is not None
        refused += found.low > MAX_LOSS
    assert refused / RUNS <= most(level)


def test_of_40_settings_that_lose_nothing_none_is_refused() -> None:
    rng = random.Random(3)
    for _ in range(40):
        before = pieces(rng)
        base = [asked(shifted(rng, before, 0.0, heavy)) for _ in range(2)]
        other = [asked(shifted(rng, before, 0.0, heavy)) for _ in range(2)]
        found = judged(base, other)
        assert found is not None
        assert found.harm is Harm.UNHARMED


def test_a_loss_as_large_as_the_least_visible_one_is_seen_as_often_as_it_says() -> None:
    rng, visible = random.Random(4), []
    for _ in range(300):
        before = pieces(rng)
        found = paired_loss(before, shifted(rng, before, 0.0, normal))
        assert found is not None
        visible.append(found.least_seen)
    least = sum(visible) / len(visible)
    seen = 0
    for _ in range(RUNS):
        before = pieces(rng)
        found = paired_loss(before, shifted(rng, before, least, normal))
        assert found is not None
        seen += found.low > 0
    assert POWER - 0.04 < seen / RUNS < POWER + 0.08


def test_a_quantization_that_loses_twice_the_limit_is_refused() -> None:
    rng = random.Random(5)
    before = pieces(rng)
    found = judged([asked(before)], [asked(shifted(rng, before, 2 * MAX_LOSS, normal))])
    assert found is not None
    assert (found.harm, found.loss is not None and found.loss.low > MAX_LOSS) == (Harm.LOSES, True)


def test_a_loss_that_may_be_above_the_limit_is_neither_refused_nor_called_unharmed() -> None:
    rng = random.Random(6)
    before = pieces(rng)
    found = judged([asked(before)], [asked(shifted(rng, before, MAX_LOSS, normal))])
    assert found is not None
    assert found.harm is Harm.OPEN


def test_a_finalist_that_differs_as_the_defaults_do_from_themselves_is_told_apart_in_5_percent_at_most() -> None:
    """Each launch goes another way in a tenth of the questions."""
    rng, alarms = random.Random(7), 0

    def launch() -> Quality:
        return answering([(1, 2, 3 if rng.random() < 0.9 else rng.randrange(10**6)) for _ in range(42)])

    for _ in range(RUNS):
        chance = more_apart(launch(), launch(), launch())
        assert chance is not None
        alarms += chance <= LEVEL
    assert alarms / RUNS <= most(LEVEL)


def test_mcnemar_is_exact() -> None:
    """One-sided: 5 of 5 changed ones lost by luck is 1/32."""
    assert at_least_lost(5, 0) == 1 / 32
    assert at_least_lost(0, 0) == 1
    assert at_least_lost(2, 1) == pytest.approx(0.5)
    rng = random.Random(8)
    found = sum(
        at_least_lost(changed, 20 - changed) <= LEVEL
        for changed in (sum(rng.random() < 0.5 for _ in range(20)) for _ in range(RUNS))
    )
    assert found / RUNS <= most(LEVEL)


def test_agreement_counts_whole_answers_and_where_they_part() -> None:
    base, other = answering([(1, 2, 3, 4)] * 10), answering([(1, 2, 3, 4)] * 8 + [(1, 2, 9, 9), (1, 2, 3)])
    found = agreement(base, other)
    assert found is not None
    assert (found.questions, found.same, found.share) == (10, 8, 0.8)
    assert found.first_difference == pytest.approx((0.5 + 0.75) / 2)


@pytest.mark.parametrize(
    "other",
    [
        {"data": "others"},
        {"are_tokens": False},
        {"answers": ((1,),) * 9},
        {"answers": (None,) * 4 + ((1,),) * 6},
    ],
)
def test_what_cannot_be_compared_is_not(other: dict[str, object]) -> None:
    base = answering([(1,)] * 10)
    assert agreement(base, replace(base, **other)) is None  # type: ignore[arg-type]


def test_pieces_that_one_launch_could_not_tell_are_left_out_for_all() -> None:
    base = asked([2.0] * 12)
    found = loss([base], [replace(base, nll=(None, None, *([2.1] * 10)))])
    assert found is not None
    assert found.pieces == 10
    assert found.loss == pytest.approx(0.05)
    assert loss([base], [replace(base, nll=(None,) * 5 + (2.0,) * 7)]) is None


@pytest.mark.parametrize(
    ("changes", "launches", "harm", "gone"),
    [
        ({"nll": (None,) * 2 + (2.0,) * 10}, 1, Harm.OPEN, 2),
        ({"nll": (None,) * 2 + (2.0,) * 10}, 2, Harm.LOSES, 2),
        ({"answers": (None, *((1, 2),) * 9)}, 1, Harm.OPEN, 1),
        ({"answers": (None, *((1, 2),) * 9)}, 2, Harm.LOSES, 1),
        ({"nll": ()}, 2, Harm.UNCHECKED, None),
        ({"answers": ()}, 2, Harm.UNHARMED, None),
        ({}, 2, Harm.UNHARMED, None),
    ],
)
def test_what_the_defaults_answered_and_it_did_not(
    changes: dict[str, Any], launches: int, harm: Harm, gone: int | None
) -> None:
    base = replace(asked([2.0] * 12), answers=((1, 2),) * 10)
    found = judged([base, base], [replace(base, **changes)] * launches)
    assert found is not None
    assert found.harm is harm
    assert found.missing == (gone and Missing(asked=22, missing=gone, always=gone))
    if gone:
        assert f"of 22 questions that the defaults answered, it answered {gone} not" in harm_text(found)


def test_what_the_defaults_could_not_answer_either_or_once_is_no_loss() -> None:
    base, lucky = asked([2.0] * 12), asked([2.0] * 12)
    poor = replace(base, nll=(None, *(2.0,) * 11))
    for sides in (([poor, base], [poor, poor]), ([poor], [poor]), ([poor], [lucky])):
        found = judged(*sides)
        assert found is not None
        assert (found.harm, found.missing) == (Harm.UNHARMED, None)


def test_answers_of_the_users_command_that_vanish_are_not_within_the_limit() -> None:
    right = {f"q{n}": True for n in range(100)}
    half = dict.fromkeys([*right][:50], True)
    base = replace(asked([2.0] * 12), task=Task(exit_code=0, right=right))
    found = judged([base] * 2, [replace(base, task=Task(exit_code=0, right=half))] * 2)
    assert found is not None
    assert (found.harm, found.missing and found.missing.missing) == (Harm.OPEN, 50)


def test_without_probes_nothing_is_said_and_without_those_of_the_defaults_it_is_not_checked() -> None:
    assert judged([asked([2.0] * 12)], []) is None
    found = judged([], [asked([2.0] * 12)])
    assert found is not None
    assert (found.harm, found.untold) == (Harm.UNCHECKED, ("the defaults were not probed",))
    silent = Quality(data="d", untold=("log-probabilities of a text: no",))
    found = judged([silent], [silent])
    assert found is not None
    assert (found.harm, found.untold) == (Harm.UNCHECKED, silent.untold)


def test_the_users_command_refuses_what_it_shows() -> None:
    base = asked([2.0] * 12)

    def told(task: Task) -> Quality:
        return replace(base, task=task)

    wrong = judged([told(Task(exit_code=0))] * 2, [told(Task(exit_code=1))] * 2)
    once = judged([told(Task(exit_code=0))] * 2, [told(Task(exit_code=1)), told(Task(exit_code=0))])
    assert wrong is not None
    assert once is not None
    assert (wrong.harm, once.harm) == (Harm.LOSES, Harm.UNHARMED)
    right = {f"q{n}": True for n in range(50)}
    fewer = {name: n >= 8 for n, name in enumerate(right)}
    found = judged([told(Task(exit_code=0, right=right))], [told(Task(exit_code=0, right=fewer))])
    assert found is not None
    assert found.rights is not None
    assert (found.harm, found.rights.lost, found.rights.won) == (Harm.LOSES, 8, 0)
    assert rights({"a": True}, {"b": True}) is None


def test_scores_have_the_noise_of_repeated_launches_beside_them() -> None:
    found = scores([0.8, 0.82], [0.7, 0.72])
    assert found is not None
    assert found.before == pytest.approx(0.81)
    assert found.after == pytest.approx(0.71)
    assert found.noise == pytest.approx(0.01 * 2**0.5)
    assert scores([0.8], [0.7]).noise is None  # type: ignore[union-attr]
    assert scores([], [0.7]) is None


def test_the_simulated_noise_is_what_it_is_called() -> None:
    rng = random.Random(9)
    far = [sum(abs(noise(rng)) > 0.04 for _ in range(20_000)) for noise in (normal, heavy)]
    assert far[0] < 20_000 * 2 * NormalDist().cdf(-3.5)
    assert far[1] > 3 * far[0]


def asked(nll: list[float]) -> Quality:
    return Quality(data="d", nll=tuple(nll))


def answering(answers: list[tuple[int, ...]]) -> Quality:
    return Quality(data="d", answers=tuple(answers))
