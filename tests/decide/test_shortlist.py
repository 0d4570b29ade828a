from dataclasses import replace

import pytest
from samples import failed, measured, trial

from tuner.decide.objective import OBJECTIVES
from tuner.decide.rank import rank
from tuner.decide.shortlist import is_near, shortlist, slo_error
from tuner.decide.slo import parse_slo
from tuner.types import Trial

THROUGHPUT, TTFT = OBJECTIVES["throughput"], OBJECTIVES["ttft_p99"]
SLO = parse_slo("ttft_p99=500ms")


def a_trial(number: int, throughput: float, ttft_s: float = 0.1, start: str = "plain") -> Trial:
    outcome = replace(measured(output_throughput=throughput, ttft_s=ttft_s), start=start)
    return replace(trial(number, outcome, is_default=number == 0), violations={SLO.name: SLO.violation(outcome.load)})


def numbers(trials: list[Trial], slos: tuple[object, ...] = ()) -> list[int]:
    return [candidate.trial.number for candidate in shortlist(trials, THROUGHPUT, [SLO] if slos else [])]


def test_what_gains_nothing_over_the_defaults_is_not_launched_again() -> None:
    trials = [a_trial(0, 100), a_trial(1, 90), a_trial(2, 120), trial(3, failed()), a_trial(4, 110)]
    assert numbers(trials) == [2, 4]
    assert numbers(trials[:2]) == []


def test_a_latency_is_the_better_the_smaller_it_is() -> None:
    trials = [a_trial(0, 1, 0.3), a_trial(1, 1, 0.1), a_trial(2, 1, 0.2), a_trial(3, 1, 0.4)]
    assert [c.trial.number for c in shortlist(trials, TTFT, [])] == [1, 2]


def test_what_met_the_slo_by_a_hair_promises_less_than_what_meets_it_for_sure() -> None:
    trials = [a_trial(0, 100), a_trial(1, 150, 0.499), a_trial(2, 145, 0.3)]
    assert numbers(trials, (SLO,)) == [2, 1]
    assert numbers(trials) == [1, 2]


def test_what_missed_by_a_hair_comes_last_and_what_missed_clearly_not_at_all() -> None:
    trials = [a_trial(0, 100), a_trial(1, 160, 0.51), a_trial(2, 150, 0.3), a_trial(3, 190, 0.9)]
    assert numbers(trials, (SLO,)) == [2, 1]


def test_where_the_defaults_miss_the_slo_all_that_meets_it_is_worth_a_launch() -> None:
    trials = [a_trial(0, 200, 0.9), a_trial(1, 90, 0.2), a_trial(2, 50, 0.1)]
    assert numbers(trials, (SLO,)) == [1, 2]
    assert numbers([trial(0, failed(), is_default=True), *trials[1:]], (SLO,)) == [1, 2]


def test_plain_and_forked_measurements_are_never_ranked_together() -> None:
    """Forked servers are slower: a plain measurement among them is no better for that, and is launched again to be known."""
    trials = [a_trial(n, t, start=s) for n, t, s in ((0, 850, "warm"), (1, 935, "warm"), (2, 1000, "plain"))]
    assert [t.number for t in rank(trials, THROUGHPUT)] == [1, 0]
    assert numbers(trials) == [1]
    assert numbers([*trials, a_trial(3, 1200, start="plain")]) == [3, 1]


def test_near_is_within_one_standard_error() -> None:
    first, near, far = shortlist([a_trial(0, 100), a_trial(1, 150), a_trial(2, 149), a_trial(3, 140)], THROUGHPUT, [])
    assert is_near(near, first, THROUGHPUT)
    assert not is_near(far, first, THROUGHPUT)


def test_the_error_of_an_slos_value_is_that_of_its_interval() -> None:
    load = measured(ttft_s=0.1).load
    assert slo_error(load, SLO) is None
    known = replace(load, ci95={"ttft_p99_s": (0.08, 0.125)})
    assert slo_error(known, SLO) == pytest.approx(0.1138, abs=1e-3)
