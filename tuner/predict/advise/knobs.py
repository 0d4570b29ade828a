"""Causes that hold a server back, and its settings, in; the values of searched settings that may move them out: the remedies of
docs/diagnosis.md. Pure.

It does not know which of them are worth it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tuner.diagnose.causes import Cause
from tuner.diagnose.table import Advice, the_table
from tuner.predict.advise.case import Case
from tuner.space.parameters import Categorical, Float, Int, Parameter, is_number, meant
from tuner.types import Params, Value

#: How far a number is moved, if it starts.
_FACTORS = (4, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """A setting that moves a bottleneck: with `value` the objective is predicted to be better by `gain`, relative. Where the
    server does not start, `gain` is None, and it may need more than one of the knobs."""

    name: str
    value: Value
    gain: float | None


def probes(case: Case, params: Params, causes: Sequence[Cause]) -> Iterator[tuple[str, list[Value]]]:
    """The searched settings, the likeliest first, each with the values to try: the first that starts."""
    seen = list[tuple[str, list[Value]]]()
    for advice in (one for cause in causes for one in the_table().remedies.get(cause, ())):
        parameter, value = case.space.parameters.get(advice.name), params.get(advice.name)
        if parameter is None or value is None:
            continue
        found = (advice.name, list(_values(advice, parameter, value)))
        if found[1] and found not in seen:
            seen.append(found)
            yield found


def _values(advice: Advice, parameter: Parameter, value: Value) -> Sequence[Value]:
    if advice.direction == "set":
        better = [choice for choice in getattr(parameter, "choices", ()) if advice.is_met_by(choice)]
        return [] if value in better else better[:1]
    if not is_number(value):
        return []
    return _chosen(parameter, value, advice) if isinstance(parameter, Categorical) else _moved(parameter, value, advice)


def _chosen(parameter: Categorical, value: float, advice: Advice) -> Sequence[Value]:
    """Of choices that are numbers those as far as the table goes, the farthest first."""
    numbers = [one for one in parameter.choices if is_number(one)]
    if advice.direction == "raise":
        end = max(numbers, default=value) if not is_number(advice.value) else advice.value
        return sorted((one for one in numbers if value < one <= end), reverse=True)
    end = min(numbers, default=value) if not is_number(advice.value) else advice.value
    return sorted(one for one in numbers if end <= one < value)


def _moved(parameter: Int | Float, value: float, advice: Advice) -> Sequence[Value]:
    """By a factor, within the range and as far as the table goes."""
    farthest = advice.value if is_number(advice.value) else None
    is_raised = advice.direction == "raise"
    if is_raised:
        end = parameter.high if farthest is None else min(parameter.high, farthest)
    else:
        end = parameter.low if farthest is None else max(parameter.low, farthest)
    if (value >= end) if is_raised else (value <= end):
        return []
    if isinstance(parameter, Float) or advice.at_once:
        return [parameter.nearest(end)]
    wanted = [min(int(value) * by, int(end)) if is_raised else max(int(value) // by, int(end)) for by in _FACTORS]
    found = [meant(parameter, one, value) for one in wanted]
    return list(dict.fromkeys(one for one in found if one is not None))
