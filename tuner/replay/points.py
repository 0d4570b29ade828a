"""Recordings and a search space in; the points of it that were recorded out, and what any other point is answered with. Pure.

It knows neither files nor clocks.
"""

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt
from pathlib import Path

from tuner.errors import UsageError
from tuner.replay.file import Recording, SurfaceFile
from tuner.replay.metrics import measured_of
from tuner.space.gpus import UNSET
from tuner.space.parameters import Categorical, Float, Int, shown
from tuner.space.search_space import SearchSpace
from tuner.types import FailureKind, Measured, Outcome, Params, Value

#: How many points an interpolated answer is made of, and the power of their inverse distances (Shepard 1968).
NEIGHBOURS = 4
POWER = 2
#: Points this near to each other are one: 0.92 is not exactly 0.85 + 7 * 0.01 in binary.
_DIGITS = 9
_SAME = 10.0**-_DIGITS


@dataclass(frozen=True, slots=True)
class Place:
    """Where a point lies. `choices` are its categorical values, and which of its numbers count (`when`); `numbers` are scaled
    so that the range of each is 0..1, of its logarithm where that is searched."""

    choices: tuple[object, ...]
    numbers: tuple[float, ...]

    def distance(self, other: "Place") -> float:
        """Euclidean; a categorical value that differs counts as the whole range of a number."""
        differing = sum(a != b for a, b in zip(self.choices, other.choices, strict=True))
        return sqrt(differing + sum((a - b) ** 2 for a, b in zip(self.numbers, other.numbers, strict=True)))


