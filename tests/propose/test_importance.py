"""What a report says of each setting, on functions whose truth is known: never more than the trials can tell."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import exp

import numpy as np
import pytest
from samples import failed, measured, trial

from tuner.decide.objective import OBJECTIVES
from tuner.propose.importance import importances
from tuner.types import Credit, Importance, Mark, Params, Trial, Value

THROUGHPUT, TTFT = OBJECTIVES["throughput"], OBJECTIVES["ttft_p99"]
#: a: 30 % from end to end; b: nothing; c and d: 20 % together; e: 15 % where it is on.
SIZES: Sequence[Value] = (32, 64, 128, 256, 512)


def truth(point: Params) -> float:
    a, c, e = point["a"], point["c"], point["e"]
    assert isinstance(a, int)
    return 1000 * exp(0.3 * (a.bit_length() - 6) / 4 + 0.2 * (c == "on") + 0.15 * bool(e))


def study(count: int, *, seed: int = 0, confounded: bool = True, noise: float = 0.02) -> list[Trial]:
    """Points at random; with `confounded` d is always what c is."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        c = str(rng.choice(["on", "off"]))
        point: dict[str, Value] = {
            "a": SIZES[int(rng.integers(5))],
            "b": float(rng.choice([0.8, 0.85, 0.9, 0.95])),
            "c": c,
            "d": c if confounded else str(rng.choice(["on", "off"])),
            "e": bool(rng.integers(2)),
        }
        found.append(at(number, point, truth(point) * exp(noise * rng.standard_normal())))
    return found


def at(number: int, point: Params, value: float) -> Trial:
    made = trial(
        number, measured(output_throughput=value, ttft_s=100 / max(value, 1e-3)), params=point, is_default=number == 0
    )
    return as_resolved(made, {})


def as_resolved(one: Trial, resolved: Params) -> Trial:
    return replace(one, resolved=resolved)


def told(trials: Sequence[Trial]) -> Mapping[str, Importance]:
    return {one.name: one for one in importances(trials, THROUGHPUT).settings}


@pytest.mark.parametrize("seed", range(5))
def test_what_does_nothing_gets_nothing_and_what_is_confounded_gets_no_number(seed: int) -> None:
    found = told(study(40, seed=seed))
    assert found["b"].credit is Credit.NOTHING
    assert found["b"].high is not None
    assert found["b"].high < 0.1
    for name, other in (("c", "d"), ("d", "c")):
        assert found[name].credit is Credit.ALIASED
        assert found[name].aliases == (other,)
        assert found[name].effect is None
    a, e = found["a"], found["e"]
    assert a.credit is e.credit is Credit.EFFECT
    assert (a.worst, a.best, e.worst, e.best) == (32, 512, False, True)


@pytest.mark.parametrize("count", [12, 20])
def test_intervals_hold_the_truth_mostly(count: int) -> None:
    held = []
    for seed in range(20):
        found = told(study(count, seed=100 + seed, confounded=False))
        for name, log_effect in (("a", 0.3), ("e", 0.15), ("c", 0.2)):
            one = found[name]
            if one.low is not None and one.high is not None:
                held.append(one.low <= exp(log_effect) - 1 <= one.high)
    assert len(held) > 50
    assert sum(held) >= 0.88 * len(held)


def test_the_same_two_are_told_apart_where_they_change_alone() -> None:
    found = told(study(40, confounded=False))
    assert found["c"].credit is Credit.EFFECT
    assert found["d"].credit is Credit.NOTHING


def test_the_order_is_by_effect_and_what_is_not_told_comes_last() -> None:
    credits = [one.credit for one in importances(study(40), THROUGHPUT).settings]
    assert credits == [Credit.EFFECT, Credit.EFFECT, Credit.NOTHING, Credit.ALIASED, Credit.ALIASED]
    assert [one.name for one in importances(study(40), THROUGHPUT).settings][:2] == ["a", "e"]


def test_a_latency_is_better_where_it_is_lower() -> None:
    found = {one.name: one for one in importances(study(40), TTFT).settings}
    assert (found["a"].worst, found["a"].best) == (32, 512)


def few(*points: tuple[Params, float]) -> list[Trial]:
    return [at(number, point, value) for number, (point, value) in enumerate(points)]


def test_a_few_trials_that_all_change_everything_tell_nothing() -> None:
    names = "abcdefgh"
    rng = np.random.default_rng(1)
    points = [({name: int(rng.integers(1, 100)) for name in names}, 1000 + 100 * number) for number in range(5)]
    assert {one.credit for one in told(few(*points)).values()} == {Credit.UNKNOWN}


def test_less_than_four_trials_tell_nothing_and_none_has_no_settings() -> None:
    assert {one.credit for one in told(study(3)).values()} <= {Credit.UNKNOWN, Credit.FIXED}
    assert importances([], THROUGHPUT).settings == ()
    assert importances([trial(0, failed())], THROUGHPUT).settings == ()


def test_one_setting_at_a_time_is_told_from_few_trials() -> None:
    base: Params = {"a": 1, "b": 1}
    points = [(base, 1000.0), ({**base, "a": 2}, 1500.0), ({**base, "b": 2}, 1001.0), (base, 1003.0), (base, 998.0)]
    found = told(few(*points))
    assert found["a"].credit is Credit.EFFECT
    assert found["a"].alone == 3
    assert found["b"].credit is Credit.NOTHING


def test_what_was_never_varied_is_said_so() -> None:
    points = [({"a": n % 3, "b": 7}, 1000.0 + 100 * (n % 3)) for n in range(9)]
    assert told(few(*points))["b"].credit is Credit.FIXED


def test_settings_count_as_the_engine_resolved_them() -> None:
    """b is asked for at random; resolved it is always what a is."""
    rng = np.random.default_rng(2)
    found = []
    for number in range(24):
        a, b = int(rng.integers(2)), int(rng.integers(2))
        found.append(as_resolved(at(number, {"a": a, "b": b}, 1000 * exp(0.3 * a)), {"a": a, "b": a}))
    assert told(found)["a"].credit is told(found)["b"].credit is Credit.ALIASED


def test_what_was_stopped_early_does_not_count() -> None:
    trials = study(30)
    early = measured(output_throughput=1.0, marks=(Mark.STOPPED_EARLY,))
    more = [replace(one, number=100 + one.number, outcome=early, is_default=False) for one in trials]
    assert importances([*trials, *more], THROUGHPUT) == importances(trials, THROUGHPUT)


def test_of_many_trials_some_are_looked_at() -> None:
    found = importances(study(700), THROUGHPUT)
    assert found.measured == 700
    assert 190 <= found.trials <= 200


@pytest.mark.parametrize("value", [0.0, 1e-300])
def test_a_value_without_a_logarithm_is_a_very_bad_one(value: float) -> None:
    trials = study(30)
    found = importances([*trials, at(30, dict(trials[3].params), value)], OBJECTIVES["goodput"])
    assert all(one.effect is None or np.isfinite(one.effect) for one in found.settings)


def test_an_absent_setting_and_odd_values_are_no_error() -> None:
    shapes: Sequence[Callable[[int], Params]] = (
        lambda n: {"a": n, "b": "x"},
        lambda n: {"a": "none", "b": ""},
        lambda n: {"b": True},
        lambda n: {"a": 1.5, "b": 1, "<script>": "\u202e"},
    )
    points = [(shapes[n % 4](n), 1000.0 + n) for n in range(20)]
    assert importances(few(*points), THROUGHPUT).trials == 20
