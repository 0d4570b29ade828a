"""What brings nothing is found where the trials tell, and only there; whether it is believed, the measurement decides."""

from dataclasses import replace
from math import exp

import pytest
from numpy.random import default_rng
from samples import failed, measured, trial

from tuner.decide.ballast import ballast, changed, is_lighter
from tuner.decide.objective import OBJECTIVES
from tuner.decide.shortlist import heavier, shortlist
from tuner.decide.verdict import Answer, contest_of, decision
from tuner.types import Params, Trial, Value

THROUGHPUT, TTFT = OBJECTIVES["throughput"], OBJECTIVES["ttft_p99"]
DEFAULTS: dict[str, Value] = {"seqs": 256, "tokens": 2048, "dtype": "auto", "eager": False, "share": 0.92}
LOGARITHMIC = ("seqs", "tokens")


def searched(count: int, noise: float = 0.01, seed: int = 1, **effects: float) -> list[Trial]:
    """A random search; `effects` say what a setting brings: a number by the doubling, a choice by being another."""
    random, found = default_rng(seed), []
    for number in range(count):
        point: dict[str, Value] = {
            "seqs": int(2 ** random.integers(4, 12)),
            "tokens": int(2 ** random.integers(10, 15)),
            "dtype": str(random.choice(["auto", "fp8"])),
            "eager": bool(random.random() < 0.5),
            "share": round(0.85 + 0.01 * int(random.integers(0, 11)), 2),
        }
        params = point if number else DEFAULTS
        value = 100 * exp(worth(params, effects) + noise * random.standard_normal())
        outcome = measured(output_throughput=value, ttft_s=10 / value)
        found.append(trial(number, outcome, params=params, is_default=number == 0))
    return found


def worth(params: Params, effects: dict[str, float]) -> float:
    total = 0.0
    for name, value in changed(params, DEFAULTS).items():
        steps = 1.0
        if name in LOGARITHMIC:
            assert isinstance(value, int)
            steps = value.bit_length() - int(DEFAULTS[name]).bit_length()
        total += effects.get(name, 0.0) * steps
    return total


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("objective", [THROUGHPUT, TTFT])
def test_what_brings_nothing_is_found_and_what_brings_something_is_not(objective: object, seed: int) -> None:
    trials = searched(40, seed=seed, seqs=0.1, dtype=0.3)
    found = ballast(trials, objective, LOGARITHMIC)  # type: ignore[arg-type]
    assert set(found) & {"seqs", "dtype"} == set()
    assert set(found) & {"tokens", "eager", "share"}


def test_what_harms_is_ballast_too() -> None:
    trials = searched(40, seqs=0.1, eager=-0.2)
    winner = trial(40, measured(output_throughput=500.0), params={**DEFAULTS, "seqs": 2048, "eager": True})
    assert ballast([*trials, winner], THROUGHPUT, LOGARITHMIC) == ("eager",)


def test_with_few_trials_nothing_is_guessed() -> None:
    assert ballast(searched(8, seqs=0.1), THROUGHPUT, LOGARITHMIC) == ()
    assert ballast([], THROUGHPUT, LOGARITHMIC) == ()


def test_nothing_is_left_out_where_all_would_be_or_nothing_is_better() -> None:
    assert ballast(searched(40), THROUGHPUT, LOGARITHMIC) in ((), *[(name,) for name in DEFAULTS])
    trials = searched(40, seqs=0.1)
    best_of_all = replace(trials[0], outcome=measured(output_throughput=10_000.0))
    assert ballast([best_of_all, *trials[1:]], THROUGHPUT, LOGARITHMIC) == ()
    crashed = replace(trials[0], outcome=failed())
    assert ballast([crashed, *trials[1:]], THROUGHPUT, LOGARITHMIC) == ()


def test_settings_that_are_not_active_count_as_the_defaults() -> None:
    trials = [
        replace(t, params={n: v for n, v in t.params.items() if n != "share"}) for t in searched(40, seqs=0.1)[1:]
    ]
    assert "share" not in ballast([searched(1)[0], *trials], THROUGHPUT, LOGARITHMIC)


def test_lighter_is_the_same_with_fewer_settings_changed() -> None:
    heavy = {**DEFAULTS, "seqs": 512, "eager": True}
    assert is_lighter({**DEFAULTS, "seqs": 512}, heavy, DEFAULTS)
    assert not is_lighter({**DEFAULTS, "seqs": 1024}, heavy, DEFAULTS)
    assert not is_lighter(heavy, heavy, DEFAULTS)


def pair(light: float, heavy: float = 150.0) -> list[Trial]:
    """The defaults, the best of the search, and the same without one of its settings."""
    return [
        trial(0, measured(output_throughput=100.0), params=DEFAULTS, is_default=True),
        trial(1, measured(output_throughput=heavy), params={**DEFAULTS, "seqs": 512, "eager": True}),
        trial(2, measured(output_throughput=light), params={**DEFAULTS, "seqs": 512}),
    ]


def test_of_two_that_serve_as_much_the_one_with_fewer_settings_is_verified_first() -> None:
    assert [c.trial.number for c in shortlist(pair(149.0), THROUGHPUT, [])] == [2, 1]
    assert [c.trial.number for c in shortlist(pair(140.0), THROUGHPUT, [])] == [1, 2]  # that brought something
    other = [*pair(149.0)[:2], trial(2, measured(output_throughput=149.0), params={**DEFAULTS, "tokens": 4096})]
    assert [c.trial.number for c in shortlist(other, THROUGHPUT, [])] == [1, 2]  # fewer, and others


@pytest.mark.parametrize(("again", "chosen", "left_out"), [(150.0, 2, ("eager",)), (170.0, 1, ())])
def test_what_was_left_out_is_told_and_comes_back_where_it_clearly_brought_something(
    again: float, chosen: int, left_out: tuple[str, ...]
) -> None:
    """`again` is what the best of the search serves when it is launched again, the lighter one 149."""
    trials, serves = pair(149.0), {0: 100.0, 1: again, 2: 149.0}
    contest = contest_of(trials, shortlist(trials, THROUGHPUT, []), THROUGHPUT, [], rounds=5)
    launches = 0
    while contest.due:
        number = contest.due[0].number
        launches += 1
        contest.take(number, measured(output_throughput=serves[number] + 0.1 * (launches % 3)))
    found = decision(trials, contest, THROUGHPUT, [])
    assert found.verdict.answer is Answer.BETTER
    assert found.chosen is trials[chosen]
    assert found.ballast == left_out
    assert found.heavier == (1 if left_out else None)


def test_what_replaced_nothing_is_told_of_nothing() -> None:
    trials = pair(140.0)
    assert heavier(shortlist(trials, THROUGHPUT, []), trials[1], DEFAULTS, THROUGHPUT) is None
    assert heavier(shortlist(trials, THROUGHPUT, []), trials[2], DEFAULTS, THROUGHPUT) is None
