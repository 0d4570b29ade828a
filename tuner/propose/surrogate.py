"""Measured points in; what is to be expected of any other, with its uncertainty, out: a Gaussian process. Pure.

Matern 5/2 over encoded points, one length scale for all parameters while there are few points, one a parameter later
(Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, 4.2 and 5.4.1). Values are logarithms, so a difference of
0.01 is 1 %. A mean that is the same everywhere, and how much of a `trend` is believed, are part of the process (2.7). It knows
neither settings nor servers.
"""

from copy import copy
from dataclasses import dataclass
from math import exp, log, pi, sqrt

import numpy as np
from numpy.linalg import LinAlgError
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular  # type: ignore[import-untyped]
from scipy.optimize import minimize  # type: ignore[import-untyped]
from scipy.special import log_ndtr  # type: ignore[import-untyped]

from tuner.decide.repeats import LEAST_ERROR
from tuner.propose.encoding import Matrix

Vector = NDArray[np.float64]

#: From so many points on each parameter has a length scale of its own.
OWN_SCALES = 15
#: Logarithms of length scales are normal around sqrt(2) + log(parameters) / 2 with sqrt(3) (Hvarfner et al. 2024, "Vanilla
#: Bayesian Optimization Performs Great in High Dimensions").
_SCALE_MEAN, _SCALE_SD = sqrt(2.0), sqrt(3.0)
#: Of the logarithms of the signal's and of the unexplained noise's standard deviation.
_SIGNAL_SD, _NOISE, _NOISE_SD = 0.7, 0.03, 0.7
#: How far the mean may be off, and how far the trend's weight: from 1 where it is believed, from 0 where it is only one more
#: number that is known of a point.
_MEAN_SD, _TREND_SD, _DOUBTED_SD = 1.5, 0.35, 1.0
_BOUNDS = 6.0
_JITTER = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """`x` is (points, columns), `parameter_of` the parameter of each column; `y` logarithms, the larger the better, `error`
    their standard deviations, `bound` true where the truth is no better than y. `trend` is what was expected of each point,
    None without any expectation; with `believed` the values are thought to follow it, by how much they differ beside is
    `signal`."""

    x: Matrix
    parameter_of: NDArray[np.intp]
    y: Vector
    error: Vector
    bound: NDArray[np.bool_]
    trend: Vector | None
    signal: float
    believed: bool = True


