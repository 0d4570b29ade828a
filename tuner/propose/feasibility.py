"""Launches that failed and launches that did not in; how likely another point starts out. Pure.

A failure is blamed on what only failures of its cause have: values that no launch which started had, and numbers beyond all of
those; where there is none that they share, on several of one parameter. Beside that, points near to a failure are in doubt.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from math import inf

import numpy as np

from tuner.propose.encoding import Encoding, Matrix
from tuner.propose.history import Seen
from tuner.propose.surrogate import Vector
from tuner.space.parameters import is_number
from tuner.types import Params

#: A point that has more than a part of what is suspected after one failure has so much of its chance left: the next launch is
#: to tell which part is to blame. After more of a cause what has all that is suspected is not launched, and what has a part of
#: it has so much less of its chance for each: few causes are met three times.
_PART, _LEFT = 0.5, 0.1
#: How near points must be to say something of each other, and as how many launches nearby the expectation counts.
_NEAR, _COUNTS = 0.35, 1.0
#: Distances of so many points are held at once: of 20,000 to 2,000 launches it would be gigabytes.
_AT_ONCE = 64

_Suspect = Callable[[Params], bool]


def chances(
    points: Sequence[Params],
    encoding: Encoding,
    seen: Sequence[Seen],
    expected: Vector,
    running: Sequence[Params] = (),
) -> Vector:
    """That each point starts, 0..1; `expected` are what the points' own predictions say. What is suspected and runs now is
    being tested: it has no chance beside that."""
    good, bad = [s.params for s in seen if s.measured], [s for s in seen if not s.measured]
    if not bad:
        return expected
    found = _nearby(encoding.encode(points), encoding.encode(good), encoding.encode([s.params for s in bad]), expected)
    causes = defaultdict[str, list[Params]](list)
    for one in bad:
        causes[one.cause or ""].append(one.params)
    for failures in causes.values():
        for explained, suspects in _blamed(failures, good, encoding.choices):
            has = np.array([sum(suspect(point) for suspect in suspects) / len(suspects) for point in points])
            found = found * _left(has, explained)
            if tested := [suspect for suspect in suspects if any(map(suspect, running))]:
                found = found * np.array([not any(suspect(point) for suspect in tested) for point in points])
    return found


def _left(has: Vector, failures: int) -> Vector:
    """What is left of the chance of points with such a share of what explains so many failures."""
    if failures == 1:
        return np.minimum((1 - has) * np.where(has > _PART, _LEFT, 1.0) + _LEFT**2, 1.0)
    return np.where(has == 0, 1.0, np.where(has < 1, _LEFT**failures, 0.0))


def _blamed(
    failures: Sequence[Params], good: Sequence[Params], choices: Collection[str]
) -> Iterator[tuple[int, list[_Suspect]]]:
    """How many failures are explained, and what each of them has: one value or side of a number that all failures have, else
    any such of a parameter, of that which explains the most. The others have an explanation of their own."""
    names = dict.fromkeys(name for params in failures for name in params)
    only = [suspects for name in names if (suspects := _only(name, failures, good, is_choice=name in choices))]
    shared = [suspect for suspects in only for suspect in suspects if all(map(suspect, failures))]
    possible = shared or [_any_of(suspects) for suspects in only]
    most = max((sum(map(suspect, failures)) for suspect in possible), default=0)
    if most:
        blamed = [suspect for suspect in possible if sum(map(suspect, failures)) == most]
        yield most, blamed
        yield from _blamed([one for one in failures if not any(has(one) for has in blamed)], good, choices)


def _only(name: str, failures: Sequence[Params], good: Sequence[Params], *, is_choice: bool) -> list[_Suspect]:
    """What some of these failures have of a parameter and no launch that started: values, and numbers beyond all of those."""
    others = [params[name] for params in good if name in params]
    started = set(map(str, others))
    values = {str(one[name]): one[name] for one in failures if name in one and str(one[name]) not in started}
    if not all(map(is_number, (*values.values(), *others))):
        return [_equals(name, text) for text in values]
    low, high = min(map(float, others), default=-inf), max(map(float, others), default=-inf)
    above = [float(value) for value in values.values() if float(value) > high]
    below = [float(value) for value in values.values() if float(value) < low]
    between = [text for text, value in values.items() if is_choice and low < float(value) < high]
    found = [_beyond(name, min(above), 1)] if above else []
    found += [_beyond(name, max(below), -1)] if below else []
    return found + [_equals(name, text) for text in between]


def _beyond(name: str, end: float, sign: int) -> _Suspect:
    def has(params: Params) -> bool:
        value = params.get(name)
        return is_number(value) and sign * float(value) >= sign * end

    return has


def _equals(name: str, value: str) -> _Suspect:
    return lambda params: name in params and str(params[name]) == value


def _any_of(suspects: Sequence[_Suspect]) -> _Suspect:
    return lambda params: any(suspect(params) for suspect in suspects)


def _nearby(points: Matrix, good: Matrix, bad: Matrix, expected: Vector) -> Vector:
    """What is expected, with the launches nearby counted in."""
    started, failed = _weights(points, good), _weights(points, bad)
    found: Vector = expected * (_COUNTS + started) / (_COUNTS + started + failed)
    return found


def _weights(points: Matrix, others: Matrix) -> Vector:
    weights = np.zeros(len(points))
    for begin in range(0, len(points) if len(others) else 0, _AT_ONCE):
        some = slice(begin, begin + _AT_ONCE)
        square = ((points[some, None, :] - others[None, :, :]) ** 2).sum(axis=2)
        weights[some] = np.exp(-square / (2 * _NEAR**2)).sum(axis=1)
    return weights
