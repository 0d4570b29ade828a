"""How wide the 95 % interval of a prediction is, learned from points that no constant was fitted on, and how many of others lie
inside. Pure.

Classes: "host" (the card is measured, and the model learned of three launches on the host), "card" (the card is measured),
"none".
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Literal

from cards import card
from points import Point
from score import COMPARED, Pair, Predicted

from tuner.predict.uncertainty import Known, estimate, is_measured

KNOWN = {"host": Known.HOST, "card": Known.CARD, "none": Known.NOTHING}
Method = Literal["plain", "calibrated", "same", "roofline"]
SHARE = 0.95
#: Sets of fewer points count by their points.
FEW = 20
METRICS = ("throughput", "TTFT", "TPOT", "E2EL")
#: By set and method.
Pairs = Mapping[str, Mapping[Method, Sequence[Pair]]]


def card_class(point: Point, method: Method) -> str:
    """Of a prediction for this point."""
    return "none" if not is_measured(card(point.gpu)) else "host" if method == "calibrated" else "card"


Named = tuple[str, Pair]


def half_widths(pairs: Sequence[Named]) -> dict[str, float]:
    """Of each metric: the logarithm of how many times off 95 % of the points are at most, each set counting the same."""
    found = {}
    for name in METRICS:
        if off := _weighted(pairs, name):
            off.sort()
            # of few points the largest is not the quantile: (n + 1) as in a prediction interval
            wanted = min(1.0, SHARE * (len(off) + 1) / len(off)) * sum(weight for _, weight in off)
            below = accumulate(weight for _, weight in off)
            found[name] = next(
                (value for (value, _), sum_ in zip(off, below, strict=True) if sum_ >= wanted), off[-1][0]
            )
    return found


def classes(tested: Pairs) -> dict[str, list[Named]]:
    """The points of each class, with the set that they are from."""
    found: dict[str, list[Named]] = {}
    for name, of in tested.items():
        for method in ("plain", "calibrated"):
            for pair in of[method]:
                found.setdefault(card_class(pair[0], method), []).append((name, pair))
    return found


def covered(tested: Pairs) -> dict[str, list[tuple[bool, float]]]:
    """Of each class and metric, whether each point is inside an interval that was learned of the other half of them, and its
    weight. A launch is in one half with all its loads."""
    found: dict[str, list[tuple[bool, float]]] = {}
    for kind, pairs in classes(tested).items():
        halves = [[one for one in pairs if _side(one[1][0]) == side] for side in (0, 1)]
        for learned, judged in (halves, halves[::-1]):
            widths = half_widths(learned)
            for name, width in widths.items():
                inside = [(value <= width, weight) for value, weight in _weighted(judged, name)]
                found.setdefault(f"{name}, {kind}", []).extend(inside)
    return found


def inside(tested: Pairs) -> dict[str, tuple[float, int]]:
    """Of each class and metric the share of the points in the product's own interval, each set counting the same."""
    found = {}
    for kind, pairs in classes(tested).items():
        for name in METRICS:
            if off := _weighted(pairs, name):
                one = estimate(COMPARED[name][0], 1.0, KNOWN[kind])
                assert one
                weight = sum(each for value, each in off if value <= math.log(one.high))
                found[f"{name}, {kind}"] = weight / sum(each for _, each in off), len(off)
    return found


def _weighted(pairs: Sequence[Named], name: str) -> list[tuple[float, float]]:
    """How far off each point is, and its weight: each set counts the same, but those of few points less."""
    off = [(of, abs(value)) for of, pair in pairs if (value := _off(pair, name)) is not None]
    count = Counter(of for of, _ in off)
    return [(value, 1 / max(count[of], FEW)) for of, value in off]


def _side(point: Point) -> int:
    return hashlib.sha256(f"interval {point.launch}".encode()).digest()[0] % 2


def _off(pair: tuple[Point, Predicted], name: str) -> float | None:
    point, predicted = pair
    for metric in COMPARED[name]:
        measured, told = point.metrics.get(metric), predicted.metrics.get(metric)
        if measured and told:
            return math.log(told / measured)
    return None
