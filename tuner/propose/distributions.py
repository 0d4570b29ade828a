"""Parameters in; the distributions of Optuna that are the same, out: what is searched, and what a trial was that lay outside.

vLLM's defaults may lie outside what the user searches, or off its grid. Their trial then has distributions of its own, which
Optuna allows for numbers; a choice must be among those of all trials. It knows no trials, only their settings.
"""

from collections.abc import Iterable, Mapping

from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from tuner.space.parameters import Categorical, Float, Int, Parameter
from tuner.types import Params, Value


def searched(parameter: Parameter) -> BaseDistribution:
    """The values that are searched."""
    if isinstance(parameter, Categorical):
        return CategoricalDistribution(_choices(parameter.choices))
    if isinstance(parameter, Int):
        return IntDistribution(parameter.low, int(_last(parameter)), log=parameter.log, step=parameter.step or 1)
    return FloatDistribution(parameter.low, _last(parameter), log=parameter.log, step=parameter.step)


def is_inside(params: Params, parameters: Mapping[str, Parameter]) -> bool:
    """Whether every value can be chosen."""
    return all(parameters[name].why_outside(value) is None for name, value in params.items() if name in parameters)


class Distributions:
    """Of trials with these settings."""

    def __init__(self, parameters: Mapping[str, Parameter], tried: Iterable[Params]) -> None:
        self._parameters = parameters
        self._searched = {name: searched(parameter) for name, parameter in parameters.items()}
        for params in tried:
            for name, value in params.items():
                self._widen(name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Distributions) and (self._parameters, self._searched) == (
            other._parameters,
            other._searched,
        )

    def of(self, params: Params) -> dict[str, BaseDistribution]:
        """One for each setting of the trial, but for what Optuna has none for beside the others: a word for a number, say."""
        found = ((name, self._of(name, params[name])) for name in self._parameters if name in params)
        return {name: distribution for name, distribution in found if distribution is not None}

    def _of(self, name: str, value: Value) -> BaseDistribution | None:
        parameter, usual = self._parameters[name], self._searched[name]
        if isinstance(usual, CategoricalDistribution):
            return usual if _is_among(value, usual.choices) else None
        if parameter.why_outside(value) is None:
            return usual
        assert isinstance(usual, FloatDistribution | IntDistribution)
        if isinstance(value, bool | str) or (usual.log and value <= 0):
            return None
        low, high = min(usual.low, value), max(usual.high, value)
        if isinstance(parameter, Float):
            return FloatDistribution(low, high, log=parameter.log)
        return IntDistribution(int(low), int(high), log=usual.log) if isinstance(value, int) else None

    def _widen(self, name: str, value: Value) -> None:
        """Optuna does not tell true from 1: what equals a choice and is another one stays out."""
        usual = self._searched.get(name)
        if isinstance(usual, CategoricalDistribution) and value not in usual.choices:
            self._searched[name] = CategoricalDistribution([*usual.choices, value])


def _choices(values: Iterable[Value]) -> list[CategoricalChoiceType]:
    return list(values)


def _is_among(value: Value, choices: Iterable[CategoricalChoiceType]) -> bool:
    return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in choices)


def _last(parameter: Int | Float) -> float:
    """The last value on the grid: Optuna warns of an end that is off it."""
    return float(parameter.nearest(parameter.high))
