"""Series of numbers in; what can be said of them with 95 % confidence out. Pure; knows no trial, request or unit.

A mean's interval needs the variance that neighbours alike (or opposed) leave in it, the spectrum at frequency zero. It is taken
from the series' first few cosine transforms, each of which sees one slow frequency, with Student's t for so many (Lazarus,
Lewis, Stock and Watson, "HAR inference: recommendations for practice", J. Business & Economic Statistics, 2018). A closed loop,
whose users make up later for what came early, is quiet at slow frequencies and noisy at fast ones: these are not looked at, so
its interval narrows by as much. Positive correlation, which slow frequencies see too late, is taken out of the series first and
put back into the variance ("prewhitening": Andrews and Monahan, Econometrica, 1992).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import ceil, expm1, floor, log, sqrt
from typing import TYPE_CHECKING

from tuner.decide.student import value_at

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Series = Sequence[float] | Floats

#: Everything here is said at 5 %, two-sided.
LEVEL = 0.05
#: The normal distribution's quantile for it.
_Z = 1.959964
#: Of fewer values nothing is said.
LEAST_VALUES_OF_A_MEAN, LEAST_VALUES_OF_A_QUANTILE = 10, 20
#: As many cosine transforms. More are more certain of what they see, and see more that is not slow: of single requests, which
#: are many and seldom alike, more can be taken than of throughput.
TRANSFORMS, _TRANSFORMS_OF_FLAGS = 8, 16
#: Correlation of neighbours beyond which a series is too short to tell how much its mean varies.
_MOST_CORRELATION = 0.97
#: How alike neighbours are is asked at this quantile, too: at a higher one few values tell.
_ALIKE_AT = 0.9
#: Where a tail is looked at whose end is out of sight.
_TAIL = (0.9, 0.95, 0.99, 1.0)
#: Of so few values MSER cannot say that more than half are warm-up.
LEAST_VALUES = 12
#: With fewer pairs even the most extreme of the 2**pairs sign patterns has a two-sided p-value above 5 %.
LEAST_PAIRS = 6
#: Above so many pairs the sign patterns are drawn, as many as these have.
_ENUMERATED_PAIRS = 12


def half_width(values: Series, control: Series | None = None, *, level: float = LEVEL) -> float | None:
    """Half the 95 % interval of the mean of a stationary series in equal time bins; None with fewer than 10. `level`
    is the chance that the interval misses, where it is another than 5 %.

    `control` is a series beside it whose long-run mean is known to be 0, such as by how much more prompts came than the
    workload has on average. What it explains of the values (a regression of their cosine transforms) is then no noise: the
    control's own mean tells by how much theirs is off, and that much is added to the interval of what is left (control
    variates: Lavenberg and Welch, Management Science, 1981; the interval's two ends are made one distance, the longer).
    """
    import numpy as np

    series = np.asarray(values, dtype=np.float64)
    if series.size < LEAST_VALUES_OF_A_MEAN:
        return None
    if control is None:
        return value_at(1 - level / 2, TRANSFORMS) * sqrt(_slow_variance(series) / series.size)
    beside = np.asarray(control, dtype=np.float64)
    transforms = _cosines(series.size)
    slow, slow_beside = transforms @ series, transforms @ (beside - beside[-1])  # exactly zero if it is constant
    square, off = float(slow_beside @ slow_beside), float(beside.mean())
    if square <= 0:
        return half_width(series, level=level)
    slope = float(slow @ slow_beside) / square
    variance = _slow_variance(series - slope * beside) * TRANSFORMS / (TRANSFORMS - 1)  # one went for the slope
    rest = value_at(1 - level / 2, TRANSFORMS - 1) * sqrt(variance * (1 / series.size + off**2 / square))
    return abs(slope * off) + rest


def quantile_interval(values: Series, share: float) -> tuple[float, float] | None:
    """The 95 % interval of the quantile that `share` (0 to 1) of a stationary series' values lie below, in the order in which
    they came; None with too few values to have one.

    Its ends are order statistics, whatever the distribution (David and Nagaraja, Order Statistics, 3rd ed., 7.1). Values that
    come in bursts tell less than as many independent ones: they count as the number of independent values whose share above
    the quantile would vary as much. That is asked at the ninth decile, too, which more values tell of, and the worse believed.
    """
    import numpy as np

    series = np.asarray(values, dtype=np.float64)
    if series.size < LEAST_VALUES_OF_A_QUANTILE:
        return None
    inflation = max(_inflation(series > np.quantile(series, share)), _inflation(_like(series)))
    ranks = _ranks(series.size, series.size / inflation, share)
    if ranks is None:
        return None
    low, high = np.sort(series)[[rank - 1 for rank in ranks]].tolist()
    return low, high


def quantile_at_least(values: Series, share: float, level: float) -> float | None:
    """The lower end of a quantile's one-sided interval: it is below that with the chance `level`, at the most. None with
    too few values to have one; otherwise as `quantile_interval`."""
    import numpy as np

    series = np.asarray(values, dtype=np.float64)
    if series.size < LEAST_VALUES_OF_A_QUANTILE:
        return None
    inflation = max(_inflation(series > np.quantile(series, share)), _inflation(_like(series)))
    rank = floor(_rank_for(1 - level, series.size / inflation, share) * inflation + 1e-6)
    return float(np.sort(series)[rank - 1]) if rank >= 1 else None


def share_above(values: Series, limit: float) -> tuple[float, float] | None:
    """The 95 % interval of the share of a stationary series' values, all above 0, that are above the limit, in the order in
    which they came; None with fewer than 20. A quantile is below a limit where less than its own share is above that.

    Where few or none came near the limit, its upper end is that of the share above a lower one, times the square of lower over
    limit: a tail that falls off more slowly has no variance.
    """
    import numpy as np

    series = np.asarray(values, dtype=np.float64)
    found = share_interval(series > limit, _like(series))
    if found is None:
        return None
    high = found[1]
    for lower in np.quantile(series, _TAIL).tolist():
        if 0 < lower < limit and (seen := share_interval(series >= lower, _like(series))) is not None:
            high = min(high, seen[1] * (lower / limit) ** 2)
    return min(found[0], high), high


def share_interval(flags: NDArray[np.bool_], *like: NDArray[np.bool_]) -> tuple[float, float] | None:
    """The 95 % interval of the share of true ones in a stationary series (Wilson, J. American Statistical Association, 1927),
    taken of as many independent flags as these are worth, or those that are `like` them; None with fewer than 20."""
    if len(flags) < LEAST_VALUES_OF_A_QUANTILE:
        return None
    count, share = len(flags) / max(_inflation(series) for series in (flags, *like)), float(flags.mean())
    middle, scale = share + _Z**2 / (2 * count), 1 + _Z**2 / count
    half = _Z * sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def _like(series: Floats) -> NDArray[np.bool_]:
    """Flags that tell how alike neighbours are, where those beyond a high quantile are too few to."""
    import numpy as np

    return np.asarray(series > np.quantile(series, _ALIKE_AT)) if series.size else series > 0


def _ranks(count: int, independent: float, share: float) -> tuple[int, int] | None:
    """The ranks, from 1, between whose values the quantile lies with 95 %: the rank above which it is in 2.5 %, and that below.

    The k-th of n independent values is above the quantile with the probability that at most k - 1 are below it, which is
    1 - I_share(k, n - k + 1); n and k need not be whole.
    """
    # the last rank is the highest value: is even that one often enough above the quantile, and the lowest below?
    if share**independent > LEVEL / 2 or (1 - share) ** independent > LEVEL / 2:
        return None
    scale = count / independent
    lowest = floor(_rank_for(1 - LEVEL / 2, independent, share) * scale + 1e-6)
    highest = ceil(_rank_for(LEVEL / 2, independent, share) * scale - 1e-6)
    return (lowest, highest) if lowest >= 1 and highest <= count else None


def _rank_for(tail: float, independent: float, share: float) -> float:
    """The rank of as many independent values, from 1, below which so many are below the quantile with the chance `tail`."""
    from scipy.special import betainc  # type: ignore[import-untyped]  # slow to import

    low, high = 0.0, independent
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if betainc(middle, independent - middle + 1, share) > tail else (low, middle)
    return high


def _inflation(flags: NDArray[np.bool_]) -> float:
    """How many of the flags tell as much as one independent one, at least 1. That it is an estimate, too, is allowed for by
    Student's t."""
    series = flags.astype(float)
    spread = float(series.var())
    if spread == 0:
        return 1.0
    allowance = (value_at(1 - LEVEL / 2, _TRANSFORMS_OF_FLAGS) / _Z) ** 2
    return max(1.0, allowance * _slow_variance(series, _TRANSFORMS_OF_FLAGS) / spread)


