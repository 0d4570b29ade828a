"""A metric's value in; the text that a reader gets of it out. Pure."""

from collections.abc import Sequence
from math import floor, isinf, log10
from statistics import fmean

from tuner.decide.words.rows import ROWS, Row
from tuner.types import Estimate

#: The change of a value that was 0.
INSTEAD_OF_NONE = "instead of none"


def number(metric: str, value: float | None, unit: bool = True) -> str:
    """A metric's value as the user reads it; "-" where there is none."""
    if value is None:
        return "-"
    row = ROWS[metric]
    return f"{value * row.factor:,.{row.decimals}f}" + (f" {row.unit}" if unit else "")


def estimate_text(found: Estimate, factor: float = 1.0, unit: str = "") -> str:
    """`22,400 tok/s (18,000 to 28,000)`: three digits, for more are not known."""
    value, low, high = (three_digits(one * factor) for one in (found.value, found.low, found.high))
    return f"{value}{f' {unit}' if unit else ''} ({low} to {high})"


def three_digits(value: float) -> str:
    """22,400; 1.25; 0.0312."""
    if not value:
        return "0"
    decimals = 2 - floor(log10(abs(value)))
    return f"{round(value, decimals):,.{max(0, decimals)}f}"


def spread_text(metric: str, values: Sequence[float]) -> str:
    """The mean, and half of what the launches span."""
    if not values:
        return "-"
    shown = number(metric, fmean(values))
    return shown if len(values) < 2 else f"{shown} ±{number(metric, (max(values) - min(values)) / 2, unit=False)}"


def change_of_metric(metric: str, before: Sequence[float], after: Sequence[float]) -> float | None:
    """Of the means, relative; of a share in points. None where one of them is missing or 0."""
    if not before or not after or not fmean(before):
        return None
    a, b = fmean(before), fmean(after)
    return ROWS[metric].factor * (b - a) if ROWS[metric].unit == "%" else b / a - 1


def change_words(row: Row, change: float) -> str:
    """In percent; of a latency also in a word, because less of it is better."""
    if row.unit == "%":  # a change of a share, in percent of it, would be taken for points
        return f"{change:+.0f} points"
    if isinf(change):
        return INSTEAD_OF_NONE
    word = ""
    if row.unit == "ms" and abs(change) >= 0.0005:
        word = " slower" if change > 0 else " faster"
    return f"{change:+.1%}{word}"


def is_good(row: Row, change: float) -> bool | None:
    """Whether a change is for the better; None where neither is, and for one that is too small to matter."""
    if row.more_is_better is None or abs(change) < 0.005:
        return None
    return (change > 0) == row.more_is_better
