"""Series of numbers in; what can be said of them with 95 % confidence out. Pure; knows no trial, request or unit."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import expm1, log, sqrt

import numpy as np
from numpy.typing import NDArray

#: Everything here is said at 5 %, two-sided.
LEVEL = 0.05
#: Fewer batches than this make a poor interval (Schmeiser, "Batch size effects in the analysis of simulation output", 1982).
LEAST_BATCHES = 10
#: Of so few values MSER cannot say that more than half are warm-up.
LEAST_VALUES = 12
#: With fewer pairs even the most extreme of the 2**pairs sign patterns has a two-sided p-value above 5 %.
LEAST_PAIRS = 6
#: Up to so many pairs all sign patterns are tried, above it as many as these have.
_ENUMERATED_PAIRS = 12


def t_quantile(share: float, freedom: int) -> float:
    """The value that a share of Student's t distribution with `freedom` degrees of freedom lies below."""
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # slow to import

    return float(stdtrit(freedom, share))


def half_width(values: Sequence[float] | NDArray[np.float64]) -> float | None:
    """Half the 95 % interval of the mean of a stationary series in equal time bins; None with fewer than 10.

    Non-overlapping batch means (Law, Simulation Modeling and Analysis, 5th ed., 9.5.3). Batches are made longer until
    neighbouring means are no longer correlated, as in Alexopoulos and Seila ("Implementing the batch means method in
    simulation experiments", 1996), while at least 10 are left; no longer means within one standard error of zero, as a test
    at 5 % sees too little in a short series. What positive correlation is left then widens the interval as that of an AR(1)
    series, by sqrt((1 + r) / (1 - r)), at most twice: ten batches do not tell more of r. Negative never narrows it.
    """
    series = np.asarray(values, dtype=np.float64)
    if series.size < LEAST_BATCHES:
        return None
    size = 1
    while True:
        count = series.size // size
        means = series[series.size - count * size :].reshape(count, size).mean(axis=1)
        correlation = _neighbour_correlation(means)
        longer = max(size + 1, size * 3 // 2)
        if abs(correlation) <= 1 / sqrt(count) or series.size // longer < LEAST_BATCHES:
            break
        size = longer
    left = min(max(correlation, 0.0), 0.6)
    error = float(means.std(ddof=1)) / sqrt(count) * sqrt((1 + left) / (1 - left))
    return t_quantile(1 - LEVEL / 2, count - 1) * error


def _neighbour_correlation(values: NDArray[np.float64]) -> float:
    """The lag-1 autocorrelation r; an estimate is (1 + 4 r) / n too low on average (Marriott and Pope, Biometrika, 1954)."""
    deviations = values - values.mean()
    square = float(deviations @ deviations)
    if square == 0:
        return 0.0
    estimate = float(deviations[1:] @ deviations[:-1]) / square
    return estimate + (1 + 4 * estimate) / values.size


def truncation(values: Sequence[float] | NDArray[np.float64]) -> int:
    """How many leading values belong to the warm-up: the d that minimizes MSER, the squared deviations of the n - d values left
    from their mean, divided by (n - d)**2 (White, "An effective truncation heuristic for bias reduction in simulation
    output", 1997). A series of which this is more than half has not become stationary (Franklin and White, "Stationarity
    tests and MSER-5", 2008).

    The last quarter, at least 5 values, is never cut: of so few, some are alike by chance. All of a series with fewer than
    12 values is warm-up.
    """
    series = np.asarray(values, dtype=np.float64)
    if series.size < LEAST_VALUES:
        return int(series.size)
    backward = (series - series[-1])[::-1]  # measured from the last value, so a constant rest is exactly zero
    left = np.arange(1, series.size + 1)
    squares = np.maximum(np.cumsum(backward**2) - np.cumsum(backward) ** 2 / left, 0.0)
    statistic = (squares / left**2)[::-1]
    kept = max(5, series.size // 4)
    return int(np.argmin(statistic[: series.size - kept + 1]))


class Difference(StrEnum):
    """What a comparison says of the second against the first."""

    FASTER = "faster"
    SLOWER = "slower"
    NONE = "no difference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Interleaved repeats of two, compared. `effect` is relative: 0.1 means that the second's values are 10 % higher;
    [low, high] is its 95 % interval, None with one pair. `p_value` is of the sign-flip test, two-sided."""

    effect: float
    low: float | None
    high: float | None
    p_value: float
    pairs: int

    @property
    def can_decide(self) -> bool:
        """Whether there are pairs enough to call anything different at 5 %."""
        return self.pairs >= LEAST_PAIRS

    def verdict(self, maximize: bool, least: float = 0.01) -> Difference:
        """A difference is claimed only if the sign-flip test and the t interval both say so and it is at least `least`.
        `maximize` says that higher values are faster."""
        if self.low is None or self.high is None or not self.can_decide:
            return Difference.NONE
        significant = self.p_value <= LEVEL and not self.low <= 0 <= self.high
        if not significant or abs(self.effect) < least:
            return Difference.NONE
        return Difference.FASTER if (self.effect > 0) == maximize else Difference.SLOWER


def compare_paired(a: Sequence[float], b: Sequence[float]) -> Paired:
    """Compare interleaved repeats, a[i] measured next to b[i], by the logarithms of b[i] / a[i]: what drifts slowly is common
    to both and falls out. Raises ValueError without pairs, for unequal lengths and for values that are not above zero.

    The p-value is that of the exact permutation test of paired data (Fisher, The Design of Experiments, 1935, section 21): if
    the two are alike, each logarithm may as well have the other sign. It needs no normal noise. Above 12 pairs the patterns
    are drawn with a fixed seed, the observed one among them (Phipson and Smyth, "Permutation p-values should never be zero",
    2010). The interval is Student's, of the mean logarithm.
    """
    if len(a) != len(b) or not a or min(*a, *b) <= 0:
        raise ValueError("a paired comparison needs as many values of each, all above zero")
    ratios = np.array([log(second / first) for first, second in zip(a, b, strict=True)])
    pairs, mean = len(a), float(ratios.mean())
    flipped = np.abs(_signs(pairs) @ ratios)
    p_value = float(
        np.mean(flipped >= abs(mean) * pairs * (1 - 1e-9))
    )  # a sum in another order may differ in its last bit
    low = high = None
    if pairs > 1:
        half = t_quantile(1 - LEVEL / 2, pairs - 1) * float(ratios.std(ddof=1)) / sqrt(pairs)
        low, high = expm1(mean - half), expm1(mean + half)
    return Paired(effect=expm1(mean), low=low, high=high, p_value=p_value, pairs=pairs)


@lru_cache(maxsize=4)
def _signs(pairs: int) -> NDArray[np.int8]:
    """Sign patterns, one a row: all of them, or a sample with the one that changes nothing in its first row."""
    count = 2 ** min(pairs, _ENUMERATED_PAIRS)
    if pairs <= _ENUMERATED_PAIRS:
        bits = np.arange(count)[:, None] >> np.arange(pairs) & 1
    else:
        bits = np.random.default_rng(0).integers(0, 2, (count, pairs))
        bits[0] = 1
    return (2 * bits - 1).astype(np.int8)
