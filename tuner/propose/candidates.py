"""Parameters in; the points that a sampler chooses from out: legal, each once.

A space of few points is enumerated. Of a larger one points are drawn whose numbers lie on levels: all values of a short range,
powers of two of a range that is searched by its logarithm; beside those that are known, halfway between them, too. It knows
nothing of what a point is worth.
"""

import itertools
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from math import ceil, log2, prod, sqrt

from tuner.space.parameters import Categorical, Float, Int, Parameter, is_number
from tuner.types import Params, Value

#: A space of at most so many combinations is enumerated. Of a larger one so many points are drawn, in so many draws each.
MOST = 20_000
DRAWN, _DRAWS_EACH = 240, 30
#: A range of at most so many values has all of them as its levels; another one so many, if it is no range of powers of two.
_SHORT, _LEVELS = 24, 9
#: Of a number on a grid: 0.85 + 7 * 0.01 is 0.92.
_DIGITS = 10

#: Equal for settings that are equal, where true is not 1, and 1 is 1.0.
Key = frozenset[tuple[str, bool, Value]]


def key_of(params: Params) -> Key:
    return frozenset((name, isinstance(value, bool), value) for name, value in params.items())


class Candidates:
    """The points of one space. Parameters in `frozen` stay at the defaults."""

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        *,
        is_legal: Callable[[Params], bool] = lambda params: True,
        active: Callable[[Params], Collection[str]] | None = None,
        defaults: Params | None = None,
        seed: int = 0,
        frozen: Collection[str] = (),
        wished: Iterable[Params] = (),
    ) -> None:
        """`wished` are points that are among them whatever is drawn, where they are legal."""
        self.parameters = dict(parameters)
        self._is_legal, self._active = is_legal, active or (lambda params: self.parameters.keys())
        self._defaults, self._seed = dict(defaults or {}), seed
        self._frozen = frozenset(frozen)
        self._usual = {n: p.nearest(self._defaults.get(n, p.example)) for n, p in self.parameters.items()}
        self._levels = {name: self._levels_of(name, parameter) for name, parameter in self.parameters.items()}
        self.finite = not self._frozen and self._is_finite()
        found = self._enumerated() if prod(map(len, self._levels.values())) <= MOST else self._drawn()
        kept = {name: self._usual[name] for name in self._frozen}
        self.wished = [legal for point in wished if (legal := self.legal({**point, **kept})) is not None]
        self.points: list[Params] = list({key_of(p): p for p in itertools.chain(self.wished, found)}.values())

    @classmethod
    def of(cls, parameters: Mapping[str, Parameter], points: Sequence[Params]) -> "Candidates":
        """These points alone, whatever the space has beside them."""
        made = cls({}, defaults={})
        made.parameters, made.points, made.finite = dict(parameters), list(points), True
        made._levels = {}
        return made

    def legal(self, params: Params) -> Params | None:
        """The point with legal values for what it lacks: the defaults where they are legal, else what is nearest to them; None
        where the rules still forbid it."""
        full: dict[str, Value] = {}
        for name, parameter in self.parameters.items():
            value = params.get(name, self._defaults.get(name, parameter.example))
            full[name] = value if parameter.why_outside(value) is None else parameter.nearest(value)
        point = self._counted(full)
        return point if self._is_legal(point) else None

    def changed(self, params: Params) -> int:
        """How many settings are others than the defaults."""
        return sum(value != self._defaults.get(name, value) for name, value in params.items())

    def near(self, params: Params, most: int, seed: int = 0, known: Sequence[Params] = ()) -> list[Params]:
        """Legal points that differ from this one in one parameter: on a level, of which `most` are drawn where there are more;
        and, of one that is `known`, halfway to neighbours that are."""
        moves = [
            {**self._usual, **params, name: level}
            for name, levels in self._levels.items()
            for level in levels
            if level != params.get(name)
        ]
        random.Random(f"{self._seed}:{seed}:near").shuffle(moves)
        halves = [
            {**self._usual, **params, name: value}
            for name in (self._levels if params in known else ())
            for value in self._halfway(name, params, known)
        ]
        here = {key_of(params): params}
        found = self._counted_legal(moves, here, most)
        return [*found.values(), *self._counted_legal(halves, here | found, len(halves)).values()]

    def _counted_legal(self, moves: Sequence[Params], beside: Mapping[Key, Params], most: int) -> dict[Key, Params]:
        """The first `most` of the legal ones that are not `beside`."""
        found: dict[Key, Params] = {}
        for point in map(self._counted, moves):
            if len(found) == most:
                break
            if key_of(point) not in beside and self._is_legal(point):
                found[key_of(point)] = point
        return found

    def _halfway(self, name: str, params: Params, known: Sequence[Params]) -> Iterator[Value]:
        """Between a number's value and its neighbours, where the levels are not all of it: once that neighbour is known, for a
        step half as long brings less."""
        parameter, here = self.parameters[name], params.get(name)
        is_whole = name in self._frozen or size_of(parameter) == len(self._levels[name])
        if isinstance(parameter, Categorical) or is_whole or not is_number(here):
            return
        alike = {point[name] for point in known if name in point and {**point, name: here} == params}
        numbers = {float(one) for one in (*self._levels[name], *alike) if is_number(one)}
        low, high = ((one for one in numbers if one < here), (one for one in numbers if one > here))
        around = [one for one in (max(low, default=None), min(high, default=None)) if one is not None]
        for other in around:
            if other in alike:
                yield parameter.nearest(sqrt(here * other) if parameter.log else (here + other) / 2)

    def _counted(self, full: Mapping[str, Value]) -> Params:
        """Without what does not count beside the others."""
        counted = self._active(full)
        return {name: full[name] for name in self.parameters if name in full and name in counted}

    def _levels_of(self, name: str, parameter: Parameter) -> list[Value]:
        return [self._usual[name]] if name in self._frozen else levels(parameter)

    def _is_finite(self) -> bool:
        """Whether the levels are all there is, and few enough."""
        sizes = [size_of(parameter) for parameter in self.parameters.values()]
        return all(size is not None and size <= _SHORT for size in sizes) and prod(size or 0 for size in sizes) <= MOST

    def _enumerated(self) -> Iterator[Params]:
        for values in itertools.product(*self._levels.values()):
            point = self._counted(dict(zip(self._levels, values, strict=True)))
            if self._is_legal(point):
                yield point

    def _drawn(self) -> list[Params]:
        draw, found = random.Random(f"{self._seed}:candidates"), dict[Key, Params]()
        for _ in range(DRAWN * _DRAWS_EACH):
            point = self._counted({name: draw.choice(values) for name, values in self._levels.items()})
            if self._is_legal(point):
                found.setdefault(key_of(point), point)
            if len(found) >= DRAWN:
                break
        return list(found.values())


