"""Whether request rates met the SLOs in; the next rate to try, and the highest that did, out. Pure: it measures nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: How close the highest rate that meets the SLOs is told, relative to it.
RESOLUTION = 0.05
#: What of the belief lies below the interval, above it, and at most farther above its lower end than the resolution.
#: Below is less: with few windows the belief is too sure, and a percentile of a short window reads low.
_BELOW, _ABOVE, _FARTHER = 0.03, 0.05, 0.10
#: A first rate that is off by more than this is not a guess.
_UP_AT_MOST = 1024.0
_DOWN_AT_MOST = 64.0
#: Near the rate so many times the requests that show which side of it a rate is on.
_NEAR = 12
#: An interval so many times the resolution wide is halved; of a narrower one both ends are tried.
_WIDE = 4.0
#: Rates so close beyond an end count as tried at it.
_ABOUT = 1.01
#: A rate that was seen to meet the SLOs is told in the place of the interval's lower end if it is so close to it.
_CLOSE = (0.99, 1.005)
#: Tries of the lower end when the search has run out of time before it was seen to meet the SLOs.
_LAST_TRIES = 4
#: A latency's logarithm rises with the rate's, and the faster the higher the rate is: a margin is the slope there times the
#: distance times (1 + `_CONVEX` * distance), give or take a part `_CURVATURE` * distance of it, `_CURVED` at most.
_CONVEX, _CURVATURE, _CURVED = 0.25, 1.0, 0.5
#: How often a rate that could not be measured, or was saturated, is below the one that is looked for.
_WRONG = 0.02
#: What is not known of the server, each as likely as its neighbour: by what power of the rate its latency rises, and the
#: standard error of a margin that is seen over `requests`.
_SLOPES = np.geomspace(0.5, 50, 13)
_ERRORS = np.geomspace(0.07, 0.7, 7)
#: Errors are Student's: an outlier moves little (Lange, Little and Taylor, 1989).
_FREEDOM = 5.0
_RATES = 400
#: How far beyond the two rates of the bracket, as a factor, the one that is looked for may be.
_BEYOND = 1.5


class Bisection:
    """For answers without noise: doubling or halving until both sides are known, then bisection of the logarithm.

    `next()` is a rate in requests per second or None at the end; `tell(rate, met)` is what came of it.
    """

    def __init__(self, first: float, resolution: float = RESOLUTION) -> None:
        self._first, self.resolution = first, resolution
        self.highest_met: float | None = None
        self.lowest_missed: float | None = None

    def next(self) -> float | None:
        met, missed = self.highest_met, self.lowest_missed
        if met is None and missed is None:
            return self._first
        if missed is None:
            assert met is not None
            return met * 2 if met * 2 <= self._first * _UP_AT_MOST else None
        if met is None:
            return missed / 2 if missed / 2 >= self._first / _DOWN_AT_MOST else None
        return float((met * missed) ** 0.5) if missed > met * (1 + self.resolution) else None

    def tell(self, rate: float, met: bool) -> None:
        if met:
            self.highest_met = max(rate, self.highest_met or 0.0)
        else:
            self.lowest_missed = min(rate, self.lowest_missed or float("inf"))
            if self.highest_met is not None and self.highest_met >= rate:  # noise: a lower rate is asked again
                self.highest_met = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What to measure: a rate in requests per second, over so many requests that the server has not seen."""

    rate: float
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was seen at a rate over `requests`. `margin` is the logarithm of the latency over its limit, of the SLO that is the
    farthest above it or the least below; None if the rate was too much to be measured."""

    rate: float
    requests: int
    margin: float | None

    @property
    def met(self) -> bool:
        return self.margin is not None and self.margin <= 0


class RateSearch:
    """A search that expects wrong answers: each is a window in which chance had a part.

    First doubling or halving with `requests` a rate, until one met the SLOs and one missed them. Then, with 12 times as many, a
    Bayesian form of bisection (Horstein 1963; Waeber, Frazier and Henderson, "Bisection search with noisy responses", 2013)
    that uses by how much a limit is missed: near the rate a margin is the server's slope times the logarithm of the
    distance, and an error whose size nobody knows. Rate, slope and error are believed in together, on a grid; the error is
    learnt from the scatter of the windows, which are independent, whatever the requests of one have to do with each other.

    `next()` is what to measure, or None at the end; `tell` is what came of it. At the end `told` is a rate that was seen to
    meet the SLOs, and is too high with a probability of 5 %, or None; `interval` is the 90 % interval of the highest rate
    that does. `most_s` and `window_s` are the seconds that all windows, and one, may last: out of time, it is what it is.
    """

    def __init__(
        self, first: float, requests: int, *, window_s: float, most_s: float, resolution: float = RESOLUTION
    ) -> None:
        self._bracket = Bisection(first, 1.0)
        self._requests, self._resolution = requests, resolution
        self._window_s, self._left_s = window_s, most_s
        self._tries = _LAST_TRIES
        self._answers: list[Answer] = []

    def next(self) -> Probe | None:
        if (rate := self._bracket.next()) is not None:
            return self._probe(rate, self._requests)
        if self._bracket.highest_met is None or self._bracket.lowest_missed is None:
            return None
        low, middle, upper, high = self._quantiles(_BELOW, 0.5, 1 - _FARTHER, 1 - _ABOVE)
        if upper <= low * (1 + self._resolution) or self._left_s <= 0:
            if self._confirmed() is not None or self._tries <= 0:
                return None
            self._tries -= self._left_s <= 0
            return self._probe(low, _NEAR * self._requests)
        if high > low * (1 + _WIDE * self._resolution):
            return self._probe(middle, _NEAR * self._requests)
        about = (answer.rate for answer in self._answers if low / _ABOUT <= answer.rate <= high * _ABOUT)
        near = [log(rate / middle) for rate in about]
        return self._probe(low if sum(near) >= 0 else high, _NEAR * self._requests)

    def tell(self, answer: Answer) -> None:
        bracketing = self._bracket.next() is not None
        self._answers.append(answer)
        self._left_s -= answer.requests / answer.rate
        if bracketing:
            self._bracket.tell(answer.rate, answer.met)
        if self._bracket.next() is None:
            self._widen()

    @property
    def told(self) -> float | None:
        """The highest rate that was seen to meet the SLOs, as far as they are believed to be met there."""
        met = [answer.rate for answer in self._answers if answer.met]
        low, high = self.interval
        if not met or low is None or high is None:
            return max(met, default=None)
        return self._confirmed() or max((rate for rate in met if rate <= low), default=min(met))

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """An end that was not looked for is None: above all rates that were tried, or below."""
        if self._bracket.highest_met is None or self._bracket.lowest_missed is None:
            return self._bracket.highest_met, self._bracket.lowest_missed
        low, high = self._quantiles(_BELOW, 1 - _ABOVE)
        return low, high

    def _probe(self, rate: float, requests: int) -> Probe:
        return Probe(rate=float(f"{rate:.4g}"), requests=max(1, min(requests, round(rate * self._window_s))))

    def _confirmed(self) -> float | None:
        (low,) = self._quantiles(_BELOW)
        least, most = (low * factor for factor in _CLOSE)
        return max(
            (answer.rate for answer in self._answers if answer.met and least <= answer.rate <= most), default=None
        )

    def _widen(self) -> None:
        """Forget an end of the bracket that was wrong: the belief is pressed against what lies behind it."""
        bracket = self._bracket
        if bracket.highest_met is None or bracket.lowest_missed is None:
            return
        low, high = self._quantiles(_BELOW, 1 - _ABOVE)
        if high > bracket.lowest_missed * _BEYOND * 0.98:
            bracket.highest_met, bracket.lowest_missed = bracket.lowest_missed, None
        elif low < bracket.highest_met / _BEYOND / 0.98:
            bracket.highest_met, bracket.lowest_missed = None, bracket.highest_met

    def _quantiles(self, *shares: float) -> list[float]:
        """The rates below which the highest one that meets the SLOs is believed to be with these probabilities."""
        met, missed = self._bracket.highest_met, self._bracket.lowest_missed
        assert met is not None
        assert missed is not None
        grid = np.linspace(log(met / _BEYOND), log(missed * _BEYOND), _RATES)
        total = np.cumsum(_belief(grid, self._answers, self._requests))
        return [exp(float(np.interp(share, total, grid))) for share in shares]


def _belief(grid: Floats, answers: Sequence[Answer], requests: int) -> Floats:
    """How likely each rate of the grid (logarithms) is the highest one that meets the SLOs; answers beyond it say nothing."""
    logs = np.zeros((grid.size, _SLOPES.size, _ERRORS.size))
    for answer in answers:
        if not grid[0] <= log(answer.rate) <= grid[-1]:
            continue
        distance = log(answer.rate) - grid
        if answer.margin is None:
            logs += np.log(np.where(distance > 0, 1 - _WRONG, _WRONG))[:, None, None]
            continue
        convex = distance * (1 + _CONVEX * np.clip(distance, -_CURVED, _CURVED))
        expected = convex[:, None] * _SLOPES
        curved = expected * np.minimum(_CURVED, _CURVATURE * np.abs(distance))[:, None]
        spread = _ERRORS**2 * requests / answer.requests + curved[:, :, None] ** 2  # a variance
        residual = (answer.margin - expected[:, :, None]) ** 2 / spread
        logs -= np.log(spread) / 2 + (_FREEDOM + 1) / 2 * np.log1p(residual / _FREEDOM)
    likely = np.exp(logs - logs.max()).sum(axis=(1, 2))
    return np.asarray(likely / likely.sum())
