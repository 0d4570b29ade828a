"""A point that names some settings in, a whole one that can run out: the rest is as vLLM has it where that is legal.

What is enqueued, or wished, is never changed: where no values of the rest make it legal it is refused.
"""

import random
from collections.abc import Iterator

from tuner.propose.candidates import levels
from tuner.space.parameters import shown
from tuner.space.search_space import SearchSpace
from tuner.types import Params, Value

#: Draws of the rest before a point is refused.
_DRAWS = 2_000


def completed(space: SearchSpace, given: Params, defaults: Params) -> Params | None:
    """The point with legal values for what it lacks: the defaults where they are legal, else what is nearest; where a rule
    forbids these, the fewest others. None where there are none."""
    given = {name: value for name, value in given.items() if name in space.parameters}  # not what is fixed
    full = {name: p.nearest(defaults.get(name, p.example)) for name, p in space.parameters.items()} | given
    for rests in _rests(space, given):
        found = [point for rest in rests if (point := _whole(space, given, {**full, **rest}))]
        if found:
            return min(found, key=lambda point: _away(point, full))
    return None


def _away(point: Params, full: Params) -> tuple[int, float]:
    """In how many values they differ, and the numbers by how much."""
    others = [(value, full[name]) for name, value in point.items() if value != full[name]]
    numbers = [(one, other) for one, other in others if not isinstance(one, str) and not isinstance(other, str)]
    return len(others), sum(abs(one - other) / max(abs(one), abs(other)) for one, other in numbers)


def refusal(space: SearchSpace, given: Params, defaults: Params) -> str:
    """Why there are none, in a sentence."""
    full = {name: space.parameters[name].nearest(value) for name, value in defaults.items() if name in space.parameters}
    why = (space.violations(given) or space.violations({**full, **given}) or ["no values of the rest fit it"])[0]
    told = ", ".join(f"{name} {shown(value)}" for name, value in given.items())
    return f"the enqueued point {told} is not tried: {why}"


def _rests(space: SearchSpace, given: Params) -> Iterator[list[dict[str, Value]]]:
    """Other values of the rest: first none, then one, then any."""
    yield [{}]
    values = {name: levels(p) for name, p in space.parameters.items() if name not in given}
    yield [{name: value} for name, some in values.items() for value in some]
    draw, drawn = random.Random(0), list[dict[str, Value]]()
    for _ in range(_DRAWS if values else 0):
        changed = draw.sample(list(values), draw.randint(1, len(values)))
        drawn.append({name: draw.choice(values[name]) for name in changed})
    yield drawn


def _whole(space: SearchSpace, given: Params, full: Params) -> Params | None:
    active = space.active(full)
    point = {name: value for name, value in full.items() if name in active}
    return point if given.items() <= point.items() and not space.violations(point) else None