def _slow_variance(series: Floats, transforms: int = TRANSFORMS) -> float:
    """The variance of the mean of the series, times how many values it has: its spectrum at frequency zero."""
    series = series - series[-1]  # so a constant one is exactly zero
    alike = _neighbour_correlation(series)
    rest = series[1:] - alike * series[:-1]
    slow = _cosines(rest.size, transforms) @ rest
    return float(slow @ slow) / transforms / (1 - alike) ** 2


def _neighbour_correlation(values: Floats) -> float:
    """The lag-1 autocorrelation, 0 if negative: an estimate is (1 + 4 r) / n too low on average (Marriott and Pope, Biometrika,
    1954), and half its standard error is added, as too low a one costs more than too high a one."""
    deviations = values - values.mean()
    square = float(deviations @ deviations)
    if square == 0:
        return 0.0
    estimate = float(deviations[1:] @ deviations[:-1]) / square
    estimate += (1 + 4 * estimate) / values.size
    estimate += 0.5 * sqrt(max(1 - estimate**2, 0.0) / values.size)
    return min(max(estimate, 0.0), _MOST_CORRELATION)


@lru_cache(maxsize=8)
def _cosines(count: int, transforms: int = TRANSFORMS) -> Floats:
    """The first cosine transforms of so many values, one a row, each of length 1 and orthogonal to a constant."""
    import numpy as np

    angles = np.pi * np.outer(np.arange(1, transforms + 1), (np.arange(count) + 0.5) / count)
    rows: Floats = sqrt(2 / count) * np.cos(angles)
    return rows


