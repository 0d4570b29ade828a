"""Points that somebody has measured in; the search space of what they vary in, and its YAML, out. Pure.

What all of them have alike is fixed. It does not know what came of them.
"""

from collections.abc import Mapping, Sequence

import yaml
from pydantic import ValidationError

from tuner.errors import UsageError
from tuner.space import gpus
from tuner.space.parameters import Categorical, Float, Int, Parameter
from tuner.space.search_space import Gpu, SearchSpace
from tuner.types import Params, Value
from tuner.types.settings import as_list

#: From this ratio of the largest to the smallest on, numbers are searched by factors.
_LOG_FROM = 8


def spanned(
    name: str, gpu: Gpu, points: Sequence[Params], defaults: Params, known: Mapping[str, Parameter] | None = None
) -> SearchSpace:
    """`defaults` are the values of what a point does not name; what they do not name either is not passed. `known` are the
    ranges that were searched. Raises UsageError, also for a value that this card cannot run."""
    fixed: dict[str, Value] = {}
    parameters: dict[str, Parameter] = {}
    for argument in dict.fromkeys(argument for point in points for argument in point):
        values = _values(argument, points, defaults)
        for value in values:
            if why := gpus.why_not(gpu.capability, argument, value):
                raise UsageError(f"{why}: give the card that these were measured on with --gpu")
        if len(values) > 1:
            parameters[argument] = _parameter(values, (known or {}).get(argument))
        else:
            fixed[argument] = values[0]
    if not parameters:
        raise UsageError("all of them have the same settings: there is no search space in them")
    return _space({"name": name, "gpu": gpu, "fixed": fixed, "parameters": parameters})


def space_yaml(space: SearchSpace, comment: str) -> str:
    """As `--space` reads it; the comment's lines before it."""
    found = space.model_dump(mode="json", exclude_defaults=True)
    found["gpu"] = space.gpu.model_dump(mode="json", exclude_defaults=True) | {"names": list(space.gpu.names)}
    for part in (found.get("fixed", {}), *found["parameters"].values()):
        for key, value in part.items():
            part[key] = [_written(key, one) for one in value] if key == "choices" else _written(key, value)
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    return lines + yaml.safe_dump(found, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def _values(argument: str, points: Sequence[Params], defaults: Params) -> list[Value]:
    """All that were tried, each once, "none" first for what was not passed."""
    usual = defaults.get(argument, gpus.UNSET)
    found = [usual] if argument in defaults else []
    found += [point.get(argument, usual) for point in points]
    each = list({repr(value): value for value in found}.values())
    return sorted(each, key=lambda value: value != gpus.UNSET)


def _parameter(values: Sequence[Value], known: Parameter | None) -> Parameter:
    if known is not None and not isinstance(known, Categorical) and all(known.why_outside(v) is None for v in values):
        return known
    numbers = [value for value in values if not isinstance(value, bool | str)]
    if len(numbers) < len(values):
        return Categorical(type="categorical", choices=tuple(values))
    low, high = min(numbers), max(numbers)
    by_factors = low > 0 and high / low >= _LOG_FROM
    if all(isinstance(number, int) for number in numbers):
        return Int(type="int", low=int(low), high=int(high), log=by_factors)
    return Float(type="float", low=float(low), high=float(high), log=by_factors)


def _space(keys: Mapping[str, object]) -> SearchSpace:
    try:
        return SearchSpace.model_validate(keys)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        why = str(first["msg"]).removeprefix("Value error, ")
        raise UsageError(f"these settings are no search space: {place + ': ' if place else ''}{why}") from error


def _written(argument: str, value: Value) -> object:
    """A list as a list."""
    values = as_list(argument, value)
    return value if values is None else values
