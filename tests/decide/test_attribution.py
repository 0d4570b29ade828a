"""What launches that differ in one setting say of it, by the truth; the launches are drawn."""

import random
from collections.abc import Sequence
from math import exp

import pytest
from samples import failed, measured, trial

from tuner.decide.attribution import (
    Brings,
    Launched,
    Without,
    Worth,
    ballast_of,
    gained,
    holds,
    next_launch,
    planned,
    worth,
)
from tuner.decide.contest import Contest
from tuner.decide.objective import OBJECTIVES
from tuner.decide.shortlist import shortlist
from tuner.decide.verdict import contest_of
from tuner.types import Outcome

THROUGHPUT, TTFT = OBJECTIVES["throughput"], OBJECTIVES["ttft_p99"]


def of(made: dict[int, int] | None = None, **values: Sequence[float]) -> Launched:
    """`t1=[150, 151]` are launches of trial 1, the winner; trial 0 are the defaults."""
    outcomes = {int(name[1:]): [measured(output_throughput=value) for value in own] for name, own in values.items()}
    return Launched(of=1, defaults=0, outcomes=outcomes, made=made or {})


def test_a_gain_a_loss_and_nothing_are_told_apart() -> None:
    launched = of(t0=[100, 101], t1=[150, 151], t2=[120, 121], t3=[150.5, 150.2], t4=[170, 171])
    found = [worth(Without(reset=("a",), trial=number), launched, THROUGHPUT) for number in (2, 3, 4)]
    assert [one.brings for one in found] == [Brings.GAIN, Brings.NOTHING, Brings.LOSS]
    assert found[0].gain == pytest.approx(0.249, abs=0.001)
    assert ballast_of(found) == ("a",)


def test_what_cannot_be_launched_is_told_with_its_reason() -> None:
    launched = Launched(of=1, defaults=0, outcomes={1: [measured()], 2: [failed()]}, made={})
    assert worth(Without(reset=("a",), why="a rule"), launched, THROUGHPUT).brings is Brings.REFUSED
    assert worth(Without(reset=("a",), trial=1), launched, THROUGHPUT).brings is Brings.SAME
    assert worth(Without(reset=("a",), trial=2), launched, THROUGHPUT).brings is Brings.NEEDED
    assert worth(Without(reset=("a",)), launched, THROUGHPUT).brings is Brings.UNKNOWN


def test_one_launch_of_each_has_no_interval() -> None:
    assert worth(Without(reset=("a",), trial=2), of(t1=[150], t2=[120]), THROUGHPUT).brings is Brings.UNKNOWN


def test_a_latency_gains_by_being_lower() -> None:
    outcomes: dict[int, list[Outcome]] = {
        1: [measured(ttft_s=0.10), measured(ttft_s=0.101)],
        2: [measured(ttft_s=0.15), measured(ttft_s=0.151)],
    }
    found = gained(TTFT, Launched(of=1, defaults=None, outcomes=outcomes, made={}), 1, 2)
    assert found.low is not None
    assert found.gain == pytest.approx(0.5, abs=0.01)
    assert found.low > 0.4


def test_not_all_is_ballast_and_what_is_the_same_to_vllm_alone_is_none() -> None:
    nothing = Worth(reset=("a",), brings=Brings.NOTHING, gain=0.0, low=-0.01, high=0.01)
    unsure = Worth(reset=("b",), brings=Brings.NOTHING, gain=0.05, low=-0.01, high=0.11)
    same, some = Worth(reset=("c",), brings=Brings.SAME), Worth(reset=("d",), brings=Brings.GAIN, gain=0.3)
    assert ballast_of([nothing]) == ()
    assert ballast_of([same, some]) == ()
    assert ballast_of([nothing, unsure, same, some]) == ("a", "c")  # what may bring 5 % stays