def truncation(values: Series) -> int:
    """How many leading values belong to the warm-up: the d that minimizes MSER, the squared deviations of the n - d values left
    from their mean, divided by (n - d)**2 (White, "An effective truncation heuristic for bias reduction in simulation
    output", 1997). A series of which this is more than half has not become stationary (Franklin and White, "Stationarity
    tests and MSER-5", 2008).

    The last quarter, at least 5 values, is never cut: of so few, some are alike by chance. All of a series with fewer than
    12 values is warm-up.
    """
    import numpy as np

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
    import numpy as np

    ratios = np.array([log(second / first) for first, second in zip(a, b, strict=True)])
    pairs, mean = len(a), float(ratios.mean())
    low = high = None
    if pairs > 1:
        half = value_at(1 - LEVEL / 2, pairs - 1) * float(ratios.std(ddof=1)) / sqrt(pairs)
        low, high = expm1(mean - half), expm1(mean + half)
    return Paired(effect=expm1(mean), low=low, high=high, p_value=_sign_flip_p(ratios), pairs=pairs)


def _sign_flip_p(ratios: Floats) -> float:
    """The two-sided p-value of the sum's size under flips of the signs. With one value both signs are as large."""
    import numpy as np
    from scipy.stats import permutation_test  # type: ignore[import-untyped]

    if ratios.size == 1:
        return 1.0
    found = permutation_test(
        (ratios,),
        lambda values, axis: np.abs(values.sum(axis=axis)),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**_ENUMERATED_PAIRS,
        alternative="greater",
        random_state=np.random.default_rng(0),
    )
    return float(found.pvalue)
