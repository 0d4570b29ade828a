"""Points in, numbers that a surrogate can measure distances between out. Pure.

Each parameter has one or more columns: a number one, scaled so that its range is 0..1, of its logarithm where that is searched
or where the ends are far apart; a categorical one column a choice, so that two choices are 1 apart.
"""

from collections.abc import Mapping, Sequence
from math import log2, sqrt

import numpy as np
from numpy.typing import NDArray

from tuner.space.parameters import Categorical, Float, Int, Parameter, is_number
from tuner.types import Params, Value

Matrix = NDArray[np.float64]

#: A range whose ends are so many times apart is a matter of its logarithm.
_WIDE = 8.0
#: Of each column of a choice, so that two points with different choices are 1 apart.
_CHOICE = 1 / sqrt(2)
#: Where a number lies that does not count beside the others.
_MIDDLE = 0.5


class Encoding:
    """`parameter_of` is the index of the parameter that each column belongs to, `choices` the names of the categorical ones."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self._parameters = dict(parameters)
        widths = [len(p.choices) if isinstance(p, Categorical) else 1 for p in self._parameters.values()]
        self.parameter_of = np.repeat(np.arange(len(widths)), widths)
        self.names = tuple(self._parameters)
        self.choices = frozenset(name for name, p in self._parameters.items() if isinstance(p, Categorical))

    def encode(self, points: Sequence[Params]) -> Matrix:
        """(points, columns)."""
        rows = [
            [cell for name, p in self._parameters.items() for cell in _cells(p, point.get(name))] for point in points
        ]
        return np.array(rows, dtype=float).reshape(len(points), len(self.parameter_of))

    def scores(self, points: Sequence[Params]) -> Matrix:
        """(points, parameters): one number a parameter, for saying in which order a design has its values: of a choice its
        place among the choices, NaN where the parameter does not count."""
        rows = [[_score(p, point.get(name)) for name, p in self._parameters.items()] for point in points]
        return np.array(rows, dtype=float).reshape(len(points), len(self._parameters))


def _cells(parameter: Parameter, value: Value | None) -> list[float]:
    if isinstance(parameter, Categorical):
        return [_CHOICE * _is(choice, value) for choice in parameter.choices]
    return [_MIDDLE if not is_number(value) else _scaled(parameter, value)]


def _score(parameter: Parameter, value: Value | None) -> float:
    if isinstance(parameter, Categorical):
        return next((float(i) for i, choice in enumerate(parameter.choices) if _is(choice, value)), float("nan"))
    return _scaled(parameter, value) if is_number(value) else float("nan")


def _scaled(parameter: Int | Float, value: Value | None) -> float:
    assert isinstance(value, int | float)
    low, high = float(parameter.low), float(parameter.high)
    if low > 0 and (parameter.log or high / low >= _WIDE):
        if value <= 0:
            return 0.0
        low, high, value = log2(low), log2(high), log2(value)
    return (value - low) / (high - low) if high > low else _MIDDLE


def _is(choice: Value, value: Value | None) -> bool:
    return choice == value and isinstance(choice, bool) == isinstance(value, bool)
