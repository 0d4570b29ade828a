from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import failed, load_metrics, measured, trial

from tuner.decide.objective import OBJECTIVES, metric_value, parse_objective
from tuner.decide.rank import best, rank
from tuner.decide.slo import limits, parse_slo
from tuner.decide.verdict import decision, verdict
from tuner.errors import UsageError
from tuner.types import Mark

THROUGHPUT = OBJECTIVES["throughput"]
TTFT = OBJECTIVES["ttft_p99"]


def test_a_failed_trial_never_wins_whatever_the_direction() -> None:
    trials = [trial(0, failed()), trial(1, measured(output_throughput=10.0)), trial(2, failed())]
    for objective in OBJECTIVES.values():
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
        ("ttft_p99=5.0.0ms", "5.0.0 is no number"),
        ("ttft_p99=0ms", "above zero"),
        ("ttft_p99", "unknown metric"),
    ],
)
def test_a_bad_slo_is_one_sentence(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_slo(text)


def test_an_slo_is_measured_as_a_fraction_of_its_limit() -> None:
    assert parse_slo("ttft_p99=500ms").violation(load_metrics(ttft_s=0.75)) == pytest.approx(0.5)
    assert parse_slo("ttft_p99=500ms").violation(load_metrics(ttft_s=0.25)) == pytest.approx(-0.5)


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(UsageError, match="choose one of throughput, requests, goodput, ttft_p95, ttft_p99"):
        parse_objective("speed")


def test_a_good_request_meets_the_smallest_limit_of_each_latency() -> None:
    slos = [parse_slo(text) for text in ("ttft_p99=2s", "ttft_p50=500ms", "e2e_mean=9s", "e2el_p95=8s", "itl_p99=1ms")]
    assert limits(slos) == {"ttft": 0.5, "e2el": 8.0}
    assert limits([parse_slo("tpot_p95=40ms")]) == {"tpot": pytest.approx(0.04)}
    assert limits([]) == {}


def test_every_objective_is_a_metric_of_a_measurement() -> None:
    load = load_metrics(output_throughput=300.0, ttft_s=0.2)
    values = {name: objective.value(load) for name, objective in OBJECTIVES.items()}
    assert values == {
        "throughput": 300.0,
        "requests": 3.0,
        "goodput": 3.0,
        "ttft_p95": 0.2,
        "ttft_p99": 0.2,
        "tpot_p95": 0.01,
        "tpot_p99": 0.01,
        "e2e_p95": 1.0,
        "e2e_p99": 1.0,
    }


def test_what_a_measurement_lacks_is_no_value() -> None:
    load = load_metrics()
    older = replace(load, ttft_s=replace(load.ttft_s, p95=None, std=None), tpot_s=None, goodput=None)
    assert metric_value(older, "ttft_p95_s") is None
    assert metric_value(older, "tpot_p99_s") is None
    assert metric_value(older, "goodput") is None
    assert rank([trial(0, replace(measured(), load=older))], OBJECTIVES["goodput"]) == []


def test_goodput_may_be_zero() -> None:
    goodput = OBJECTIVES["goodput"]
    assert verdict(goodput, [0.0, 0.0], [5.0, 5.1]).better
    assert verdict(goodput, [0.0, 0.0], [5.0, 5.1]).noise is None
    assert not verdict(goodput, [0.0, 0.0], [0.0, 0.0]).better
    assert not verdict(goodput, [5.0, 5.1], [0.0, 0.0]).better


def test_a_measurement_that_the_client_bound_is_still_ranked() -> None:
    trials = [trial(0, measured(output_throughput=100.0, marks=(Mark.CLIENT_BOUND,))), trial(1, measured())]
    assert [t.number for t in rank(trials, THROUGHPUT)] == [0, 1]


def test_better_needs_a_gain_that_is_no_chance() -> None:
    assert verdict(THROUGHPUT, [100, 102, 101], [130, 128]).better
    assert verdict(TTFT, [0.5, 0.52], [0.2, 0.21]).better
    assert not verdict(THROUGHPUT, [100, 102, 131], [130, 128]).better  # the defaults were once as fast
    assert not verdict(THROUGHPUT, [100, 120], [131]).better  # faster, but so few launches vary too much
    assert not verdict(THROUGHPUT, [100], [130]).better  # one launch each tells nothing of the noise
    assert not verdict(THROUGHPUT, [100.0, 100.01, 100.02], [100.5, 100.51]).better  # real, and not worth it
    assert not verdict(THROUGHPUT, [100, 102, 101], [70, 71]).better


def test_the_t_test_agrees_with_a_worked_example() -> None:
    """Pooled variance of 10, 12, 14 and 15, 17 is 10/3; t = 4 / sqrt(10/3 * 5/6) = 2.4 > 2.353, the 95 % point for 3."""
    found = verdict(THROUGHPUT, [10, 12, 14], [15, 17])
    assert found.better
    assert found.noise == pytest.approx((10 / 3) ** 0.5 / 12)
    assert not verdict(THROUGHPUT, [10, 12, 14], [14.9, 16.9]).better  # t = 2.34


@given(st.lists(st.floats(1, 1e4), min_size=2, max_size=5))
def test_equal_settings_are_never_called_better(values: list[float]) -> None:
    assert not verdict(THROUGHPUT, values, values).better


def test_the_search_value_of_the_winner_is_not_evidence() -> None:
    """The winner was lucky in the search; launched again it is like the defaults: keep the defaults."""
    trials = [trial(0, measured(output_throughput=100.0), is_default=True), trial(1, measured(output_throughput=150.0))]
    lucky = [(1, measured(output_throughput=101.5)), (0, measured(output_throughput=99.5))]
    found = decision(trials, lucky, THROUGHPUT, [])
    assert found.chosen is trials[0]
    assert found.verdict is not None
    assert not found.verdict.better
    real = [(1, measured(output_throughput=148.0)), (0, measured(output_throughput=99.5))]
    assert decision(trials, real, THROUGHPUT, []).chosen is trials[1]


def test_a_forked_server_is_not_compared_with_a_plain_one() -> None:
    """The defaults' measurement of the search counts only if their server was started as the later ones are."""
    again = [(1, measured(output_throughput=120.0)), (0, measured(output_throughput=99.0))] * 2
    first, winner = measured(output_throughput=100.0), trial(1, measured(output_throughput=150.0))
    for start, launches in (("plain", 3), ("warm", 2)):
        found = decision([trial(0, replace(first, start=start), is_default=True), winner], again, THROUGHPUT, [])
        assert found.verdict is not None
        assert (found.verdict.defaults, found.verdict.winner) == (launches, 2)


def test_a_winner_that_fails_when_launched_again_is_not_deployed() -> None:
    trials = [trial(0, measured(output_throughput=100.0), is_default=True), trial(1, measured(output_throughput=150.0))]
    found = decision(trials, [(1, failed()), (0, measured(output_throughput=99.5))], THROUGHPUT, [])
    assert found.chosen is trials[0]


def test_a_winner_that_misses_the_slo_when_launched_again_is_not_deployed() -> None:
    trials = [trial(0, measured(output_throughput=100.0), is_default=True), trial(1, measured(output_throughput=150.0))]
    again = [(1, measured(output_throughput=150.0, ttft_s=0.9)), (0, measured(output_throughput=100.0))]
    assert decision(trials, again, THROUGHPUT, [parse_slo("ttft_p99=500ms")]).chosen is trials[0]


def test_defaults_that_fail_leave_the_winner_without_a_verdict() -> None:
    trials = [trial(0, failed(), is_default=True), trial(1, measured(output_throughput=150.0))]
    found = decision(trials, [], THROUGHPUT, [])
    assert (found.chosen, found.verdict) == (trials[1], None)


def test_nothing_measured_means_nothing_to_deploy() -> None:
    assert decision([trial(0, failed(), is_default=True)], [], THROUGHPUT, []).chosen is None
