"""A surface and its space in; what a launch of any settings says, and what is true of them, out.

The truth of a recorded point is the median of its launches; what one launch says is one of them. Where the file says that it is
interpolated every point of the space has an answer; else only what was recorded can be launched (`exact`).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import gcd
from pathlib import Path
from statistics import median

from tuner.decide.objective import Objective, parse_objective
from tuner.decide.slo import Slo, constraints, parse_slos, violations
from tuner.errors import UsageError
from tuner.propose.candidates import Candidates
from tuner.propose.enumeration import every_point, is_finite
from tuner.replay.file import Header
from tuner.replay.metrics import measured_of
from tuner.replay.points import Answer, Point, Points
from tuner.replay.surface import open_surface
from tuner.space.files import load_space
from tuner.space.parameters import Categorical, Float, Int, Parameter
from tuner.space.search_space import SearchSpace
from tuner.types import Failed, Mark, Measured, Params, Value

#: Seconds of a start with code that is compiled for the first time, of one whose code is known, and of a window with its
#: warm-up, where nothing else was recorded.
NEW_S, KNOWN_S, WINDOW_S = 60.0, 20.0, 22.0


Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a launch said, and the seconds that were recorded of its start and of its measurement."""

    outcome: Measured | Failed
    startup_s: float | None
    window_s: float

    @property
    def measured_s(self) -> float:
        """Of its window, those that count."""
        known = self.outcome.load.window_s if isinstance(self.outcome, Measured) else None
        return min(known or self.window_s, self.window_s)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """`true` answers as `points` does, without any noise."""

    name: str
    header: Header
    space: SearchSpace
    objective: Objective
    slos: tuple[Slo, ...]
    points: Points
    true: Points

    @property
    def is_exact(self) -> bool:
        return not self.points.interpolates

    @cached_property
    def recorded(self) -> list[Params]:
        """The points of an exact pool, each once."""
        return [self.counted({**self.points.defaults, **one.recordings[0].params}) for one in self.points.points]

    @cached_property
    def defaults(self) -> Params:
        """With every parameter that counts; of an exact pool the recorded point that is nearest to them."""
        return self.nearest(self.points.defaults, ()) if self.is_exact else self.counted(self.points.defaults)

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """Those of the space, wide enough for all that was recorded and for the defaults."""
        seen = [self.points.defaults, *(self.recorded if self.is_exact else ())]
        return {
            name: widened(parameter, [point[name] for point in seen if name in point])
            for name, parameter in self.space.parameters.items()
        }

    @cached_property
    def candidates(self) -> Candidates:
        """What a sampler that can choose from points chooses from."""
        if self.is_exact:
            return Candidates.of(self.parameters, self.recorded)
        return Candidates(
            self.parameters,
            is_legal=lambda params: not self.space.violations(params),
            active=self.space.active,
            defaults=self.points.defaults,
        )

    def counted(self, params: Params) -> Params:
        """Without what does not count beside the others, nor is searched."""
        active = self.space.active(params)
        return {name: params[name] for name in self.space.parameters if name in params and name in active}

    def nearest(self, params: Params, launched: Iterable[Params]) -> Params:
        """Of an exact pool the recorded point that was not launched yet and is nearest, the same one for whoever asks."""
        done, at = {key(one) for one in launched}, self.points.place({**self.points.defaults, **params})
        left = [i for i, one in enumerate(self.recorded) if key(one) not in done]
        return self.recorded[min(left, key=lambda i: self.points.points[i].place.distance(at))]

    def launch(self, params: Params, seed: str) -> Told:
        answer = self.points.answer(params, seed)
        return _told(answer)

    def truth(self, params: Params) -> float | None:
        """What these settings do; None where they fail or miss an SLO, and where no window was measured to its end."""
        return self._value(self.true.answer(params, "").outcome)

    @cached_property
    def every(self) -> Sequence[Params] | None:
        """All points of the space that keep its rules; None where they cannot be gone through."""
        return every_point(self.space, {}) if is_finite(self.space) else None

    @cached_property
    def best(self) -> float:
        """Of all that was recorded and can be launched, and of the defaults. Raises UsageError where none of it meets the
        SLOs."""
        truths = [one.recordings[0] for one in self.true.points]
        told = [self._value(one.outcome) for one in truths if self.is_exact or self._is_legal(one.params)]
        told.append(self.truth(self.defaults))
        values = [value for value in told if value is not None]
        if not values:
            where = self.points.path
            if self.slos:
                asked = " ".join(f"--slo {slo.name}={slo.limit_s * 1000:g}ms" for slo in self.slos)
                raise UsageError(f"{where}: no recorded point meets {asked}: loosen it")
            raise UsageError(
                f"{where}: no point that can be launched was measured to the end of its window: record some"
            )
        return max(values) if self.objective.maximize else min(values)

    def _is_legal(self, params: Params) -> bool:
        return not self.space.violations(self.counted({**self.points.defaults, **params}))

    def ratio(self, value: float) -> float:
        """How near a true value is to the best one: 0..1, above 1 where what lies between recorded points is better than all
        of those that can be launched."""
        better, worse = (self.best, value) if self.objective.maximize else (value, self.best)
        return worse / better if better > 0 else 1.0

    def _value(self, outcome: Measured | Failed) -> float | None:
        if isinstance(outcome, Failed) or Mark.STOPPED_EARLY in outcome.marks:
            return None
        is_met = all(by <= 0 for by in violations(outcome.load, self.slos).values())
        return self.objective.value(outcome) if is_met else None