class Surrogate:
    """Fitted to data of at least one point that is no bound."""

    def __init__(self, data: Data) -> None:
        self._parameters = int(data.parameter_of.max(initial=0)) + 1
        self._data = data
        self._trend_sd = _TREND_SD if data.believed else _DOUBTED_SD
        y, error, kept = self._with_bounds(data)
        self._fit(y, error, kept)

    @property
    def has_trend(self) -> bool:
        return self._data.trend is not None

    @property
    def evidence(self) -> float:
        """The logarithm of the data's probability with the most probable hyperparameters, whose own is counted."""
        return self._evidence

    def predict(self, x: Matrix, trend: Vector | None = None) -> tuple[Vector, Vector]:
        """Mean and standard deviation at each of the points, without the noise of a measurement."""
        across = self._covariance(x, trend, self._x, self._trend)
        prior = np.exp(2 * self._theta[-2]) + _MEAN_SD**2
        if trend is not None and self._data.trend is not None:
            prior = prior + (self._trend_sd * (trend - self._center)) ** 2
        mean = across @ self._alpha + (trend if trend is not None and self._data.believed else 0.0)
        half = solve_triangular(self._factor, across.T, lower=True)
        return mean, np.sqrt(np.maximum(prior - np.sum(half * half, axis=0), 1e-12))

    def believing(self, x: Matrix, trend: Vector | None, error: float) -> "Surrogate":
        """As if just what is expected of these points had been measured there, with this error: it expects the same
        everywhere, and is surer near to them. What was learned of the data itself stays."""
        made, across = copy(self), self._covariance(x, trend, self._x, self._trend)
        half = solve_triangular(self._factor, across.T, lower=True)
        inner = self._covariance(x, trend, x, trend) - half.T @ half
        inner[np.diag_indices_from(inner)] += error**2 + np.exp(2 * self._theta[-1]) + _JITTER
        made._factor = np.block(
            [[self._factor, np.zeros((len(self._x), len(x)))], [half.T, cholesky(inner, lower=True)]]
        )
        made._alpha = np.concatenate([self._alpha, np.zeros(len(x))])
        made._x = np.vstack([self._x, x])
        made._trend = None if self._trend is None or trend is None else np.concatenate([self._trend, trend])
        return made

    def contrast(self, one: Matrix, other: Matrix) -> tuple[float, float, float]:
        """By how much the mean over the points `one` is above that over `other`: what is expected of it, its standard
        deviation, and what that was before anything was measured. Of a process without a trend."""
        assert self._data.trend is None
        points = np.vstack([one, other])
        weights = np.concatenate([np.full(len(one), 1 / len(one)), np.full(len(other), -1 / len(other))])
        prior = float(weights @ self._kernel(points, points, self._theta) @ weights)
        across = weights @ self._kernel(points, self._x, self._theta)  # the mean cancels
        half = solve_triangular(self._factor, across, lower=True)
        return float(across @ self._alpha), sqrt(max(prior - float(half @ half), 0.0)), sqrt(max(prior, 0.0))

    def _with_bounds(self, data: Data) -> tuple[Vector, Vector, NDArray[np.bool_]]:
        """Each bound as what the others let expect below it: the mean and the deviation of a normal that is cut off there
        (Tobin's censored observations, by moments); where they expect less anyway, it says nothing and is left out."""
        y, error, kept = data.y.copy(), np.maximum(data.error, LEAST_ERROR), ~data.bound
        if not data.bound.any():
            return y, error, kept
        self._fit(y, error, kept)
        at = np.flatnonzero(data.bound)
        mean, deviation = self.predict(data.x[at], None if data.trend is None else data.trend[at])
        for index, expected, sd in zip(at, mean, deviation, strict=True):
            cut = (y[index] - expected) / sd
            ratio = exp(-cut * cut / 2 - float(log_ndtr(cut))) / sqrt(2 * pi)
            if cut < 1.0:
                y[index] = expected - sd * ratio
                error[index] = max(sd * sqrt(max(1 - cut * ratio - ratio * ratio, 1e-4)), LEAST_ERROR)
                kept[index] = True
        return y, error, kept

    def _fit(self, y: Vector, error: Vector, kept: NDArray[np.bool_]) -> None:
        data = self._data
        trend = np.zeros(len(y)) if data.trend is None else data.trend
        self._center = float(trend[kept].mean())
        rest, noise = (y - trend * data.believed)[kept], error[kept] ** 2
        x = data.x[kept]
        self._x, self._trend = x, None if data.trend is None else data.trend[kept]
        fixed = self._linear(self._trend, self._trend, len(x), len(x))
        squares = self._squares(x, x)
        own = len(x) >= OWN_SCALES
        start = self._start(own, log(data.signal))
        found = minimize(
            _loss,
            start,
            args=(squares if own else squares.sum(axis=0, keepdims=True), fixed, rest, noise, start),
            jac=True,
            method="L-BFGS-B",
            bounds=[(value - _BOUNDS, value + _BOUNDS) for value in start],
            options={"maxiter": 60},
        )
        scales = found.x[:-2] if own else np.repeat(found.x[:-2], self._parameters)
        self._theta = np.concatenate([scales, found.x[-2:]])
        self._evidence = -float(found.fun)
        covariance = self._kernel(x, x, self._theta) + fixed
        covariance[np.diag_indices_from(covariance)] += noise + np.exp(2 * self._theta[-1]) + _JITTER
        self._factor = cholesky(covariance, lower=True)
        self._alpha = cho_solve((self._factor, True), rest)

    def _start(self, own: bool, signal: float) -> Vector:
        scale = _SCALE_MEAN + log(self._parameters) / 2
        return np.array([scale] * (self._parameters if own else 1) + [signal, log(_NOISE)])

    def _squares(self, one: Matrix, other: Matrix) -> NDArray[np.float64]:
        """(parameters, points, points): squared distances along each parameter."""
        apart = (one[:, None, :] - other[None, :, :]) ** 2
        found = np.zeros((self._parameters, len(one), len(other)))
        for column, parameter in enumerate(self._data.parameter_of):
            found[parameter] += apart[:, :, column]
        return found

    def _kernel(self, one: Matrix, other: Matrix, theta: Vector) -> Matrix:
        weights = np.exp(-2 * theta[:-2])[self._data.parameter_of]
        scaled = np.sqrt(weights)
        a, b = one * scaled, other * scaled
        square = np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2 * a @ b.T, 0.0)
        found: Matrix = np.exp(2 * theta[-2]) * _matern(np.sqrt(5 * square))
        return found

    def _covariance(self, one: Matrix, its: Vector | None, other: Matrix, others: Vector | None) -> Matrix:
        """Of the truth at each of some points, whose trend is `its`, with that at each of others."""
        found = self._kernel(one, other, self._theta)
        found += self._linear(its, others, len(one), len(other))
        return found

    def _linear(self, one: Vector | None, other: Vector | None, rows: int, columns: int) -> Matrix:
        """Of the mean, and of the trend's weight."""
        found = np.full((rows, columns), _MEAN_SD**2)
        if one is not None and other is not None and self._data.trend is not None:
            found += self._trend_sd**2 * np.outer(one - self._center, other - self._center)
        return found


