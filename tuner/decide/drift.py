"""What a config was tuned for and what is seen in one window of traffic after another in; whether it has drifted, out. Pure.

A change counts from a margin on, whatever the sample. Counts are bursty and windows depend on each other, so nothing is assumed
of them but the hypothesis itself: given all that was before, no more than the margin is to be expected of the next window. What
a bet against it pays is at least -1 and on average not above 0, so its capital is a supermartingale, and so is that of the bets
that are begun at every window, all together, less their number (the Shiryaev-Roberts e-detector: Shin, Ramdas and Rinaldo,
E-detectors, 2022, arXiv 2203.03532). By optional stopping it passes a limit within so many windows with a chance of at most
windows / limit, however often one looks.

More than expected pays by how much it is more, window by window: that is a statement on means, which bursts do not bend. Less
than expected, and another shape, are in no hurry: they pay 1 or -1 for some windows together, over which bursts even out.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

#: The chance of any false alarm in so many windows, all quantities together.
FALSE_ALARMS, HORIZON = 0.05, 1000
#: A quantity matters from 1.2 times, or 1 / 1.2 of, what was tuned for.
MARGIN = 1.2
#: A population stability index above it is called a major shift (Siddiqi, Credit Risk Scorecards, 2006).
INDEX = 0.25
#: Of prompt tokens found in the prefix cache, a share may differ by so much.
SHARE = 0.15
#: Lengths and shares of a window of fewer requests say nothing.
LEAST_REQUESTS = 30
#: A third of the capital each: what gains most if nearly all windows are beyond the margin, if three of four are, and if five
#: of eight are.
_STAKES = (0.9, 0.5, 0.25)
#: Of a bucket that holds nothing, in requests.
_NOTHING = 0.5
#: Less than expected, and shapes, are judged of so many windows together: what is asked in the same minutes is alike, and most
#: minutes have no burst.
TOGETHER = 6


class Quantity(StrEnum):
    """What is compared; a shape is the distribution by vLLM's buckets."""

    RATE = "requests a second"
    CONCURRENCY = "requests in flight"
    INPUT = "input tokens"
    OUTPUT = "output tokens"
    INPUT_SHAPE = "shape of the input tokens"
    OUTPUT_SHAPE = "shape of the output tokens"
    PREFIX = "share of prompt tokens found in the prefix cache"


_SHAPES = (Quantity.INPUT_SHAPE, Quantity.OUTPUT_SHAPE)


@dataclass(frozen=True, slots=True)
class Change:
    """One direction of a quantity. A shape has one only: away."""

    quantity: Quantity
    is_up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Token counts of many requests, sorted."""

    tokens: tuple[int, ...]

    @property
    def mean(self) -> float:
        return sum(self.tokens) / len(self.tokens)

    def shares(self, bounds: Sequence[float]) -> list[float]:
        """Of each bucket that ends at a bound, itself included; the last bound is infinite."""
        below = [bisect_right(self.tokens, bound) / len(self.tokens) for bound in bounds]
        return [after - before for before, after in zip([0.0, *below], below, strict=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a config was tuned for, of one server. None is what it does not say, which is not compared."""

    rate: float | None = None
    concurrency: float | None = None
    inputs: Lengths | None = None
    outputs: Lengths | None = None
    prefix_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Token counts of the requests of a window: their sum, and how many fell into each bucket up to its bound."""

    sum: float
    bounds: tuple[float, ...]
    counts: tuple[float, ...]

    @property
    def total(self) -> float:
        return sum(self.counts)

    @property
    def mean(self) -> float:
        return self.sum / self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What one server saw on average in a time. None is what cannot be told."""

    duration_s: float
    requests: float
    rate: float | None = None
    concurrency: float | None = None
    inputs: Counts | None = None
    outputs: Counts | None = None
    prefix_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """From what on a change matters."""

    ratio: float = MARGIN
    index: float = INDEX
    share: float = SHARE


def stability_index(counts: Counts, lengths: Lengths) -> float:
    """The population stability index, less what chance alone gives it: buckets that either has, less one, over requests
    (Yurdakul, Statistical Properties of Population Stability Index, 2018)."""
    seen, expected = counts.counts, lengths.shares(counts.bounds)
    used = [(count, share) for count, share in zip(seen, expected, strict=True) if count > 0 or share > 0]
    least = _NOTHING / counts.total
    found = 0.0
    for count, share in used:
        now, before = max(count / counts.total, least), max(share, least)
        found += (now - before) * math.log(now / before)
    return found - (len(used) - 1) / counts.total


Payoffs = dict[Change, float]


def at_once(window: Window, expected: Expected, margins: Margins) -> Payoffs:
    """What bets on more than expected, and on what the prefix cache finds, pay for a window."""
    found = {
        Change(quantity, is_up=True): ratio / margins.ratio - 1 for quantity, ratio in ratios(window, expected).items()
    }
    if window.prefix_share is not None and expected.prefix_share is not None and window.requests >= LEAST_REQUESTS:
        by = window.prefix_share - expected.prefix_share
        for is_up in (True, False):
            found[Change(Quantity.PREFIX, is_up)] = _sign((by if is_up else -by) > margins.share)
    return found


def together(windows: Sequence[Window], expected: Expected, margins: Margins) -> Payoffs:
    """What bets on less than expected, and on other shapes, pay for some windows together."""
    whole = merged(windows)
    found = {
        Change(quantity, is_up=False): _sign(ratio < 1 / margins.ratio)
        for quantity, ratio in ratios(whole, expected).items()
    }
    for quantity, counts, lengths in (
        (Quantity.INPUT_SHAPE, whole.inputs, expected.inputs),
        (Quantity.OUTPUT_SHAPE, whole.outputs, expected.outputs),
    ):
        if counts is not None and lengths is not None and counts.total >= LEAST_REQUESTS:
            found[Change(quantity, is_up=True)] = _sign(stability_index(counts, lengths) > margins.index)
    return found


