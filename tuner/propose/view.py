"""Points in; what is known of them before they are launched, as arrays, out. Pure but for the prior that is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from tuner.propose.encoding import Encoding, Matrix
from tuner.propose.prior import Earlier, Expected, Prior
from tuner.propose.surrogate import Vector
from tuner.types import Params

#: An expectation under which all points are this near to each other, in a logarithm, says nothing.
_FLAT = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """(points,) each, `x` (points, columns). `trend` is the logarithm of what is expected of the objective, the larger the
    better, None where nothing is; `slos` the logarithms of latencies as shares of their limits."""

    points: list[Params]
    x: Matrix
    trend: Vector | None
    slos: Mapping[str, Vector]
    starts: Vector
    keys: list[str | None]

    def only(self, at: NDArray[np.bool_]) -> "View":
        """Of the points at these places."""
        return View(
            points=[point for point, kept in zip(self.points, at, strict=True) if kept],
            x=self.x[at],
            trend=None if self.trend is None else self.trend[at],
            slos={name: values[at] for name, values in self.slos.items()},
            starts=self.starts[at],
            keys=[key for key, kept in zip(self.keys, at, strict=True) if kept],
        )

    @property
    def says_something(self) -> bool:
        """Whether its trend tells the points apart."""
        return self.trend is not None and len(self.points) > 1 and float(np.ptp(self.trend)) > _FLAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """What points are looked at with: `signs` are 1 for an objective that is maximized, else -1, `metrics` their names,
    `weights` what each counts."""

    encoding: Encoding
    prior: Prior | None
    signs: tuple[int, ...]
    metrics: tuple[str, ...]
    weights: tuple[float, ...]

    def at(self, points: Sequence[Params]) -> View:
        expected = self._expected(points)
        names = {name for one in expected for name in one.slos}
        return View(
            points=list(points),
            x=self.encoding.encode(points),
            trend=self._trend(expected),
            slos={name: np.log([one.slos.get(name, 1.0) for one in expected]) for name in sorted(names)},
            starts=np.array([one.starts for one in expected]),
            keys=[one.compile_key for one in expected],
        )

    def earlier(self, earlier: Sequence[Earlier]) -> list[tuple[Params, float, float, float]]:
        """Of what earlier studies found: the point, what would be measured there if this prior is off as that one was, the
        error of that, and what is expected there. Without points of which nothing is expected."""
        found = []
        for one, expected in zip(earlier, self._expected([one.params for one in earlier]), strict=True):
            trend, residuals = self._score(expected), [one.residual.get(metric) for metric in self.metrics]
            known = [residual for residual in residuals if residual is not None]
            if trend is not None and len(known) == len(self.signs):
                moved = sum(w * s * r for w, s, r in zip(self.weights, self.signs, known, strict=True))
                found.append((one.params, trend + moved, one.error, trend))
        return found

    def _expected(self, points: Sequence[Params]) -> Sequence[Expected]:
        return [Expected()] * len(points) if self.prior is None else self.prior.expect(points)

    def _trend(self, expected: Sequence[Expected]) -> Vector | None:
        """Where nothing is known of some points, the median of the others is taken for them."""
        scores = [self._score(one) for one in expected]
        known = [score for score in scores if score is not None]
        if not known:
            return None
        usual = float(np.median(known))
        return np.array([usual if score is None else score for score in scores])

    def _score(self, one: Expected) -> float | None:
        if len(one.values) != len(self.signs) or min(one.values) <= 0:
            return None
        return sum(w * s * log(v) for w, s, v in zip(self.weights, self.signs, one.values, strict=True))
