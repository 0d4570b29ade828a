"""The front launched again: who is due, when it is over, what is claimed by chance, and the decision."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from samples import failed, measured, trial

from tuner.decide.front import front_contest_of, front_decision, verdict_of
from tuner.decide.front_contest import FrontContest
from tuner.decide.objective import parse_objectives
from tuner.decide.pareto import contenders
from tuner.decide.slo import parse_slo
from tuner.decide.verdict import Answer, Decision
from tuner.types import Failed, Outcome, Trial

BOTH = parse_objectives(["throughput", "ttft_p99"])
Launch = Callable[[int], Outcome]
#: Throughput and TTFT in truth: the defaults (0), a knee (1), an end of the front (2), one that is dominated (3).
TRUTH = {0: (100.0, 0.50), 1: (170.0, 0.25), 2: (200.0, 1.20), 3: (90.0, 0.55)}


def searched(truth: dict[int, tuple[float, float]] = TRUTH) -> list[Trial]:
    return [
        trial(n, measured(output_throughput=throughput, ttft_s=ttft_s), is_default=n == 0)
        for n, (throughput, ttft_s) in truth.items()
    ]


def launches(seed: int, noise: float = 0.02, truth: dict[int, tuple[float, float]] = TRUTH) -> Launch:
    draw = random.Random(seed)

    def launch(number: int) -> Outcome:
        throughput, ttft_s = truth[number]
        around = draw.lognormvariate(0, noise), draw.lognormvariate(0, 2 * noise)
        return measured(output_throughput=throughput * around[0], ttft_s=ttft_s * around[1])

    return launch


def race(trials: list[Trial], launch: Launch, *, rounds: int = 5, slos: tuple[str, ...] = ()) -> FrontContest:
    limits = [parse_slo(text) for text in slos]
    contest = front_contest_of(trials, contenders(trials, BOTH), BOTH, limits, rounds=rounds)
    while due := contest.due:
        contest.take(due[0].number, launch(due[0].number))
    return contest


def decided(trials: list[Trial], contest: FrontContest | None, why: str = "") -> Decision:
    return front_decision(trials, contest, BOTH, [], why)


def test_all_points_and_the_defaults_are_launched_in_turn_each_round_in_the_other_order() -> None:
    contest = front_contest_of(searched(), contenders(searched(), BOTH), BOTH, [], rounds=5)
    assert [one.number for one in contest.due] == [1, 2, 0]
    for number in (1, 2, 0):
        contest.take(number, launches(1)(number))
    assert [one.number for one in contest.due] == [0, 2, 1]


def test_a_clear_knee_is_better_and_the_front_is_of_verified_points() -> None:
    trials = searched()
    found = decided(trials, race(trials, launches(1)))
    assert (found.chosen, found.winner) == (trials[1], trials[1])
    assert found.verdict.answer is Answer.BETTER
    assert found.front is not None
    assert [(point.trial.number, point.is_verified) for point in found.front.points] == [(2, True), (1, True)]
    assert found.front.knee == 1
    throughput, ttft = found.front.points[1].told
    assert throughput.low < 170 < throughput.high
    assert throughput.gain == pytest.approx(0.7, abs=0.06)
    assert throughput.gain_low is not None
    assert ttft.gain_low is not None
    assert throughput.gain_low < 0.7
    assert ttft.gain_low < 1.0  # half the latency is a gain of 1
    assert throughput.is_better
    assert ttft.is_better


def test_another_point_of_the_front_may_be_a_trade_off() -> None:
    trials = searched()
    found = decided(trials, race(trials, launches(1, noise=0.01)))
    other = verdict_of(found, trials[2])
    assert other is not None
    assert (other.answer, other.trial) == (Answer.TRADE, 2)
    assert verdict_of(found, trials[3]) is None
    assert verdict_of(found, trials[1]) is found.verdict


def test_what_gains_in_one_and_loses_in_another_is_told_as_a_trade_off() -> None:
    truth = {0: (100.0, 0.50), 1: (95.0, 0.10)}
    found = decided(searched(truth), race(searched(truth), launches(2, truth=truth, noise=0.005)))
    assert found.verdict.answer is Answer.TRADE
    assert found.chosen is not None
    assert found.chosen.number == 1


def test_defaults_that_are_the_knee_are_kept() -> None:
    truth = {0: (100.0, 0.10), 1: (103.0, 0.50), 2: (40.0, 0.095)}
    found = decided(searched(truth), race(searched(truth), launches(2, truth=truth, noise=0.002)))
    assert found.chosen is not None
    assert found.chosen.is_default
    assert found.front is not None
    assert found.front.knee == 0


def test_a_search_that_was_lucky_is_found_out() -> None:
    """Each point looks better in the search; launched again, nothing differs."""
    truth = dict.fromkeys(TRUTH, TRUTH[0])
    found = decided(searched(), race(searched(), launches(4, truth=truth)))
    assert found.verdict.answer in (Answer.NOT_TOLD_APART, Answer.WORSE)
    assert found.chosen is not None
    assert found.chosen.is_default


def test_what_misses_an_slo_when_launched_again_is_not_on_the_front() -> None:
    trials = searched()
    slow = {**TRUTH, 1: (170.0, 0.9)}
    contest = race(trials, launches(1, truth=slow), slos=("ttft_p99=800ms",))
    found = front_decision(trials, contest, BOTH, [parse_slo("ttft_p99=800ms")])
    assert found.front is not None
    assert 1 not in {point.trial.number for point in found.front.points}


def test_a_point_that_crashes_leaves_the_others() -> None:
    trials = searched()
    contest = race(trials, lambda number: failed() if number == 1 else launches(1)(number))
    found = decided(trials, contest)
    assert found.winner is trials[2]
    crashed = race(trials, lambda number: failed() if number else launches(1)(number))
    assert decided(trials, crashed).verdict.answer is Answer.CRASHED
    assert decided(trials, crashed).chosen is trials[0]


def test_defaults_that_failed_are_no_side() -> None:
    trials = [replace(searched()[0], outcome=failed()), *searched()[1:]]
    contest = race(trials, launches(1))
    assert contest.defaults is None
    found = decided(trials, contest)
    assert (found.verdict.answer, found.verdict.why) == (Answer.ALONE, "the defaults could not be measured")
    assert found.front is not None
    assert all(told.gain is None for point in found.front.points for told in point.told)


def test_without_a_verification_the_front_is_the_search_s_and_says_so() -> None:
    found = decided(searched(), None, "it was not launched again: see --verify")
    assert found.verdict.answer is Answer.NOT_VERIFIED
    assert found.front is not None
    assert [(point.trial.number, point.is_verified) for point in found.front.points] == [(2, False), (1, False)]
    assert found.front.points[1].told[0].gain == pytest.approx(0.7)
    assert found.front.points[1].told[0].gain_low is None


def test_what_was_not_launched_again_stands_beside_the_verified() -> None:
    truth = {n: (100.0 * 1.4**n, 0.1 * 1.6**n) for n in range(7)}
    trials = [replace(one, is_default=False) for one in searched(truth)]
    trials[0] = trial(0, measured(output_throughput=90.0, ttft_s=9.0), is_default=True)
    contest = race(trials, launches(1, truth={**truth, 0: (90.0, 9.0)}))
    found = decided(trials, contest)
    assert found.front is not None
    assert [point.trial.number for point in found.front.points] == [6, 5, 4, 3, 2, 1]
    assert {point.trial.number for point in found.front.points if point.is_verified} == {
        side.trial.number for side in contest.verified
    }
    assert len(contest.verified) == 4


def test_nothing_that_differs_is_seldom_called_better() -> None:
    """The level is shared among points, objectives and looks: where nothing differs, less than 5 % of studies say so."""
    truth = dict.fromkeys(TRUTH, TRUTH[0])
    runs, wrong = 300, 0
    for seed in range(runs):
        found = decided(searched(), race(searched(), launches(seed, truth=truth)))
        wrong += found.verdict.answer in (Answer.BETTER, Answer.TRADE)
    assert wrong <= 0.05 * runs


def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of values and of gains, of all verified points of 200 studies."""
    values, gains = [], []
    for seed in range(200):
        front = decided(searched(), race(searched(), launches(seed))).front
        assert front is not None
        for point in front.points:
            of_truth = TRUTH[point.trial.number]
            for objective, told, true, base in zip(BOTH, point.told, of_truth, TRUTH[0], strict=True):
                if point.is_verified:
                    values.append(told.low < true < told.high)
                if told.gain_low is not None and told.gain_high is not None:
                    gains.append(told.gain_low < objective.gain(true, base) < told.gain_high)
    assert len(gains) > 600
    assert values.count(True) >= 0.94 * len(values)
    assert gains.count(True) >= 0.94 * len(gains)


def test_a_gain_of_a_quarter_is_mostly_found() -> None:
    truth = {0: (100.0, 0.50), 1: (125.0, 0.48)}
    found = [
        decided(searched(truth), race(searched(truth), launches(seed, truth=truth))).verdict.answer
        for seed in range(100)
    ]
    assert found.count(Answer.BETTER) >= 80


def test_a_failure_stops_the_launches_of_one_side_only() -> None:
    def launch(number: int) -> Outcome:
        return failed() if number == 2 else launches(number)(number)

    contest = race(searched(), launch)
    by_number = {side.trial.number: side for side in contest.finalists}
    assert len(by_number[2].outcomes) == 1
    assert isinstance(by_number[2].outcomes[0], Failed)
    assert len(by_number[1].outcomes) >= 2
