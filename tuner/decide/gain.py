"""Launches of two sides in; whether one is better, by how much, and the smallest gain that would have been seen, out. Pure.

Each launch is one sample: settings are what is compared, and launches of the same settings differ by more than windows of one
launch do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean, variance

from tuner.decide.objective import Objective
from tuner.decide.student import share_below, value_at

#: Other settings than the defaults have to be worth it.
LEAST_GAIN = 0.01
#: The chance of finding a gain of `least_seen`.
POWER = 0.8
#: Who verifies wants to see a gain of the first of these, or else of the next, and gives at most so many launches for it.
USEFUL_GAINS, _MOST_LAUNCHES = (0.1, 0.2, 0.5), 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Relative, of the means: 0.25 is 25 % better, negative is worse. [low, high] is its 95 % interval and `noise` the standard
    deviation among launches of the same settings over the defaults' mean, None with fewer than two launches of either side, or
    where that mean is 0 (goodput). `p_better` and `p_worse` are one-sided. `least_seen` is the smallest gain that would have
    been found with 80 % chance at the level that was asked for."""

    gain: float
    low: float | None = None
    high: float | None = None
    noise: float | None = None
    p_better: float = 1.0
    p_worse: float = 1.0
    least_seen: float | None = None

    def is_better(self, level: float) -> bool:
        """Whether the gain is worth it and no chance at that level."""
        return self.gain >= LEAST_GAIN and self.p_better <= level

    def is_worse(self, level: float) -> bool:
        return self.gain < 0 and self.p_worse <= level


def gain(objective: Objective, defaults: Sequence[float], winner: Sequence[float], level: float) -> Gain:
    """Welch's t test (Welch, Biometrika 1947), which does not take the two to be equally noisy; none with fewer than two
    launches of a side."""
    base, relative = fmean(defaults), objective.gain(fmean(winner), fmean(defaults))
    if min(len(defaults), len(winner)) < 2:
        return Gain(gain=relative)
    better_by = (fmean(winner) - base) * (1 if objective.maximize else -1)
    variances = [variance(side) for side in (defaults, winner)]
    parts = [(v / len(side), len(side) - 1) for v, side in zip(variances, (defaults, winner), strict=True)]
    error = sqrt(sum(part for part, _ in parts))
    if error == 0:
        return Gain(gain=relative, noise=0.0, p_better=float(better_by <= 0), p_worse=float(better_by >= 0))
    freedom = error**4 / sum(part**2 / free for part, free in parts)
    half, seen = (-error * value_at(share, freedom) for share in (0.025, level))
    p_better = share_below(-better_by / error, freedom)
    found = Gain(gain=relative, p_better=p_better, p_worse=1 - p_better)
    if base <= 0:
        return found
    return replace(
        found,
        low=(better_by - half) / base,
        high=(better_by + half) / base,
        noise=sqrt(fmean(variances)) / base,
        least_seen=(seen + error * value_at(POWER, freedom)) / base,
    )


@dataclass(frozen=True, slots=True)
class Enough:
    """With so many launches of each side a gain of so much is found, with 80 % chance."""

    launches: int
    gain: float


def enough(found: Gain, more_than: int, level: Callable[[int], float]) -> Enough | None:
    """How many launches would see a useful gain, where fewer were not allowed and only a greater one would have been seen."""
    if found.noise is None or found.least_seen is None:
        return None
    for wanted in USEFUL_GAINS:
        if found.least_seen <= wanted:
            return None
        if launches := launches_to_see(wanted, found.noise, level):
            return Enough(max(launches, more_than + 1), wanted)
    return None


def launches_to_see(wanted: float, noise: float, level: Callable[[int], float]) -> int | None:
    """How many launches of each side find a gain of `wanted` with 80 % chance, where launches of the same settings differ by
    `noise` (both relative to the defaults), tested at `level` of so many launches; None where a hundred are too few."""
    for launches in range(2, _MOST_LAUNCHES + 1):
        freedom = 2 * (launches - 1)
        distance = value_at(POWER, freedom) - value_at(level(launches), freedom)
        if noise * sqrt(2 / launches) * distance <= wanted:
            return launches
    return None