def open_pool(
    surface: Path,
    space: Path | str,
    objective: str = "throughput",
    slos: Sequence[str] = (),
    interpolates: bool | None = None,
    price_per_hour: float | None = None,
) -> Pool:
    """`interpolates`: as the file says; `price_per_hour` is that of a GPU. Raises UsageError for a file that cannot be used,
    lacks a number that is needed, or has no point that meets the SLOs."""
    opened, asked = open_surface(surface), parse_objective(objective, price_per_hour)
    limits = constraints((asked,), parse_slos(slos))
    opened.check((asked,), limits)
    searched = opened.searched(load_space(space))
    points = opened.within(searched)
    if interpolates is not None:
        points = replace(points, interpolates=interpolates)
    true = replace(points, points=tuple(_true(point) for point in points.points))
    pool = Pool(
        name=surface.stem,
        header=opened.header,
        space=searched,
        objective=asked,
        slos=limits,
        points=points,
        true=true,
    )
    _ = pool.best
    return pool


def key(params: Params) -> Key:
    """Equal for equal points; true is not 1."""
    return tuple(sorted((name, repr(value)) for name, value in params.items()))


def seed_of(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def widened(parameter: Parameter, seen: Sequence[Value]) -> Parameter:
    """The parameter with these values, where it lacks some."""
    if not (outside := [value for value in seen if parameter.why_outside(value) is not None]):
        return parameter
    if isinstance(parameter, Categorical):
        found = {repr(value): value for value in (*parameter.choices, *outside)}
        return parameter.model_copy(update={"choices": tuple(found.values())})
    numbers = [float(value) for value in seen if not isinstance(value, str)]
    low, high = min(parameter.low, *numbers), max(parameter.high, *numbers)
    if isinstance(parameter, Int):
        step = None
        if parameter.step is not None:
            step = gcd(parameter.step, *(round(number) - parameter.low for number in numbers))
        return parameter.model_copy(update={"low": round(low), "high": round(high), "step": step})
    assert isinstance(parameter, Float)
    return parameter.model_copy(update={"low": low, "high": high, "step": None})


def _true(point: Point) -> Point:
    """Of a point that was measured and failed, too, the measurements; of these those that were not stopped early."""
    told = [(one, one.outcome) for one in point.recordings if isinstance(one.outcome, Measured)]
    whole = [(one, outcome.metrics()) for one, outcome in told if Mark.STOPPED_EARLY not in outcome.marks]
    if not whole:
        return Point(point.place, tuple(one for one, _ in told)[:1] or point.recordings[:1])
    each = [metrics for _, metrics in whole]
    numbers = {name: median(one[name] for one in each) for name in each[0] if all(name in one for one in each)}
    return Point(point.place, (replace(whole[0][0], outcome=measured_of(numbers)),))


def _told(answer: Answer) -> Told:
    outcome = answer.outcome
    startup_s = answer.startup_s
    window_s = (
        answer.duration_s if answer.duration_s is not None else (0.0 if isinstance(outcome, Failed) else WINDOW_S)
    )
    return Told(outcome=outcome, startup_s=startup_s, window_s=window_s)
