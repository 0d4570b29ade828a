"""What a surrogate expects in; how much launching each point is worth out. Pure.

Expected improvement over the incumbent in logarithms (Jones, Schonlau & Welch 1998), times the probabilities that the point is
feasible, for each second that it costs.
"""

from collections.abc import Mapping, Sequence
from math import pi, sqrt
from statistics import median

import numpy as np
from scipy.special import ndtr  # type: ignore[import-untyped]

from tuner.propose.history import Seen
from tuner.propose.surrogate import Vector

_LEAST = 1e-300


def expected_improvement(mean: Vector, deviation: Vector, incumbent: float) -> Vector:
    """In logarithms: 0.01 is 1 %."""
    z = (mean - incumbent) / deviation
    found: Vector = np.maximum(deviation * (z * ndtr(z) + np.exp(-z * z / 2) / sqrt(2 * pi)), _LEAST)
    return found


def below(mean: Vector, deviation: Vector, limit: float = 0.0) -> Vector:
    """The probability that the truth is at most the limit."""
    found: Vector = ndtr((limit - mean) / deviation)
    return found


def launch_s(keys: Sequence[str | None], seen: Sequence[Seen], seen_keys: Sequence[str | None]) -> Vector:
    """Seconds of a launch of each compile key: what the starts of keys that were launched before took, of new ones what first
    starts took, and the rest of a launch; 1 where nothing is known, so that nothing is preferred."""
    first, later, rest = dict[str | None, float](), list[float](), list[float]()
    for one, key in zip(seen, seen_keys, strict=True):
        if one.took_s is None or one.startup_s is None:
            continue
        rest.append(one.took_s - one.startup_s)
        if key in first:
            later.append(one.startup_s)
        else:
            first[key] = one.startup_s
    if not rest:
        return np.ones(len(keys))
    new = median(first.values())
    known = min(median(later), new) if later else new
    costs: Mapping[bool, float] = {True: max(known + median(rest), 1.0), False: max(new + median(rest), 1.0)}
    return np.array([costs[key is not None and key in first] for key in keys])
