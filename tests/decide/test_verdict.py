from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from samples import failed, load_metrics, measured, trial

from tuner.decide.objective import OBJECTIVES, STATISTICS, metric_value, parse_objective
from tuner.decide.rank import best, rank
from tuner.decide.shortlist import shortlist
from tuner.decide.slo import Slo, limits, parse_slo, parse_slos
from tuner.decide.verdict import Answer, Decision, contest_of, decision
from tuner.decide.words.answer import answer_text
from tuner.errors import UsageError
from tuner.types import Mark, Measured, Outcome, Trial, present

THROUGHPUT = OBJECTIVES["throughput"]
TTFT = OBJECTIVES["ttft_p99"]


def test_a_failed_trial_never_wins_whatever_the_direction() -> None:
    trials = [trial(0, failed()), trial(1, measured(output_throughput=10.0, energy_j=2.0)), trial(2, failed())]
    for objective in [parse_objective(name, price_per_hour=1.0) for name in OBJECTIVES]:
        assert [t.number for t in rank(trials, objective)] == [1]
        assert best(trials[:1], objective) is None


def test_a_trial_that_misses_an_slo_is_behind_every_feasible_one() -> None:
    fast = replace(trial(1, measured(output_throughput=900.0)), violations={"ttft_p99": 0.2})
    slow = replace(trial(2, measured(output_throughput=100.0)), violations={"ttft_p99": -0.2})
    assert [t.number for t in rank([fast, slow], THROUGHPUT)] == [2, 1]
    assert best([fast], THROUGHPUT) is None


def test_latency_objectives_prefer_the_smaller_value() -> None:
    trials = [trial(n, measured(ttft_s=ttft)) for n, ttft in ((0, 0.3), (1, 0.1), (2, 0.2))]
    assert [t.number for t in rank(trials, TTFT)] == [1, 2, 0]


