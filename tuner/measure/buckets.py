"""A Prometheus histogram of whole numbers in; a `Histogram` with the same mean out. Pure: knows no server.

Prometheus keeps only how many values were at most each bound, and the sum of all. vLLM's bounds are 1, 2, 5, 10, 20, 50 and
so on: uniform draws from such buckets can be off by a quarter. So of each bucket only its lower or its upper part is used,
the same share of each, so that the mean is that of sum and count.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tuner.types import Histogram

_Range = tuple[int, int, float]
#: A bucket whose mean is off by more than this share of it, because token counts are whole, is split in two.
_ROUNDING = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """How many values were at most each bound (the last bound is infinite), and the sum of all values."""

    at_most: Mapping[float, float]
    sum: float

    @property
    def count(self) -> float:
        return self.at_most[math.inf]

    @property
    def mean(self) -> float:
        return self.sum / self.count

    def since(self, earlier: "Observed") -> "Observed":
        """What was observed between the two."""
        counts = {bound: count - earlier.at_most.get(bound, 0) for bound, count in self.at_most.items()}
        return Observed(at_most=counts, sum=self.sum - earlier.sum)


def fitted(observed: Observed, at_least: int = 1) -> Histogram:
    """The distribution whose mean is that of `observed`, which holds at least one value. What is certain to be below
    `at_least` is left out; nothing is below 1."""
    ranges = [(max(low, at_least), high, weight) for low, high, weight in _ranges(observed) if high >= at_least]
    weights = sum(weight for _, _, weight in ranges)
    lowest = sum(low * weight for low, _, weight in ranges) / weights
    highest = sum(high * weight for _, high, weight in ranges) / weights
    place = (observed.mean - lowest) / (highest - lowest) if highest > lowest else 0.0
    parts = [part for bucket in ranges for part in _parts(bucket, min(max(place, 0.0), 1.0))]
    rounded = [(low, high, round(weight, 3)) for low, high, weight in parts]
    return Histogram(buckets=tuple(part for part in rounded if part[2] > 0))


def nearly_all_above(observed: Observed, share: float) -> int:
    """A token count that at most about `share` of the values are certain to be below: a bucket's lower end."""
    below = 0.0
    for low, _, weight in _ranges(observed):
        below += weight
        if below > share * observed.count:
            return low
    return 1


def _ranges(observed: Observed) -> list[_Range]:
    """The buckets that hold something. The last one has no upper end: it reaches as far above its mean, which the sum leaves
    for it, as that is above its lower end."""
    found: list[_Range] = []
    below, low = 0.0, 1
    for bound in sorted(observed.at_most):
        weight, below = observed.at_most[bound] - below, observed.at_most[bound]
        if weight > 0 and math.isinf(bound):
            rest = observed.sum - sum((first + last) / 2 * count for first, last, count in found)
            found.append((low, max(low, round(2 * rest / weight) - low), weight))
        elif weight > 0:
            found.append((low, max(low, int(bound)), weight))
        low = max(low, int(bound) + 1) if math.isfinite(bound) else low
    return found


def _parts(bucket: _Range, place: float) -> list[_Range]:
    """The lower or upper part of the bucket whose mean is at `place` between its ends (0 to 1): one range, or a range and the
    number next to it."""
    low, high, weight = bucket
    mean = low + place * (high - low)
    if place <= 0.5:
        edge = 2 * mean - low
        near, inside, outside = (low, round(edge)), (low, math.floor(edge)), math.floor(edge) + 1
    else:
        edge = 2 * mean - high
        near, inside, outside = (round(edge), high), (math.ceil(edge), high), math.ceil(edge) - 1
    if abs(sum(near) / 2 - mean) <= _ROUNDING * mean:
        return [(*near, weight)]
    middle = sum(inside) / 2
    out = weight * (mean - middle) / (outside - middle)
    return [(*inside, weight - out), (outside, outside, out)]
