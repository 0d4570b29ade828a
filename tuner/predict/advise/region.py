"""A case in; which settings start at all out: for each parameter the values that do, and the share of the whole space.

Only memory and vLLM's own refusals are asked, nothing is simulated.
"""

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tuner.predict.advise.case import Case
from tuner.predict.margin import Verdict
from tuner.space.parameters import Categorical, Float, Int, Parameter
from tuner.space.search_space import SearchSpace
from tuner.types import Failed, Params, Value

#: Values of a number that are tried before the ends of what starts are looked for exactly.
_GRID = 17
#: And how often the step between two of them is halved then.
_HALVINGS = 20
#: Parameters that take memory without question: the least of them is the thriftiest.
_LEAST = ("max_num_seqs", "max_num_batched_tokens")
#: Those whose thriftiest value depends on model and card.
_EITHER = ("gpu_memory_utilization", "quantization", "kv_cache_dtype", "enforce_eager")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The values of one parameter that start while the others are as in the region's base: choices, or the ends of a range;
    none at all if empty. `may_start` has with these the values of which that cannot be told. `failed` is why a value that may
    not start does not, None if all of `searched` start."""

    name: str
    searched: tuple[Value, ...]
    starts: tuple[Value, ...]
    may_start: tuple[Value, ...]
    failed: Failed | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """`share` of `points` settings start and of `maybe` that cannot be told, drawn evenly from those of the space that keep its
    rules. The spans are around `base`."""

    base: Params
    spans: tuple[Span, ...]
    share: float
    maybe: float
    points: int


def region(case: Case, base: Params, drawn: Sequence[Params]) -> Region:
    """`drawn` are points of the space, which say what share of it starts."""
    found = Counter(case.verdict(point) for point in drawn)
    return Region(
        base=base,
        spans=tuple(_span(case, base, name, case.space.parameters[name]) for name in base),
        share=found[Verdict.STARTS] / len(drawn) if drawn else 0.0,
        maybe=found[Verdict.MAYBE] / len(drawn) if drawn else 0.0,
        points=len(drawn),
    )


def draw(space: SearchSpace, seed: int, attempts: int) -> list[Params]:
    """Different points that keep the rules, out of so many draws: numbers even, or even in their logarithm."""
    rng, found = random.Random(f"{seed}:plan"), dict[tuple[object, ...], Params]()
    for _ in range(attempts):
        point: dict[str, Value] = {}
        for name, parameter in space.parameters.items():
            if name in space.active(point):
                point[name] = _at(parameter, rng.random())
        if not space.violations(point):
            found.setdefault(tuple(point.items()), point)
    return list(found.values())


def thrifty(space: SearchSpace) -> Iterator[Params]:
    """The points that take least memory: if none of them starts, nothing does."""
    least = {name: values(space.parameters[name], 2)[0] for name in _LEAST if name in space.parameters}
    either = {name: values(space.parameters[name], 5) for name in _EITHER if name in space.parameters}
    for choices in itertools.product(*either.values()):
        yield {**least, **dict(zip(either, choices, strict=True))}


def values(parameter: Parameter, count: int) -> list[Value]:
    """The choices; or about so many values of a range, its ends among them, rising."""
    if isinstance(parameter, Categorical):
        return list(parameter.choices)
    return list(dict.fromkeys(_at(parameter, index / (count - 1)) for index in range(count)))


def _at(parameter: Parameter, share: float) -> Value:
    """The value below which `share` of the parameter lie; share 1 is its end."""
    if isinstance(parameter, Categorical):
        return parameter.choices[min(int(share * len(parameter.choices)), len(parameter.choices) - 1)]
    low, high = parameter.low, parameter.high
    return _on_grid(parameter, low * (high / low) ** share if parameter.log else low + share * (high - low))


def _on_grid(parameter: Int | Float, value: float) -> Value:
    low = parameter.low
    if parameter.step:
        value = low + round((value - low) / parameter.step) * parameter.step
    value = min(value, parameter.high)
    return round(value) if isinstance(parameter, Int) else float(f"{value:.12g}")  # 0.85 + 7 * 0.01 is not 0.92


def _span(case: Case, base: Params, name: str, parameter: Parameter) -> Span:
    failures = list[Failed]()

    def starts(value: Value) -> bool:
        if (failed := case.why_not({**base, name: value})) is not None:
            failures.append(failed)
        return failed is None

    def may_start(value: Value) -> bool:
        return case.verdict({**base, name: value}) is not Verdict.FAILS

    tried = values(parameter, _GRID)
    searched = tuple(tried) if isinstance(parameter, Categorical) else (parameter.low, parameter.high)
    good = _reach(parameter, tried, starts)
    possible = _reach(parameter, tried, may_start) if failures else good
    return Span(
        name=name,
        searched=searched,
        starts=good,
        may_start=possible,
        failed=failures[0] if failures else None,
    )


def _reach(parameter: Parameter, tried: Sequence[Value], holds: Callable[[Value], bool]) -> tuple[Value, ...]:
    """The choices for which it holds, or the ends of the range."""
    good = [value for value in tried if holds(value)]
    if not good or isinstance(parameter, Categorical):
        return tuple(good)
    first, last = tried.index(good[0]), tried.index(good[-1])
    low = _edge(parameter, tried[first - 1], good[0], holds) if first else good[0]
    high = _edge(parameter, tried[last + 1], good[-1], holds) if last + 1 < len(tried) else good[-1]
    return low, high


def _edge(parameter: Int | Float, bad: Value, good: Value, starts: Callable[[Value], bool]) -> Value:
    """The last value that starts on the way from one that does to one that does not."""
    for _ in range(_HALVINGS):
        middle = _on_grid(parameter, (float(bad) + float(good)) / 2)
        if middle in (bad, good):
            break
        bad, good = (bad, middle) if starts(middle) else (middle, good)
    return good