def ratios(window: Window, expected: Expected) -> dict[Quantity, float]:
    """What was seen as a multiple of what was expected; of lengths only where enough requests tell them."""
    pairs = [
        (Quantity.RATE, window.rate, expected.rate),
        (Quantity.CONCURRENCY, window.concurrency, expected.concurrency),
    ]
    for quantity, counts, lengths in (
        (Quantity.INPUT, window.inputs, expected.inputs),
        (Quantity.OUTPUT, window.outputs, expected.outputs),
    ):
        if counts is not None and lengths is not None and counts.total >= LEAST_REQUESTS:
            pairs.append((quantity, counts.mean, lengths.mean))
    return {quantity: now / before for quantity, now, before in pairs if now is not None and before}


def _sign(is_so: bool) -> float:
    return 1.0 if is_so else -1.0


def merged(windows: Sequence[Window]) -> Window:
    """All as one."""
    return Window(
        duration_s=sum(window.duration_s for window in windows),
        requests=sum(window.requests for window in windows),
        rate=_average([(window.rate, window.duration_s) for window in windows]),
        concurrency=_average([(window.concurrency, window.duration_s) for window in windows]),
        inputs=_together([window.inputs for window in windows]),
        outputs=_together([window.outputs for window in windows]),
        prefix_share=_average([(window.prefix_share, window.requests) for window in windows]),
    )


def _average(values: Sequence[tuple[float | None, float]]) -> float | None:
    known = [(value, weight) for value, weight in values if value is not None]
    weights = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / weights if weights > 0 else None


def _together(parts: Sequence[Counts | None]) -> Counts | None:
    """Of those with the same buckets as the last one: another server may have others."""
    known = [part for part in parts if part is not None]
    alike = [part for part in known if part.bounds == known[-1].bounds]
    if not alike:
        return None
    return Counts(
        sum=sum(part.sum for part in alike),
        bounds=alike[-1].bounds,
        counts=tuple(map(sum, zip(*(part.counts for part in alike), strict=True))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """`change` was found after `windows` windows in all; it seems to have begun `since` windows ago, the last one included."""

    change: Change
    windows: int
    since: int


@dataclass(slots=True)
class _Bets:
    """Those on one change. `best` is the capital of the bet that is worth most, begun `age` windows ago."""

    capital: list[float] = field(default_factory=lambda: [0.0] * len(_STAKES))
    best: float = 1.0
    age: int = 0

    def settle(self, pays: float) -> None:
        self.capital = [
            (capital + 1) * (1 + stake * pays) for capital, stake in zip(self.capital, _STAKES, strict=True)
        ]
        if self.best <= 1:
            self.best, self.age = 1.0, 0
        self.best *= 1 + _STAKES[1] * pays
        self.age += 1


class Detector:
    """Takes one window after another. The bound on false alarms is for all changes that can be seen together, each of which has
    its part of it."""

    def __init__(self, expected: Expected, margins: Margins | None = None) -> None:
        self._expected, self._margins = expected, margins or Margins()
        self._bets: Mapping[Change, _Bets] = {change: _Bets() for change in changes_of(expected)}
        self._windows = 0
        self._waiting: list[Window] = []
        self.limit = HORIZON * max(len(self._bets), 1) / FALSE_ALARMS

    def take(self, window: Window) -> list[Drift]:
        """What has drifted by now, what is surest first. A quantity that the window does not tell is not judged."""
        self._windows += 1
        self._waiting.append(window)
        paid = at_once(window, self._expected, self._margins)
        if len(self._waiting) == TOGETHER:
            paid |= together(self._waiting, self._expected, self._margins)
            self._waiting = []
        for change, bets in self._bets.items():
            if change in paid:
                bets.settle(paid[change])
        surest = sorted(self._bets, key=self._capital, reverse=True)
        return [
            Drift(change=change, windows=self._windows, since=self._age(change))
            for change in surest
            if self._capital(change) >= self.limit
        ]

    def evidence(self) -> float:
        """How far the surest change is on its way to an alarm: 0 to 1, by the logarithm of its capital."""
        most = max((self._capital(change) for change in self._bets), default=0.0)
        return min(max(math.log(most) / math.log(self.limit), 0.0), 1.0) if most > 0 else 0.0

    def _capital(self, change: Change) -> float:
        return sum(self._bets[change].capital) / len(_STAKES)

    def _age(self, change: Change) -> int:
        waits = change.quantity in _SHAPES or (not change.is_up and change.quantity is not Quantity.PREFIX)
        return min(self._bets[change].age * (TOGETHER if waits else 1), self._windows)


def changes_of(expected: Expected) -> list[Change]:
    """What can be seen to change from what was tuned for."""
    known = {
        Quantity.RATE: expected.rate,
        Quantity.CONCURRENCY: expected.concurrency,
        Quantity.INPUT: expected.inputs,
        Quantity.OUTPUT: expected.outputs,
        Quantity.INPUT_SHAPE: expected.inputs,
        Quantity.OUTPUT_SHAPE: expected.outputs,
        Quantity.PREFIX: expected.prefix_share,
    }
    return [
        Change(quantity, is_up)
        for quantity, value in known.items()
        if value is not None
        for is_up in ((True,) if quantity in _SHAPES else (True, False))
    ]
