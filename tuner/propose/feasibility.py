"""Launches that failed and launches that did not in; how likely another point starts out. Pure.

A failure is blamed on what only failures of its cause have: values that no launch which started had, and numbers beyond all of
those. Beside that, points near to a failure are in doubt.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from tuner.propose.encoding import Encoding, Matrix
from tuner.propose.history import Seen
from tuner.propose.surrogate import Vector
from tuner.types import Params, Value

#: A point that has more than a part of what is suspected after one failure has so much of its chance left: the next launch is
#: to tell which part is to blame. After two failures of a cause nothing that is suspected is launched: none is met three times.
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
        if suspects := _suspects(failures, good):
            has = np.array([sum(suspect(point) for suspect in suspects) / len(suspects) for point in points])
            once = (1 - has) * np.where(has > _PART, _LEFT, 1.0) + _LEFT**2
            found = found * (np.minimum(once, 1.0) if len(failures) == 1 else has == 0)
            if tested := [suspect for suspect in suspects if any(map(suspect, running))]:
                found = found * np.array([not any(suspect(point) for suspect in tested) for point in points])
    return found


def _suspects(failures: Sequence[Params], good: Sequence[Params]) -> list[_Suspect]:
    """What all these failures have and no launch that started."""
    found: list[_Suspect] = []
    for name in set.intersection(*(set(params) for params in failures)):
        values = [params[name] for params in failures]
        others = [params[name] for params in good if name in params]
        if all(map(_is_number, (*values, *others))):
            low, high = min(map(float, values)), max(map(float, values))
            if not others or low > max(map(float, others)):
                found.append(_beyond(name, low, 1))
            elif high < min(map(float, others)):
                found.append(_beyond(name, high, -1))
        elif len(set(map(str, values))) == 1 and str(values[0]) not in set(map(str, others)):
            found.append(_equals(name, values[0]))
    return found


def _beyond(name: str, end: float, sign: int) -> _Suspect:
    def has(params: Params) -> bool:
        value = params.get(name)
        return _is_number(value) and sign * float(value) >= sign * end  # type: ignore[arg-type]

    return has


def _equals(name: str, value: Value) -> _Suspect:
    return lambda params: str(params.get(name)) == str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
