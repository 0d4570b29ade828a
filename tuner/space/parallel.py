"""Parallel sizes in: how many GPUs a server takes, and the search space that so many GPUs leave, out. Pure.

It does not know which GPUs there are, nor what a size brings.
"""

from collections.abc import Iterator
from itertools import product
from math import prod

from tuner.errors import UsageError
from tuner.space.parameters import Categorical, Float
from tuner.space.rules import Rule
from tuner.space.search_space import SearchSpace
from tuner.types import Params, Value
from tuner.types.settings import engines_sharing

#: Their product is how many GPUs a server takes (vLLM's config/parallel.py, world_size_across_dp).
SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "prefill_context_parallel_size", "data_parallel_size")


def gpus_of(settings: Params) -> int:
    """How many GPUs a server with these settings takes; a size that is not given, or is none, is 1."""
    return prod(_size(settings.get(name, 1)) for name in SIZES) // engines_sharing(settings)


def fixed_gpus(space: SearchSpace) -> int:
    """How many each server of the space takes by the sizes that are fixed: where none is searched, that is all."""
    return gpus_of(space.fixed)


def searched_sizes(space: SearchSpace) -> tuple[str, ...]:
    return tuple(name for name in SIZES if name in space.parameters)


def most_gpus(space: SearchSpace) -> int:
    """How many the largest server of the space takes."""
    names = searched_sizes(space)
    points = [dict(zip(names, sizes, strict=True)) for sizes in product(*(_values(space, name) for name in names))]
    return max((gpus_of({**space.fixed, **point}) for point in points if _keeps_rules(space, point)), default=1)


def within(space: SearchSpace, gpus: int) -> SearchSpace:
    """The space for servers that have so many GPUs at the most: sizes that need more leave it, and so does a size of which one
    value alone is left, which is fixed. Raises UsageError where none is."""
    for name in searched_sizes(space):
        parameter, beside = space.parameters[name], fixed_gpus(space)
        sizes = _values(space, name)
        fits = [size for size in sizes if beside * size <= gpus]
        if sizes and not fits and beside <= gpus:
            least = min(sizes)
            raise UsageError(
                f"{name} is {least} at the least, which takes {beside * least} GPUs, and a server can have {gpus}"
            )
        if len(fits) <= 1:
            space = space.without({name}) if fits in ([], [1]) else space.with_fixed({name: fits[0]})
        elif isinstance(parameter, Categorical):
            space = space.with_choices(name, fits)
    names, beside = searched_sizes(space), fixed_gpus(space)
    if not names or most_gpus(space) <= gpus:
        return space
    rule = Rule(
        require=f"{' * '.join((*names, str(beside)) if beside > 1 else names)} <= {gpus}",
        because=f"a server has {gpus} GPUs at the most",
    )
    narrowed = space.model_copy(update={"rules": (*space.rules, rule)})
    kept = tuple(point for point in narrowed.enqueue if not narrowed.violations(point))
    return narrowed.model_copy(update={"enqueue": kept})


def _values(space: SearchSpace, name: str) -> list[int]:
    parameter = space.parameters[name]
    if isinstance(parameter, Categorical):
        return [_size(choice) for choice in parameter.choices]
    if isinstance(parameter, Float):
        return []  # no size: vLLM refuses it
    return list(range(parameter.low, parameter.high + 1, parameter.step or 1))


def _keeps_rules(space: SearchSpace, point: Params) -> bool:
    whole = {**space.fixed, **point}
    return all(rule.holds(whole) for rule in _of_sizes(space, whole))


def _of_sizes(space: SearchSpace, point: Params) -> Iterator[Rule]:
    """The rules about nothing else."""
    return (rule for rule in space.rules if all(name in SIZES for name in rule.names) and set(rule.names) <= set(point))


def _size(value: Value) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else 1