def test_the_launches_go_round_in_turn_and_each_setting_has_two_of_them() -> None:
    without = [Without(reset=(name,), trial=number) for number, name in enumerate("abc", start=2)]
    for most in range(40):
        made: dict[int, int] = {}
        order: list[int] = []
        while True:
            launched = of(
                made, t1=[150] * (2 + made.get(1, 0)), **{f"t{n}": [140] * c for n, c in made.items() if n != 1}
            )
            step = next_launch(without, launched, most)
            if step is None:
                break
            number = step if isinstance(step, int) else step.trial
            assert number is not None
            made[number] = made.get(number, 0) + 1
            order.append(number)
        assert sum(made.values()) <= most
        assert all(2 <= count <= 5 for count in made.values())
        assert len(made) == (0 if most < 4 else min(3, most // 2 - 1) + 1)
        assert order[: len(made) + 1] == [] or order[len(made)] == order[len(made) - 1]  # the other way round
        assert len(planned(without, of(t1=[150, 151]), most)) == max(0, len(made) - 1)


def test_trimmed_settings_must_have_been_launched_and_hold_what_the_winner_does() -> None:
    assert holds(5, of(t0=[100, 101], t1=[150, 151], t5=[150, 149]), THROUGHPUT, [])[0]
    assert not holds(5, of(t0=[100, 101], t1=[150, 151], t5=[150]), THROUGHPUT, [])[0]
    assert not holds(5, of(t0=[100, 101], t1=[150, 151], t5=[140, 141]), THROUGHPUT, [])[0]
    assert not holds(5, of(t0=[149, 150], t1=[150, 151], t5=[150, 151]), THROUGHPUT, [])[
        0
    ]  # no better than the defaults


def contest(rng: random.Random, gain: float, noise: float) -> Contest:
    """Played to its end: the winner's launches are those that it was decided by."""
    trials = [
        trial(0, measured(output_throughput=100), is_default=True),
        trial(1, measured(output_throughput=100 * gain)),
    ]
    race = contest_of(trials, shortlist(trials, THROUGHPUT, []), THROUGHPUT, [], rounds=5)
    while race.due:
        for one in race.due:
            value = 100 * (1 if one.is_default else gain) * exp(rng.gauss(0, noise))
            race.take(one.number, measured(output_throughput=value))
    return race


@pytest.mark.parametrize("rounds", [2, 3])
def test_the_intervals_hold_the_truth_and_a_setting_that_does_nothing_is_seldom_said_to_bring_something(
    rounds: int,
) -> None:
    """Launches that differ by 5 %; three settings bring nothing, 10 % and 25 %; the contest's own launches count, too."""
    rng, truths = random.Random(7), {2: 0.0, 3: 0.10, 4: 0.25}
    covered, wrong, found, studies = 0, 0, 0, 0
    while studies < 300:
        race = contest(rng, 1.4, 0.05)
        if race.gain is None or race.level is None or not race.gain.is_better(race.level):
            continue  # nothing is explained then
        studies += 1
        assert race.defaults is not None
        outcomes: dict[int, list[Outcome]] = {0: list(race.defaults.outcomes), 1: list(race.finalists[0].outcomes)}
        for _ in range(rounds):
            for number, share in {1: 0.0, **truths}.items():
                value = 140 / (1 + share) * exp(rng.gauss(0, 0.05))
                outcomes.setdefault(number, []).append(measured(output_throughput=value))
        launched = Launched(of=1, defaults=0, outcomes=outcomes, made={})
        for number, truth in truths.items():
            one = worth(Without(reset=("a",), trial=number), launched, THROUGHPUT)
            assert one.low is not None
            assert one.high is not None
            covered += one.low <= truth <= one.high
            wrong += number == 2 and one.brings is Brings.GAIN
            found += number == 4 and one.brings is Brings.GAIN
    assert covered / (3 * studies) >= 0.90
    assert wrong / studies <= 0.05
    assert found / studies >= 0.9
