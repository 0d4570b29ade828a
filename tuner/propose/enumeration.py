"""A space in, every point of it that can run out; or why they are too many to count. It knows nothing of what was tried."""

import itertools
from collections.abc import Collection
from math import prod

from tuner.errors import UsageError
from tuner.propose.candidates import MOST, Key, key_of, size_of
from tuner.space.parameters import Categorical, Parameter
from tuner.space.search_space import SearchSpace
from tuner.types import Params, Value


def is_finite(space: SearchSpace, frozen: Collection[str] = ()) -> bool:
    """Whether all points can be gone through. Those in `frozen` have one value."""
    return _uncountable(space, frozen) is None


def every_point(space: SearchSpace, frozen: Params) -> list[Params]:
    """The points that keep the rules, each once; parameters in `frozen` have that value. Only of a finite space."""
    values = [[frozen[n]] if n in frozen else _values(p) for n, p in space.parameters.items()]
    found: dict[Key, Params] = {}
    for chosen in itertools.product(*values):
        full = dict(zip(space.parameters, chosen, strict=True))
        active = space.active(full)
        point = {name: value for name, value in full.items() if name in active}
        if key_of(point) not in found and not space.violations(point):
            found[key_of(point)] = point
    return list(found.values())


def check_finite(space: SearchSpace) -> None:
    """Raises UsageError for a space that a grid has no end in."""
    if (why := _uncountable(space, ())) is not None:
        raise UsageError(f"--sampler grid goes through every setting of {space.name or 'the search space'}, and {why}")


def _uncountable(space: SearchSpace, frozen: Collection[str]) -> str | None:
    sizes = {name: size_of(parameter) for name, parameter in space.parameters.items() if name not in frozen}
    if endless := [name for name, size in sizes.items() if size is None]:
        return (
            f"{', '.join(endless)} {'has' if len(endless) == 1 else 'have'} no step: give one, or take another sampler"
        )
    if (count := prod(size or 1 for size in sizes.values())) > MOST:
        most = ", ".join(sorted(sizes, key=lambda name: -(sizes[name] or 0))[:3])
        return (
            f"it has {count:,} of them, more than {MOST:,}: {most} have the most values: give these a step, or choices"
        )
    return None


def _values(parameter: Parameter) -> list[Value]:
    if isinstance(parameter, Categorical):
        return list(parameter.choices)
    step, size = parameter.step or 1, size_of(parameter) or 1
    return [parameter.nearest(parameter.low + step * index) for index in range(size)]
