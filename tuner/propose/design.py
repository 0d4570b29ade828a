"""What is expected of points in; which are launched before anything was learned out. Pure.

After the defaults: the best that is expected; where that is not what it was expected to be, the best that differs from it in
every group, and a contrast: the best at the far end of what is expected to matter most. The first shows what the expectation
is worth where it counts, the others whether it can be believed at all. Without any expectation: what the space enqueues, and
points far from all others.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tuner.propose.encoding import Encoding, Matrix
from tuner.propose.surrogate import Vector
from tuner.types import Params

#: Points after the defaults that are launched before a surrogate chooses, with and without an expectation.
STEPS, STEPS_WITHOUT = 3, 4
#: Points that are as good as the best one, in a logarithm, and how many of them are asked for aliases.
_AS_GOOD, _MOST = 0.05, 12
#: An expected gain, a logarithm, from which on a launch shows what the expectation is worth; and how much of it has to be seen.
_SHOWS, _SHOWN = 0.05, 0.6
_RIDGE = 1e-3
_ALIKE = 1 - 1e-9


def is_to_be_tested(trend: Vector, score: Sequence[float]) -> bool:
    """Whether a gain over the first point was expected of what was launched, and nothing that was measured has it, or most of
    it. Else the rest of the design would bring nothing (docs/search.md). `trend` is of the points that were measured, whose
    scores are given, and then of those that run."""
    expected = trend - trend[0]
    shows, measured = expected > _SHOWS, np.array(score) - np.array(score[:1])
    seen = slice(len(measured))
    return bool(shows.any()) and not (shows[seen] & (measured >= _SHOWN * expected[seen])).any()


def second(
    points: Sequence[Params], utility: Vector, encoding: Encoding, groups: Mapping[str, str], design: Sequence[Params]
) -> int:
    """The index of the best point that differs from the design's last one in most groups."""
    first = design[-1]
    differing = np.array([_groups_apart(point, first, groups) for point in points])
    possible = np.flatnonzero(np.isfinite(utility))
    most = differing[possible].max()
    return _fewest_aliases([int(i) for i in possible if differing[i] == most], points, utility, encoding, design)


def contrast(
    points: Sequence[Params], x: Matrix, trend: Vector, utility: Vector, encoding: Encoding, design: Sequence[Params]
) -> int:
    """The index of the best point at the far end of the strongest direction of the trend."""
    direction = _strongest(x, trend, encoding)
    columns = encoding.parameter_of == direction[0]
    along = x[:, columns] @ direction[1]
    possible = np.flatnonzero(np.isfinite(utility))
    worst = along[possible].min()
    far = [int(i) for i in possible if along[i] <= worst + 1e-9]
    return _fewest_aliases(far, points, utility, encoding, design)


def farthest(x: Matrix, seen: Matrix, possible: Sequence[int], rng: np.random.Generator) -> int:
    """Of the possible points one that is far from all that were seen."""
    if not len(seen):
        return int(rng.choice(possible))
    some = rng.choice(possible, size=min(len(possible), 64), replace=False)
    apart = ((x[some][:, None, :] - seen[None, :, :]) ** 2).sum(axis=2).min(axis=1)
    return int(some[int(apart.argmax())])


def aliases(design: Sequence[Params], encoding: Encoding) -> int:
    """How many pairs of parameters rise and fall together, or against each other, in all points of the design: what one of
    them does cannot be told from what the other does."""
    scores = np.nan_to_num(encoding.scores(design), nan=-1.0)
    moving = scores[:, np.ptp(scores, axis=0) > 0]
    if moving.shape[1] < 2:
        return 0
    correlation: Matrix = np.atleast_2d(np.corrcoef(moving, rowvar=False))
    upper = np.abs(correlation[np.triu_indices(len(correlation), k=1)])
    return int((upper > _ALIKE).sum())


def _fewest_aliases(
    indices: Sequence[int], points: Sequence[Params], utility: Vector, encoding: Encoding, design: Sequence[Params]
) -> int:
    """Of those that are about as good as the best the one that leaves the fewest aliases."""
    ordered = sorted(indices, key=lambda i: -utility[i])
    good = [i for i in ordered[:_MOST] if utility[i] >= utility[ordered[0]] - _AS_GOOD]
    return min(good, key=lambda i: (aliases([*design, points[i]], encoding), -utility[i]))


def _groups_apart(one: Params, other: Params, groups: Mapping[str, str]) -> int:
    """In how many groups they differ."""
    names = one.keys() | other.keys()
    return len({groups.get(name, name) for name in names if one.get(name) != other.get(name)})


def _strongest(x: Matrix, trend: Vector, encoding: Encoding) -> tuple[int, Vector]:
    """The parameter with the largest effect on the trend if each has its own, and the weights of its columns."""
    centered = x - x.mean(axis=0)
    inner = centered.T @ centered + _RIDGE * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(inner, centered.T @ (trend - trend.mean()))
    effects = [
        np.ptp(x[:, encoding.parameter_of == i] @ weights[encoding.parameter_of == i])
        for i in range(len(encoding.names))
    ]
    largest = int(np.argmax(effects))
    return largest, weights[encoding.parameter_of == largest]
