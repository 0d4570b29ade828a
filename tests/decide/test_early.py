"""What a launch has to outdo, and how often one as good is stopped: seeded simulations of the product's own functions."""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from math import exp, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import failed, measured, trial

from tuner.decide.ballast import ballast
from tuner.decide.early import CHANCE, Outdo, SoFar, latency_so_far, level, outdo, stopped, throughput_so_far
from tuner.decide.objective import OBJECTIVES
from tuner.decide.rank import best, rank
from tuner.decide.shortlist import is_near, shortlist
from tuner.decide.slo import parse_slo
from tuner.types import Mark, Trial
from tuner.workload.presets import PRESETS

CHAT, OPEN = PRESETS["chat"], PRESETS["open-chat"]
THROUGHPUT, REQUESTS, TTFT = (OBJECTIVES[name] for name in ("throughput", "requests", "ttft_p50"))
SLO = parse_slo("ttft_p99=500ms")


def a_trial(
    number: int, throughput: float, ttft_s: float = 0.1, *, stopped: bool = False, start: str = "plain"
) -> Trial:
    found = replace(measured(output_throughput=throughput, ttft_s=ttft_s), start=start)
    marks = (Mark.STOPPED_EARLY,) if stopped else ()
    told = replace(trial(number, replace(found, marks=marks), is_default=number == 0), params={"x": number})
    return replace(told, violations={SLO.name: SLO.violation(found.load)})


def test_the_best_that_meets_the_slos_for_sure_is_to_be_outdone() -> None:
    """What met its SLO by a hair is no bar: it may be that it cannot be kept."""
    trials = [a_trial(0, 100), a_trial(1, 150, 0.49), a_trial(2, 130, 0.2), a_trial(3, 190, 0.9), trial(4, failed())]
    found = outdo(trials, THROUGHPUT, [SLO], CHAT)
    assert found is not None
    assert (found.trial, found.value, found.metric) == (2, 130, "output_throughput")
    assert outdo([a_trial(0, 100, 0.9)], THROUGHPUT, [SLO], CHAT) is None
    assert outdo([], THROUGHPUT, [], CHAT) is None


def test_it_is_the_farther_away_the_more_it_was_chosen_from() -> None:
    few, many = (outdo([a_trial(n, 100) for n in range(count)], THROUGHPUT, [], CHAT) for count in (1, 20))
    assert few is not None
    assert many is not None
    assert 0.07 < few.margin < many.margin < 0.13
    assert few.bar == pytest.approx(100 * exp(-few.margin))


@pytest.mark.parametrize("start", ["plain", "warm"])
def test_what_the_shortlist_would_launch_again_is_never_stopped(start: str) -> None:
    base = a_trial(0, 50, start=start)
    for throughput in np.linspace(80, 100, 41):
        trials = [base, a_trial(1, 100, start=start), a_trial(2, float(throughput), start=start)]
        leader, *others = shortlist(trials, THROUGHPUT, [])
        bar = outdo(trials[:2], THROUGHPUT, [], CHAT)
        assert bar is not None
        if any(is_near(one, leader, THROUGHPUT) for one in others):
            assert not bar.is_beyond(float(throughput))


def test_nothing_is_to_be_outdone_where_a_part_of_a_window_does_not_tell() -> None:
    trials = [a_trial(0, 100)]
    assert outdo(trials, REQUESTS, [], CHAT) is not None
    assert outdo(trials, THROUGHPUT, [], OPEN) is None
    assert outdo(trials, TTFT, [], OPEN) is not None
    assert outdo(trials, TTFT, [], replace(OPEN, find_rate=True)) is None
    assert outdo(trials, OBJECTIVES["ttft_p99"], [], OPEN) is None
    assert outdo(trials, OBJECTIVES["goodput"], [SLO], OPEN) is None


def test_a_latency_has_to_be_below_and_launches_of_it_differ_more() -> None:
    found = outdo([a_trial(0, 1, 0.2), a_trial(1, 1, 0.1)], TTFT, [], OPEN)
    assert found is not None
    assert (found.trial, found.value) == (1, 0.1)
    assert found.bar > 0.17
    assert found.is_beyond(0.3)
    assert not found.is_beyond(0.15)