def _matern(distance: Matrix) -> Matrix:
    """`distance` is sqrt(5) times that in length scales."""
    found: Matrix = (1 + distance + distance * distance / 3) * np.exp(-distance)
    return found


def _loss(
    theta: Vector, squares: NDArray[np.float64], fixed: Matrix, y: Vector, noise: Vector, start: Vector
) -> tuple[float, Vector]:
    """Minus the logarithm of the evidence and of the hyperparameters' prior, and its gradient (Rasmussen & Williams, 5.9).
    theta: the length scales' logarithms, the signal's, the noise's."""
    weights = np.exp(-2 * theta[:-2])
    distance = np.sqrt(5 * np.maximum(np.tensordot(weights, squares, axes=1), 0.0))
    signal, extra = np.exp(2 * theta[-2]), np.exp(2 * theta[-1])
    kernel = signal * _matern(distance)
    covariance = kernel + fixed
    covariance[np.diag_indices_from(covariance)] += noise + extra + _JITTER
    away = (theta - start) / np.array([_SCALE_SD] * (len(theta) - 2) + [_SIGNAL_SD, _NOISE_SD])
    try:
        factor = cholesky(covariance, lower=True)
    except LinAlgError:
        return 1e10, np.zeros_like(theta)
    alpha = cho_solve((factor, True), y)
    value = 0.5 * y @ alpha + np.log(np.diag(factor)).sum() + 0.5 * len(y) * log(2 * pi) + 0.5 * away @ away
    inner = cho_solve((factor, True), np.eye(len(y))) - np.outer(alpha, alpha)
    by_square = (
        signal * (5 / 3) * (1 + distance) * np.exp(-distance)
    )  # times weight * square: of a length scale's logarithm
    gradient = np.empty_like(theta)
    for index, weight in enumerate(weights):
        gradient[index] = 0.5 * np.sum(inner * by_square * weight * squares[index])
    gradient[-2] = np.sum(inner * kernel)
    gradient[-1] = extra * np.trace(inner)
    return float(value), gradient + away / np.array([_SCALE_SD] * (len(theta) - 2) + [_SIGNAL_SD, _NOISE_SD])