@pytest.mark.parametrize(
    ("text", "metric", "limit_s"),
    [
        ("ttft_p99=500ms", "ttft_p99_s", 0.5),
        ("e2e_p90 = 2s", "e2el_p90_s", 2.0),
        ("itl_mean=0.5ms", "itl_mean_s", 5e-4),
        ("tpot_p95=40ms", "tpot_p95_s", 0.04),
    ],
)
def test_slo_is_read_with_its_unit(text: str, metric: str, limit_s: float) -> None:
    slo = parse_slo(text)
    assert slo.metric == metric
    assert slo.limit_s == pytest.approx(limit_s)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ttfp_p99=500ms", "unknown metric 'ttfp_p99'"),
        ("ttft_p98=500ms", "unknown metric 'ttft_p98'"),
        ("ttft_p99=500", "needs a unit"),
        ("ttft_p99=5.0.0ms", "'5.0.0ms' is no time above 0: give one such as ttft_p99=500ms"),
        ("ttft_p99=0ms", "above zero"),
        ("ttft_p99=abc", "'abc' is no time above 0"),
        ("ttft_p99=-5ms", "'-5ms' is no time above 0"),
        ("ttft_p99=inf", "'inf' is no time above 0"),
        ("ttft_p99=1e9s", "'1e9s' is no time above 0"),
        ("ttft_p99=90000s", "below a day"),
        ("ttft_p99=5s,tpot_p99=1s", "this is more than one"),
        ("ttft_p99", "'' is no time above 0: give one such as ttft_p99=500ms"),
        ("tftt_p99=500ms", "did you mean 'ttft_p99'"),
    ],
)
def test_a_bad_slo_is_one_sentence(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_slo(text)


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (("ttft_p99=500ms", "tpot_p99=1s", "ttft_p99=100ms"), "ttft_p99 is given twice, 500 ms and 100 ms: leave one"),
        (("e2e_p99=5s", "e2el_p99=5s"), "e2el_p99 is given twice"),
        (("ttft_p50=500ms", "ttft_p99=100ms"), "ttft_p50=500 ms says nothing beside ttft_p99=100 ms, which is never"),
        (("tpot_p95=1s", "tpot_p90=2s"), "tpot_p90=2,000 ms says nothing beside tpot_p95=1,000 ms"),
        (("e2e_p99=1s", "ttft_p99=2s"), "ttft_p99=2,000 ms says nothing beside e2e_p99=1,000 ms"),
    ],
)
def test_slos_that_cannot_both_be_meant_are_refused(texts: tuple[str, ...], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_slos(texts)


def test_slos_of_several_metrics_and_ascending_percentiles_are_kept() -> None:
    texts = ("ttft_p50=100ms", "ttft_p99=500ms", "ttft_mean=600ms", "e2e_p99=500ms", "tpot_p99=1s")
    assert [slo.name for slo in parse_slos(texts)] == [text.split("=")[0] for text in texts]


def test_an_slo_is_measured_as_a_fraction_of_its_limit() -> None:
    assert parse_slo("ttft_p99=500ms").violation(load_metrics(ttft_s=0.75)) == pytest.approx(0.5)
    assert parse_slo("ttft_p99=500ms").violation(load_metrics(ttft_s=0.25)) == pytest.approx(-0.5)


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(
        UsageError,
        match="choose one of throughput, requests, goodput, throughput_per_gpu, requests_per_gpu, cost, energy, ttft_mean",
    ):
        parse_objective("speed")


def test_a_good_request_meets_the_smallest_limit_of_each_latency() -> None:
    slos = [parse_slo(text) for text in ("ttft_p99=2s", "ttft_p50=500ms", "e2e_mean=9s", "e2el_p95=8s", "itl_p99=1ms")]
    assert limits(slos) == {"ttft": 0.5, "e2el": 8.0}
    assert limits([parse_slo("tpot_p95=40ms")]) == {"tpot": pytest.approx(0.04)}
    assert limits([]) == {}


def test_every_objective_is_a_metric_of_a_measurement() -> None:
    found = measured(output_throughput=300.0, ttft_s=0.2, energy_j=7.0)
    values = {name: parse_objective(name, price_per_hour=1.08).value(found) for name in OBJECTIVES}
    seconds = {"ttft": 0.2, "tpot": 0.01, "e2e": 1.0}
    latencies = {f"{name}_{one}": value for name, value in seconds.items() for one in STATISTICS}
    assert (
        values
        == {"throughput": 300.0, "requests": 3.0, "goodput": 3.0, "cost": pytest.approx(1.0), "energy": 7.0}
        | {"throughput_per_gpu": 300.0, "requests_per_gpu": 3.0}
        | latencies
    )


def test_what_a_measurement_lacks_is_no_value() -> None:
    load = load_metrics()
    older = replace(load, ttft_s=replace(present(load.ttft_s), p95=None, std=None), tpot_s=None, goodput=None)
    assert metric_value(older, "ttft_p95_s") is None
    assert metric_value(older, "tpot_p99_s") is None
    assert metric_value(older, "goodput") is None
    assert rank([trial(0, replace(measured(), load=older))], OBJECTIVES["goodput"]) == []


def test_a_measurement_that_the_client_bound_is_still_ranked() -> None:
    trials = [trial(0, measured(output_throughput=100.0, marks=(Mark.CLIENT_BOUND,))), trial(1, measured())]
    assert [t.number for t in rank(trials, THROUGHPUT)] == [0, 1]


SLO = parse_slo("ttft_p99=500ms")


def launch(throughput: float, ttft_s: float = 0.1) -> Measured:
    return measured(output_throughput=throughput, ttft_s=ttft_s)


def searched(*outcomes: Outcome) -> list[Trial]:
    """A search; the first are the defaults."""
    found = []
    for number, outcome in enumerate(outcomes):
        missed = {SLO.name: SLO.violation(outcome.load)} if isinstance(outcome, Measured) else {}
        found.append(replace(trial(number, outcome, is_default=number == 0), violations=missed))
    return found


def answered(
    trials: Sequence[Trial], launches: Mapping[int, Sequence[Outcome]], slos: Sequence[Slo] = (), rounds: int = 3
) -> Decision:
    """The decision after a contest in which each trial's launches come out as given, the last one again and again."""
    contest = contest_of(trials, shortlist(trials, THROUGHPUT, slos), THROUGHPUT, slos, rounds=rounds)
    done = dict.fromkeys(launches, 0)
    while contest.due:
        number = contest.due[0].number
        outcomes = launches[number]
        contest.take(number, outcomes[min(done[number], len(outcomes) - 1)])
        done[number] += 1
    return decision(trials, contest, THROUGHPUT, slos)


def test_the_search_value_of_the_winner_is_not_evidence() -> None:
    """The winner was lucky in the search; launched again it is like the defaults: keep the defaults."""
    trials = searched(launch(100.0), launch(150.0))
    noisy = [launch(value) for value in (99.5, 101.0, 100.2)]
    found = answered(trials, {0: noisy, 1: [launch(value) for value in (101.5, 99.8, 100.9)]})
    assert found.chosen is trials[0]
    assert found.verdict.answer in (Answer.NOT_TOLD_APART, Answer.WORSE)
    real = answered(trials, {0: noisy, 1: [launch(value) for value in (148.0, 151.0, 149.0)]})
    assert (real.chosen, real.verdict.answer) == (trials[1], Answer.BETTER)
    assert real.verdict.gain is not None
    assert real.verdict.gain.gain == pytest.approx(0.49, abs=0.01)


def test_what_cannot_be_told_apart_says_what_would_have_been_seen() -> None:
    trials = searched(launch(100.0), launch(150.0))
    found = answered(trials, {0: [launch(v) for v in (80, 100, 120)], 1: [launch(v) for v in (90, 110, 130)]})
    assert (found.chosen, found.verdict.answer) == (trials[0], Answer.NOT_TOLD_APART)
    assert found.verdict.gain is not None
    assert found.verdict.gain.least_seen is not None
    assert found.verdict.gain.least_seen > 0.3


def test_settings_that_are_slower_when_launched_again_are_worse() -> None:
    trials = searched(launch(100.0), launch(150.0))
    found = answered(trials, {0: [launch(v) for v in (100, 101, 100)], 1: [launch(v) for v in (70, 71, 70)]})
    assert (found.chosen, found.verdict.answer) == (trials[0], Answer.WORSE)


def test_a_winner_that_fails_when_launched_again_is_not_deployed() -> None:
    trials = searched(launch(100.0), launch(150.0))
    found = answered(trials, {0: [launch(100.0)], 1: [failed()]})
    assert (found.chosen, found.verdict.answer) == (trials[0], Answer.CRASHED)
    assert found.verdict.failure == failed()
    assert found.verdict.gain is None  # no gain without launches behind it


def test_a_winner_that_misses_the_slo_when_launched_again_is_not_deployed() -> None:
    trials = searched(launch(100.0), launch(150.0))
    found = answered(trials, {0: [launch(100.0)], 1: [launch(150.0, 0.9)]}, [SLO])
    assert (found.chosen, found.verdict.answer) == (trials[0], Answer.MISSES)
    (missed,) = found.verdict.missed
    assert (missed.slo, missed.worst_s, missed.times, missed.launches) == ("ttft_p99", 0.9, 1, 1)


def test_the_next_of_the_shortlist_takes_the_place_of_one_that_fails() -> None:
    trials = searched(launch(100.0), launch(150.0, 0.3), launch(140.0), launch(130.0))
    launches: dict[int, list[Outcome]] = {
        0: [launch(100.0), launch(100.5)],
        1: [launch(150.0, 0.7)],
        2: [failed()],
        3: [launch(130.0), launch(130.4)],
    }
    found = answered(trials, launches, [SLO])
    assert (found.chosen, found.verdict.answer, found.verdict.trial) == (trials[3], Answer.BETTER, 3)
    assert {side.trial.number: side.standing.value for side in found.finalists} == {
        1: "misses an SLO",
        2: "failed",
        3: "racing",
    }


def test_one_that_missed_by_bad_luck_is_launched_again_when_nobody_else_is_left() -> None:
    trials = searched(launch(100.0), launch(150.0, 0.3))
    launches: dict[int, list[Outcome]] = {
        0: [launch(100.0), launch(100.5)],
        1: [launch(150.0, 0.52), launch(151.0, 0.3), launch(150.0, 0.31), launch(150.5, 0.3)],
    }
    found = answered(trials, launches, [SLO], rounds=5)
    assert (found.chosen, found.verdict.answer) == (trials[1], Answer.BETTER)
    assert found.verdict.missed[0].times == 1


@pytest.mark.parametrize("defaults", [launch(300.0, 0.9), failed()])
def test_where_the_defaults_cannot_be_kept_the_winner_is_verified_on_its_own(defaults: Outcome) -> None:
    trials = searched(defaults, launch(150.0, 0.3))
    found = answered(trials, {0: [launch(300.0, 0.9)], 1: [launch(149.0, 0.3), launch(151.0, 0.31)]}, [SLO])
    assert (found.chosen, found.verdict.answer, found.verdict.launches) == (trials[1], Answer.ALONE, 2)
    assert "the defaults" in found.verdict.why
    assert found.verdict.gain is None


@pytest.mark.parametrize("relaunched", [launch(300.0, 0.9), failed()])
def test_defaults_that_miss_or_fail_only_when_launched_again_are_not_kept(relaunched: Outcome) -> None:
    """The rule is the same for every side; before, such a study could not be read any more."""
    trials = searched(launch(100.0), launch(150.0))
    found = answered(trials, {0: [relaunched], 1: [launch(150.0), launch(151.0)]}, [SLO])
    assert (found.chosen, found.verdict.answer) == (trials[1], Answer.ALONE)


@pytest.mark.parametrize(("defaults_s", "kept"), [((0.51,), False), ((0.51, 0.3, 0.3), True)])
def test_defaults_that_miss_the_slo_in_most_launches_are_not_kept_in_the_winner_s_place(
    defaults_s: tuple[float, ...], kept: bool
) -> None:
    trials = searched(launch(100.0, 0.3), launch(150.0, 0.49))
    found = answered(trials, {0: [launch(100.0, s) for s in defaults_s], 1: [launch(150.0, 0.51)]}, [SLO])
    assert (found.chosen, found.verdict.answer) == (trials[0] if kept else None, Answer.MISSES)
    assert found.verdict.defaults_missed[0].times == (1 if kept else found.verdict.defaults)
    assert ("The defaults missed ttft_p99 in " in answer_text(found, THROUGHPUT)) is True


def test_when_every_side_fails_there_is_nothing_to_deploy() -> None:
    trials = searched(launch(100.0), launch(150.0), launch(120.0))
    found = answered(trials, {number: [failed()] for number in range(3)}, [SLO])
    assert (found.chosen, found.verdict.answer) == (None, Answer.CRASHED)


def test_without_a_contest_the_best_is_not_verified() -> None:
    trials = searched(launch(100.0), launch(150.0))
    found = decision(trials, None, THROUGHPUT, [], "see --verify")
    assert (found.chosen, found.verdict.answer, found.verdict.why) == (trials[1], Answer.NOT_VERIFIED, "see --verify")


def test_without_anything_better_there_is_nothing_to_verify() -> None:
    trials = searched(launch(100.0), launch(90.0))
    found = decision(trials, None, THROUGHPUT, [])
    assert (found.chosen, found.verdict.answer) == (trials[0], Answer.NOTHING_BETTER)


@pytest.mark.parametrize(
    ("outcomes", "kept", "why"),
    [
        ([], False, "no trial has ended yet"),
        ([failed()], False, "no trial could be measured"),
        ([launch(100.0)], True, "no other trial has ended"),
        ([launch(100.0), failed()], True, "no other trial could be measured"),
        ([launch(100.0), launch(90.0)], True, "no trial was better"),
        ([launch(100.0, 5.0), launch(150.0, 6.0)], False, "no trial that was measured meets every SLO"),
    ],
)
def test_where_nothing_is_better_it_is_said_why(outcomes: list[Outcome], kept: bool, why: str) -> None:
    found = decision(searched(*outcomes), None, THROUGHPUT, [SLO])
    assert (found.chosen is not None, found.verdict.answer, found.verdict.why) == (kept, Answer.NOTHING_BETTER, why)


def test_an_unfinished_contest_is_not_verified() -> None:
    trials = searched(launch(100.0), launch(150.0))
    contest = contest_of(trials, shortlist(trials, THROUGHPUT, []), THROUGHPUT, [], rounds=3)
    contest.take(1, launch(150.0))
    found = decision(trials, contest, THROUGHPUT, [], "interrupted")
    assert (found.verdict.answer, found.verdict.why, found.verdict.launches) == (Answer.NOT_VERIFIED, "interrupted", 1)