def test_a_clock_that_runs_faster_changes_nothing() -> None:
    slow = Outdo(trial=0, metric="output_throughput", maximize=True, value=100, margin=0.1, noise=0.05)
    fast = slow.faster(10)
    assert fast.value == 1000
    assert fast.noise / sqrt(0.3) == pytest.approx(slow.noise / sqrt(3))
    latency = replace(slow, metric="ttft_p99_s", maximize=False, value=0.5)
    assert latency.faster(10).value == pytest.approx(0.05)


def test_the_looks_share_the_chance() -> None:
    assert sum(level(look) for look in range(1, 10_000)) == pytest.approx(CHANCE / 2, rel=1e-3)


def test_a_window_knows_no_more_than_the_best_one_did() -> None:
    assert throughput_so_far([100.0] * 12, None, 3.0, 0.0, 1) == SoFar(100.0, 100.0)
    noisy = throughput_so_far([100.0] * 12, None, 3.0, 0.03, 1)
    assert noisy is not None
    assert noisy.at_best > 105
    assert throughput_so_far([100.0] * 9, None, 3.0, 0.0, 1) is None
    assert throughput_so_far([0.0] * 12, None, 3.0, 0.0, 1) is None


def test_a_latency_needs_requests_enough() -> None:
    values = np.random.default_rng(1).lognormal(size=4000)
    few = {"ttft": values[:100], "tpot": values, "e2el": values}
    assert latency_so_far("ttft_p50_s", few, 1) is not None
    many = latency_so_far("ttft_p99_s", {**few, "ttft": values}, 1)
    assert many is not None
    assert 0 < many.at_best < many.value
    assert latency_so_far("ttft_mean_s", few, 1) is not None
    assert latency_so_far("ttft_p99_s", {**few, "ttft": values[:0]}, 1) is None


def test_what_was_stopped_early_never_wins() -> None:
    """Not even where the one that it could not outdo is gone."""
    trials = [a_trial(0, 100), a_trial(1, 150), a_trial(2, 140, stopped=True), a_trial(3, 999, stopped=True)]
    assert [one.number for one in rank(trials, THROUGHPUT)] == [1, 0]
    found = best(trials, THROUGHPUT)
    assert found is not None
    assert found.number == 1
    assert [candidate.trial.number for candidate in shortlist(trials, THROUGHPUT, [])] == [1]
    assert ballast(trials, THROUGHPUT, []) == ()


def test_a_record_is_stopped_where_a_window_would_have_been() -> None:
    bar = Outdo(trial=0, metric="output_throughput", maximize=True, value=100, margin=0.08, noise=0.02 * sqrt(12))
    assert stopped(bar, 95.0, 12.0) is None
    half = stopped(bar, 50.0, 12.0)
    assert half is not None
    assert half[0] == 3.0
    later = stopped(bar, 85.0, 12.0)
    assert later is None or later[0] > 3.0
    assert stopped(replace(bar, maximize=False), 300.0, 12.0) is None


@pytest.fixture(scope="module")
def truth() -> Iterator[Any]:
    """benchmarks/truth/early.py."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "truth"))
    try:
        yield importlib.import_module("early")
    finally:
        del sys.path[0]


@pytest.mark.long
@pytest.mark.parametrize("name", ["AR(1) of 0.5, ticks differ by 5%", "AR(1) of 0.9, ticks differ by 5%", "newton-32"])
def test_what_is_as_good_is_stopped_in_one_of_a_hundred_windows_at_the_most(truth: Any, name: str) -> None:
    """250 windows each: with a chance of 1 %, more than 7 would be seen in 0.4 %."""
    _, told = truth._row(name, 250)
    shares = [float(part.split("wrongly ")[1].rstrip("%")) / 100 for part in told.split("; ") if "wrongly" in part]
    assert len(shares) == 2
    assert max(shares) <= 7 / 250
    half = next(part for part in told.split("; ") if part.startswith("50%"))
    assert half.startswith("50% worse: stopped 100%")
    assert float(half.split("saved ")[1].rstrip("%")) > 60
