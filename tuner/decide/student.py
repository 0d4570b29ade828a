"""Student's t distribution for any degrees of freedom: its share below a value, and the value below which a share lies. Pure.

Written out although scipy.special has both: a database command asks for a handful of them, and that import takes longer than
all else it does. The two agree to eight digits.
"""

from math import erfc, exp, inf, lgamma, log, log1p, pi, sqrt
from statistics import NormalDist

#: From so many degrees of freedom on it is the normal distribution, to the digits that are promised.
_NORMAL = 1e8
_NEAR = 1e-13
_TINY, _ENOUGH, _MOST_STEPS = 1e-300, 1e-15, 10_000


def share_below(value: float, freedom: float) -> float:
    """The chance of less than `value`; `freedom` above 0."""
    if freedom >= _NORMAL:
        return erfc(-value / sqrt(2)) / 2
    beyond = _beyond(abs(value), freedom)
    return beyond if value < 0 else 1 - beyond


def value_at(share: float, freedom: float) -> float:
    """The value that `share` of the distribution lies below; infinite for 0 and 1."""
    if share == 0.5:
        return 0.0
    if not 0 < share < 1:
        return inf if share > 0.5 else -inf
    if freedom >= _NORMAL:
        return NormalDist().inv_cdf(share)
    beyond = min(share, 1 - share)
    low, high = 0.0, 1.0
    while _beyond(high, freedom) > beyond:
        low, high = high, 2 * high
    value = (low + high) / 2
    for _ in range(_MOST_STEPS):  # Newton's steps, of the logarithm; halved where one would leave what holds the answer
        found = _beyond(value, freedom)
        low, high = (value, high) if found > beyond else (low, value)
        step = value + found * log(found / beyond) / _density(value, freedom)
        after = step if low < step < high else (low + high) / 2
        value, before = after, value
        if abs(value - before) <= _NEAR * value or high - low <= _NEAR * high:
            break
    return value if share > 0.5 else -value


def _density(value: float, freedom: float) -> float:
    return exp(_log_scale(freedom) - (freedom + 1) / 2 * log1p(value * value / freedom))


def _log_scale(freedom: float) -> float:
    return lgamma((freedom + 1) / 2) - lgamma(freedom / 2) - log(freedom * pi) / 2


def _beyond(value: float, freedom: float) -> float:
    """The chance of more than `value`, which is not below 0: half of the incomplete beta function I_x(freedom / 2, 1 / 2)."""
    if value == inf:
        return 0.0
    square = value * value
    x, rest = freedom / (freedom + square), square / (freedom + square)
    # x**(freedom / 2) * rest**(1 / 2) / B(freedom / 2, 1 / 2)
    front = exp(_log_scale(freedom) + log(freedom) / 2 - freedom / 2 * log1p(square / freedom)) * sqrt(rest)
    if x < (freedom / 2 + 1) / (freedom / 2 + 2.5):
        return front * _fraction(freedom / 2, 0.5, x) / freedom
    return 0.5 - front * _fraction(0.5, freedom / 2, rest)


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function (https://dlmf.nist.gov/8.17.E22), by Lentz's method."""
    c, d = 1.0, 1 / _kept(1 - (a + b) * x / (a + 1))
    found = d
    for m in range(1, _MOST_STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for part in (even, odd):
            d = 1 / _kept(1 + part * d)
            c = _kept(1 + part / c)
            found *= c * d
        if abs(c * d - 1) < _ENOUGH:
            break
    return found


def _kept(value: float) -> float:
    """Away from 0, which would be divided by."""
    return value if abs(value) > _TINY else _TINY