@dataclass(frozen=True, slots=True)
class Point:
    """A place that was recorded, at least once."""

    place: Place
    recordings: tuple[Recording, ...]

    @property
    def measured(self) -> list[Recording]:
        return [recording for recording in self.recordings if isinstance(recording.outcome, Measured)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What settings come to, the seconds that a launch of them takes, and in words what that was taken from. `startup_s` and
    `duration_s` are the seconds that were recorded."""

    outcome: Outcome
    took_s: float
    origin: str
    startup_s: float | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """All that was recorded of a space. `defaults` has a value for each of its parameters."""

    path: Path
    space: SearchSpace
    defaults: Params
    points: tuple[Point, ...]
    interpolates: bool

    def answer(self, params: Params, seed: str) -> Answer:
        """The recording of these settings, of several the one that `seed` picks; where there is none, what the nearest point
        of the same categorical values came to, or what a measurement between the nearest ones would be. Without a point of
        the same categorical values the nearest of all answers. Failures are never interpolated: the nearest point decides
        whether it is one."""
        pick, at = random.Random(seed), _place(self.space, {**self.defaults, **params})
        alike = [point for point in self.points if point.place.choices == at.choices]
        nearest = min(alike or self.points, key=lambda point: point.place.distance(at))
        recording, away = pick.choice(nearest.recordings), nearest.place.distance(at)
        line = f"{self.path}:{recording.line}"
        if away < _SAME:
            several = f", one of {len(nearest.recordings)}" if len(nearest.recordings) > 1 else ""
            return _as_recorded(recording, f"{line} is a recording of these settings{several}")
        if not alike:
            return _as_recorded(
                recording,
                f"no recorded point has these categorical values; {line} is the nearest (distance {away:.3g})",
            )
        if self.interpolates and isinstance(recording.outcome, Measured):
            near = heapq.nsmallest(NEIGHBOURS, filter(_is_measured, alike), key=lambda p: p.place.distance(at))
            if len(near) > 1:
                return self._between([(p.place.distance(at), pick.choice(p.measured)) for p in near])
        return _as_recorded(recording, f"{line} is the nearest recorded point (distance {away:.3g})")

    def place(self, params: Params) -> Place:
        """Where settings lie that name every parameter. Raises ValueError for what has no place."""
        return _place(self.space, params)

    def _between(self, near: Sequence[tuple[float, Recording]]) -> Answer:
        """The mean of the recordings, each weighted by its inverse distance; only metrics that all have."""
        weights = [away**-POWER for away, _ in near]
        measured = [recording.outcome for _, recording in near if isinstance(recording.outcome, Measured)]
        found = [outcome.metrics() for outcome in measured]
        numbers = {
            name: _mean([metrics[name] for metrics in found], weights)
            for name in found[0]
            if all(name in metrics for metrics in found)
        }
        marks = dict.fromkeys(mark for outcome in measured for mark in outcome.marks)
        lines = ", ".join(str(recording.line) for _, recording in near)
        return Answer(
            outcome=measured_of(numbers, tuple(marks)),
            took_s=_mean([recording.took_s for _, recording in near], weights),
            startup_s=_mean_of([recording.startup_s for _, recording in near], weights),
            duration_s=_mean_of([recording.duration_s for _, recording in near], weights),
            origin=f"interpolated between lines {lines} of {self.path}",
        )


def points_of(file: SurfaceFile, space: SearchSpace) -> Points:
    """Raises UsageError "path:line: ..." for params that are not of the space, and where the default point is not known."""
    defaults = _defaults(file, space)
    grouped: dict[tuple[object, ...], tuple[Place, list[Recording]]] = {}
    for recording in file.recordings:
        try:
            _check(space, recording.params)
            place = _place(space, {**defaults, **recording.params})
        except ValueError as error:
            raise UsageError(f"{file.path}:{recording.line}: params: {error}") from error
        key = (place.choices, tuple(round(number, _DIGITS) for number in place.numbers))
        grouped.setdefault(key, (place, []))[1].append(recording)
    return Points(
        path=file.path,
        space=space,
        defaults=defaults,
        points=tuple(Point(place, _launched(recordings)) for place, recordings in grouped.values()),
        interpolates=file.header.answer == "interpolate",
    )


def _as_recorded(recording: Recording, origin: str) -> Answer:
    return Answer(
        outcome=recording.outcome,
        took_s=recording.took_s,
        origin=origin,
        startup_s=recording.startup_s,
        duration_s=recording.duration_s,
    )


def _is_measured(point: Point) -> bool:
    return bool(point.measured)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


def _mean_of(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """None where one of them is not known."""
    known = [value for value in values if value is not None]
    return _mean(known, weights) if len(known) == len(values) else None


def _launched(recordings: Sequence[Recording]) -> tuple[Recording, ...]:
    """Without those that vLLM refused, if it accepted these settings at another time."""
    kinds = [getattr(recording.outcome, "kind", None) for recording in recordings]
    launched = [r for r, kind in zip(recordings, kinds, strict=True) if kind is not FailureKind.REJECTED]
    return tuple(launched or recordings)


def _defaults(file: SurfaceFile, space: SearchSpace) -> Params:
    """The default point with a value for each parameter of the space; of one that does not count beside the others any."""
    marked = [recording for recording in file.recordings if recording.is_default]
    if other := next((recording for recording in marked if recording.params != marked[0].params), None):
        raise UsageError(
            f"{file.path}:{other.line}: this line is marked `is_default` and has other params than line {marked[0].line}"
        )
    if marked:
        where, found = f"{file.path}:{marked[0].line}: params", marked[0].params
    elif file.header.defaults is not None:
        where, found = f"{file.path}: surface.defaults", file.header.defaults
    else:
        raise UsageError(
            f'{file.path}: nothing says what vLLM\'s defaults are: mark their line with `"is_default": true`, '
            "or give `defaults` in a first line with `surface`"
        )
    point: dict[str, Value] = {}
    try:
        _check(space, found)
        for name, parameter in space.parameters.items():
            is_unset = isinstance(parameter, Categorical) and UNSET in parameter.choices
            if name not in found and not is_unset and name in space.active({**point, **found}):
                raise ValueError(f"the defaults need a value for {name}, which the search space searches")
            point[name] = found.get(name, UNSET if is_unset else parameter.example)
        _place(space, point)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
    return point


def _check(space: SearchSpace, params: Params) -> None:
    for name, value in params.items():
        if name not in space.parameters and name not in space.fixed:
            raise ValueError(f"{name} is not a parameter of search space {space.name}")
        if name in space.fixed and value != space.fixed[name]:
            fixed = shown(space.fixed[name])
            raise ValueError(
                f"{name} is {shown(value)} and fixed to {fixed} in search space {space.name}: remove the line"
            )


def _place(space: SearchSpace, point: Params) -> Place:
    """Raises ValueError for what has no place."""
    active = space.active(point)
    choices: list[object] = []
    numbers: list[float] = []
    for name, parameter in space.parameters.items():
        value, counts = point[name], name in active
        if isinstance(parameter, Categorical):
            choices.append((isinstance(value, bool), value) if counts else None)  # true is not 1
        else:
            choices.append(counts)
            numbers.append(_scaled(name, parameter, value) if counts else 0.0)
    return Place(tuple(choices), tuple(numbers))


def _scaled(name: str, parameter: Int | Float, value: Value) -> float:
    if isinstance(value, bool | str):
        raise ValueError(f"{name} {shown(value)} is not a number")
    if isinstance(parameter, Int) and not isinstance(value, int):
        raise ValueError(f"{name} {value} is not a whole number")
    if parameter.log and value <= 0:
        raise ValueError(f"{name} {shown(value)} has no logarithm, which the search space searches")
    scale = log if parameter.log else float
    low, high = scale(parameter.low), scale(parameter.high)
    return (scale(value) - low) / ((high - low) or 1.0)