def size_of(parameter: Parameter) -> int | None:
    """How many values it has; None where they cannot be counted."""
    if isinstance(parameter, Categorical):
        return len(parameter.choices)
    if isinstance(parameter, Int):
        return (parameter.high - parameter.low) // (parameter.step or 1) + 1
    if parameter.step is None:
        return 1 if parameter.low == parameter.high else None
    return int((parameter.high - parameter.low) / parameter.step + 1e-6) + 1


def levels(parameter: Parameter) -> list[Value]:
    """The values at which it is tried, rising; all of a short range."""
    if isinstance(parameter, Categorical):
        return list(parameter.choices)
    size = size_of(parameter)
    if size is not None and size <= _SHORT:
        return [_on_grid(parameter, index) for index in range(size)]
    if parameter.log:
        return list(dict.fromkeys([parameter.low, *_powers(parameter), parameter.high]))
    return list(
        dict.fromkeys(parameter.nearest(_between(parameter, index / (_LEVELS - 1))) for index in range(_LEVELS))
    )


def _powers(parameter: Int | Float) -> list[Value]:
    """Powers of two inside the range, or as many values evenly between where that is less than an octave."""
    exponents = range(ceil(log2(parameter.low)), int(log2(parameter.high)) + 1)
    if len(exponents) < 3:
        even = (parameter.low * (parameter.high / parameter.low) ** (index / (_LEVELS - 1)) for index in range(_LEVELS))
        return [parameter.nearest(value) for value in even]
    return [2**e if isinstance(parameter, Int) else 2.0**e for e in exponents]


def _on_grid(parameter: Int | Float, index: int) -> Value:
    if isinstance(parameter, Int):
        return parameter.low + index * (parameter.step or 1)
    return round(parameter.low + index * (parameter.step or 0.0), _DIGITS)


def _between(parameter: Int | Float, share: float) -> float:
    return parameter.low + share * (parameter.high - parameter.low)
