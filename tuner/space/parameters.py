"""The three kinds of parameters, in Optuna's words: their YAML keys in, whether a value lies inside out.

They do not know engine arguments, GPUs or each other.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeGuard

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictFloat, StrictInt, model_validator

from tuner.space.gpus import UNSET
from tuner.space.words import not_a_value
from tuner.types import Params, Value
from tuner.types.settings import as_list, list_text

#: Of a number on a grid: 0.85 + 7 * 0.01 is 0.92.
_DIGITS = 10


def _scalar(value: object) -> object:
    if isinstance(value, list) and value and all(isinstance(one, bool | int | float | str) for one in value):
        return list_text(value)
    if why := not_a_value(value):
        raise ValueError(why)
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"expected a number, a string, true or false; found {'null' if value is None else value}")
    return value


Scalar = Annotated[Value, BeforeValidator(_scalar)]


#: Above it a sampler's and a database's floating-point numbers are not whole any more.
_MOST_INT = 2**53


class _Parameter(BaseModel):
    """`when` names what other parameters must be for this one to count, a list: one of these; empty: always. `group` is one of
    the space's."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    when: Mapping[str, Scalar] = {}
    group: str | None = None


class _Range(_Parameter):
    def _check(self, low: float, high: float, step: float | None, log: bool) -> None:
        if low > high:
            raise ValueError(f"low {low} is above high {high}")
        if log and low <= 0:
            raise ValueError(f"log needs a low above 0, found {low}")
        if step is not None and step <= 0:
            raise ValueError(f"step must be above 0, found {step}")
        if log and step is not None:
            raise ValueError("log and step exclude each other")


class Int(_Range):
    """A whole number in low..high, both included; `log` searches its logarithm evenly."""

    type: Literal["int"]
    low: StrictInt
    high: StrictInt
    step: StrictInt | None = None
    log: bool = False

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        self._check(self.low, self.high, self.step, self.log)
        if max(abs(self.low), abs(self.high)) > _MOST_INT:
            raise ValueError(f"whole numbers are searched up to {_MOST_INT:,}")
        return self

    @property
    def example(self) -> Value:
        return self.low

    def why_outside(self, value: Value) -> str | None:
        """Why `value` cannot be chosen; None if it can."""
        if isinstance(value, bool) or not isinstance(value, int):
            return "is not a whole number"
        if not self.low <= value <= self.high:
            return f"is outside {self.low}..{self.high}"
        if self.step is not None and (value - self.low) % self.step:
            return f"is not on the grid of {self.low} + n * {self.step}"
        return None

    def nearest(self, value: Value) -> Value:
        """The value that can be chosen nearest to a number."""
        step = self.step or 1
        steps = round((min(max(_number(value), self.low), self.high) - self.low) / step)
        return self.low + step * min(steps, (self.high - self.low) // step)


class Float(_Range):
    """A number in low..high, both included, on the grid low + n * step if there is a step."""

    type: Literal["float"]
    low: StrictFloat
    high: StrictFloat
    step: StrictFloat | None = None
    log: bool = False

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        self._check(self.low, self.high, self.step, self.log)
        return self

    @property
    def example(self) -> Value:
        return self.low

    def why_outside(self, value: Value) -> str | None:
        """Why `value` cannot be chosen; None if it can."""
        if isinstance(value, bool | str):
            return "is not a number"
        if not self.low <= value <= self.high:
            return f"is outside {self.low}..{self.high}"
        if self.step is not None:
            steps = (value - self.low) / self.step
            if abs(steps - round(steps)) > 1e-6:  # 0.92 is not exactly 0.85 + 7 * 0.01 in binary
                return f"is not on the grid of {self.low} + n * {self.step}"
        return None

    def nearest(self, value: Value) -> Value:
        """The value that can be chosen nearest to a number."""
        inside = min(max(_number(value), self.low), self.high)
        if self.step is None:
            return inside
        steps = min(round((inside - self.low) / self.step), int((self.high - self.low) / self.step + 1e-6))
        return round(self.low + self.step * steps, _DIGITS)


class Categorical(_Parameter):
    """One of some values, without an order."""

    type: Literal["categorical"]
    choices: tuple[Scalar, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _no_duplicates(self) -> Self:
        for index, choice in enumerate(self.choices):
            if any(_same(choice, other) for other in self.choices[:index]):
                raise ValueError(f"the choice {shown(choice)} is there twice")
        return self

    @property
    def example(self) -> Value:
        return self.choices[0]

    def why_outside(self, value: Value) -> str | None:
        """Why `value` cannot be chosen; None if it can."""
        if any(_same(value, choice) for choice in self.choices):
            return None
        return f"is none of {', '.join(map(shown, self.choices))}"

    def nearest(self, value: Value) -> Value:
        """The value where it can be chosen; else "none", with which vLLM has its own; else, of a number, the number nearest to
        it; else the first one."""
        if self.why_outside(value) is None:
            return value
        if UNSET in self.choices:
            return UNSET
        numbers = [choice for choice in self.choices if is_number(choice)] if is_number(value) else []
        return min(numbers, key=lambda choice: abs(choice - _number(value)), default=self.choices[0])


Parameter = Annotated[Int | Float | Categorical, Field(discriminator="type")]


def meant(parameter: Parameter, wanted: Value, current: Value | None, *, begins: bool = False) -> Value | None:
    """What there is for a value that is wanted in place of the current one (None: not known): of numbers the nearest that lies
    where it does, of other choices the same, or the first that `begins` so. None without one, and where that is current."""
    if isinstance(parameter, Categorical):
        if is_number(wanted):
            numbers = [one for one in parameter.choices if is_number(one) and _is_there(one, wanted, current)]
            return min(numbers, key=lambda one: abs(one - wanted), default=None)
        same = [one for one in parameter.choices if _same(one, wanted)]
        alike = [one for one in parameter.choices if begins and str(one).startswith(str(wanted))]
        return next((one for one in [*same, *alike] if one != current), None)
    found = parameter.nearest(wanted)
    return found if _is_there(found, wanted, current) else None


def _is_there(value: Value, wanted: Value, current: Value | None) -> bool:
    """Whether it is another than the current one, and lies where the wanted one does."""
    if is_number(value) and is_number(wanted) and is_number(current):
        return value > current if wanted > current else value < current
    return value != current


def meeting(wanted: Value) -> list[Value]:
    """The values that meet a condition of `when`."""
    return [wanted, *(as_list("", wanted) or ())]


def never_met(parameter: Parameter, wanted: Value) -> str | None:
    """Why a condition cannot be met, or a value of its list never is."""
    whole, *each = meeting(wanted)
    if parameter.why_outside(whole) is None:
        return None
    return next((f"{shown(one)} {why}" for one in each or [whole] if (why := parameter.why_outside(one))), None)


def unmet(when: Params, point: Params) -> str:
    """The conditions that `point` does not meet, as text."""
    left = {name: meeting(value) for name, value in when.items() if point.get(name) not in meeting(value)}
    return " and ".join(f"{name} is {' or '.join(map(shown, values[1:] or values))}" for name, values in left.items())


def shown(value: Value) -> str:
    """A value as YAML writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_number(value: object) -> TypeGuard[float]:
    """Whether it can be reckoned with: true is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Value) -> float:
    """The lowest for a text, which is none."""
    return float("-inf") if isinstance(value, str) else float(value)


def _same(one: Value, other: Value) -> bool:
    """Equal, where true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
