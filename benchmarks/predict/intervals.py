"""How wide the 95 % interval of a prediction is, learned from points that no constant was fitted on, and how many of others lie
inside. Pure.

Classes: "host" (the card is measured, and the model learned of three launches on the host), "card" (the card is measured),
"none".
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from cards import card
from points import Point
from score import COMPARED, Pair, Predicted

from tuner.predict.step import MEASURED

Method = Literal["plain", "calibrated", "same", "roofline"]
SHARE = 0.95
METRICS = ("throughput", "TTFT", "TPOT", "E2EL")


def card_class(point: Point, method: Method) -> str:
    """Of a prediction for this point."""
    known = any(name in point.gpu for name in MEASURED.get(card(point.gpu).capability or (0, 0), ()))
    return "none" if not known else "host" if method == "calibrated" else "card"


def half_widths(pairs: Sequence[Pair]) -> dict[str, float]:
    """Of each metric: the logarithm of how many times off 95 % of the points are at most."""
    found = {}
    for name in METRICS:
        if off := [value for pair in pairs if (value := _off(pair, name)) is not None]:
            # of few points the largest is not the quantile: (n + 1) as in a prediction interval
            found[name] = float(np.quantile(np.abs(off), min(1.0, SHARE * (len(off) + 1) / len(off))))
    return found


def classes(tested: Mapping[str, Mapping[Method, Sequence[Pair]]]) -> dict[str, list[Pair]]:
    found: dict[str, list[Pair]] = {}
    for of in tested.values():
        for method in ("plain", "calibrated"):
            for pair in of[method]:
                found.setdefault(card_class(pair[0], method), []).append(pair)
    return found


def covered(tested: Mapping[str, Mapping[Method, Sequence[Pair]]]) -> dict[str, list[bool]]:
    """Of each class and metric, whether each point is inside an interval that was learned of the other half of them. A launch
    is in one half with all its loads."""
    found: dict[str, list[bool]] = {}
    for kind, pairs in classes(tested).items():
        halves = [[pair for pair in pairs if _side(pair[0]) == side] for side in (0, 1)]
        for learned, judged in (halves, halves[::-1]):
            widths = half_widths(learned)
            for name in widths:
                off = [value for pair in judged if (value := _off(pair, name)) is not None]
                found.setdefault(f"{name}, {kind}", []).extend(abs(value) <= widths[name] for value in off)
    return found


def _side(point: Point) -> int:
    return hashlib.sha256(f"interval {point.launch}".encode()).digest()[0] % 2


def _off(pair: tuple[Point, Predicted], name: str) -> float | None:
    point, predicted = pair
    for metric in COMPARED[name]:
        measured, told = point.metrics.get(metric), predicted.metrics.get(metric)
        if measured and told:
            return math.log(told / measured)
    return None
