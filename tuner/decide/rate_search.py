"""Whether request rates met the SLOs in; the next rate to try, and the highest that did, out. Pure: it measures nothing."""

#: How close the highest rate that meets the SLOs and the lowest that does not come, relative to each other.
RESOLUTION = 0.05
#: A first rate that is off by more than this is not a guess.
_UP_AT_MOST = 1024.0
_DOWN_AT_MOST = 64.0


class RateSearch:
    """Doubling or halving until both sides are known, then bisection of the logarithm.

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
