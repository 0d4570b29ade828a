"""The Gaussian process: what it knows, how sure it is, and how it takes bounds and expectations."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime  # type: ignore[import-untyped]

from tuner.propose import surrogate
from tuner.propose.surrogate import Data, Surrogate, Vector


def data(
    x: Vector,
    y: Vector,
    *,
    trend: Vector | None = None,
    bound: Vector | None = None,
    error: float = 0.02,
    believed: bool = True,
) -> Data:
    return Data(
        x=x,
        parameter_of=np.arange(x.shape[1]),
        y=y,
        error=np.full(len(y), error),
        bound=np.zeros(len(y), bool) if bound is None else bound.astype(bool),
        trend=trend,
        signal=0.3,
        believed=believed,
    )


def truth(x: Vector) -> Vector:
    found: Vector = 0.5 * x[:, 0] - 0.8 * (x[:, 1] - 0.4) ** 2
    return found


def test_the_gradient_is_that_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((20, 4)), rng.normal(0, 0.3, 20)
    model = Surrogate(data(x, y))
    squares, start = model._squares(x, x), model._start(True, np.log(0.3))
    at = start + rng.normal(0, 0.3, len(start))
    arguments = (squares, np.full((20, 20), 2.25), y, np.full(20, 4e-4), start)
    numeric = approx_fprime(at, lambda theta: surrogate._loss(theta, *arguments)[0], 1e-6)
    assert surrogate._loss(at, *arguments)[1] == pytest.approx(numeric, rel=1e-3, abs=1e-3)


def test_intervals_hold_what_they_promise() -> None:
    """95 % of 1,000 points of 20 functions are within 1.96 standard deviations or nearly so."""
    inside = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, at = rng.random((15, 4)), rng.random((50, 4))
        model = Surrogate(data(x, truth(x) + rng.normal(0, 0.02, 15)))
        mean, deviation = model.predict(at)
        inside += list(np.abs(truth(at) - mean) < 1.96 * deviation)
    assert np.mean(inside) > 0.88


def test_what_was_expected_helps_where_nothing_was_measured() -> None:
    rng = np.random.default_rng(1)
    x, at = rng.random((5, 8)), rng.random((200, 8))
    y = truth(x) + 2.0  # the expectation may be off by a factor
    without = Surrogate(data(x, y - y.mean())).predict(at)[0] + y.mean()
    beside = Surrogate(data(x, y, trend=truth(x))).predict(at, truth(at))[0]
    assert np.std(truth(at) + 2 - beside) < 0.3 * np.std(truth(at) + 2 - without)


def test_an_expectation_that_is_the_wrong_way_round_is_less_likely_than_none() -> None:
    rng = np.random.default_rng(2)
    x = rng.random((6, 5))
    y = 3 * truth(x)
    flat = Surrogate(data(x, y - y.mean())).evidence
    assert Surrogate(data(x, y, trend=-y)).evidence < flat - 1.4
    assert Surrogate(data(x, y, trend=y)).evidence > flat


def test_without_belief_an_expectation_is_one_more_number_whatever_its_sign() -> None:
    rng = np.random.default_rng(3)
    x, at = rng.random((7, 5)), rng.random((100, 5))
    y = 3 * truth(x)
    model = Surrogate(data(x, y - y.mean(), trend=-y, believed=False))
    mean, _ = model.predict(at, -3 * truth(at))
    assert np.corrcoef(mean, truth(at))[0, 1] > 0.9


def test_a_bound_lowers_what_is_believed_there_and_says_nothing_where_less_is_expected() -> None:
    x = np.array([[0.0], [1.0], [0.5]])
    y = np.array([1.0, 1.0, 0.5])
    bound = np.array([False, False, True])
    below, _ = Surrogate(data(x, y, bound=bound)).predict(np.array([[0.5]]))
    exact, _ = Surrogate(data(x[:2], y[:2])).predict(np.array([[0.5]]))
    assert below[0] < 0.55 < exact[0]
    high, _ = Surrogate(data(x, np.array([1.0, 1.0, 9.0]), bound=bound)).predict(np.array([[0.5]]))
    assert high[0] == pytest.approx(exact[0], abs=1e-6)


def test_noisy_points_count_less() -> None:
    x = np.array([[0.0], [0.05], [0.1]])
    model = Surrogate(
        Data(
            x=x,
            parameter_of=np.array([0]),
            y=np.array([0.0, 1.0, 0.0]),
            error=np.array([0.02, 0.8, 0.02]),
            bound=np.zeros(3, bool),
            trend=None,
            signal=0.3,
        )
    )
    assert model.predict(np.array([[0.05]]))[0][0] < 0.2


@pytest.mark.parametrize("believed", [True, False])
def test_believing_what_runs_moves_no_expectation_and_makes_it_surer_nearby(believed: bool) -> None:
    """It is what the process says of the same values, had they been measured."""
    rng = np.random.default_rng(4)
    x, running, at = rng.random((9, 3)), rng.random((4, 3)), rng.random((30, 3))
    model = Surrogate(data(x, truth(x), trend=0.5 * x[:, 0], believed=believed))
    beside = model.believing(running, 0.5 * running[:, 0], 0.02)
    before, after = model.predict(at, 0.5 * at[:, 0]), beside.predict(at, 0.5 * at[:, 0])
    assert after[0] == pytest.approx(before[0], abs=1e-9)
    assert (after[1] <= before[1] + 1e-9).all()
    there, now = model.predict(running, 0.5 * running[:, 0]), beside.predict(running, 0.5 * running[:, 0])
    assert (now[1] < 0.7 * there[1]).any()
    twice = model.believing(running[:2], 0.5 * running[:2, 0], 0.02).believing(running[2:], 0.5 * running[2:, 0], 0.02)
    assert twice.predict(at, 0.5 * at[:, 0])[1] == pytest.approx(after[1], abs=1e-6)
