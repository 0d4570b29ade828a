"""Measured points in, those that a surrogate is fitted to out: all while they are few, later the first, the best, the last, and
others that are spread over the rest. Pure.

A Gaussian process of n points takes n^3. For the same time a subset of the data is hard to beat by better approximations
(Chalupka, Williams & Murray 2013, "A Framework for Evaluating Approximation Methods for Gaussian Process Regression", where it
is spread by farthest points, too: Gonzalez 1985).
"""

import numpy as np
from numpy.typing import NDArray

from tuner.propose.encoding import Matrix
from tuner.propose.surrogate import Vector

#: A surrogate is fitted to at most so many points, of which a quarter are the best and a quarter the last.
MOST = 128


def subset(x: Matrix, score: Vector, exact: NDArray[np.bool_], most: int = MOST) -> list[int]:
    """Their places, rising. `exact` is false where the score is but a bound: such a point is not among the best."""
    count = len(score)
    if count <= most:
        return list(range(count))
    best = np.argsort(-np.where(exact, score, -np.inf), kind="stable")[: most // 4]
    kept = {0, *map(int, best), *range(count - most // 4, count)}
    apart = np.min([_squares(x, x[i]) for i in kept], axis=0)
    while len(kept) < most:
        apart[list(kept)] = -1.0
        farthest = int(apart.argmax())
        kept.add(farthest)
        apart = np.minimum(apart, _squares(x, x[farthest]))
    return sorted(kept)


def _squares(x: Matrix, one: Vector) -> Vector:
    found: Vector = ((x - one) ** 2).sum(axis=1)
    return found
