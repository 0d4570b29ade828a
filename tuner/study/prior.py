"""A study's model of its server in; what is expected of any points before they are launched, as a sampler asks for it, out.

Simulations are dear, so what is alike is simulated once, and a question may take some seconds at first and half a second later:
of the points that are left over nothing is said but whether they start. All points are told by one calibration; another one is
taken over when enough launches have taught it, and where it changes what is expected. It launches nothing, and does not know
who asks.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, log

from tuner.decide.objective import Objective, metric_value
from tuner.errors import UsageError
from tuner.predict.advise.case import OF_A_TRACE, Case
from tuner.predict.likeness import Room, chance_to_start, compiled_alike, simulated_alike
from tuner.predict.memory import predict_memory
from tuner.predict.prediction import Calibration, Prediction
from tuner.predict.settings import Settings, heeded, resolve
from tuner.propose.prior import Expected
from tuner.types import Failed, Params, present

#: Requests of a simulation of few users, of many, and of an open loop: with them points have the order of ten times as many
#: (rank 0.98 and more of throughput, TTFT and TPOT, on an H100 and an L4); of each rate where the highest is looked for, of
#: which about so many are tried.
_CLOSED, _MANY_USERS, _OF_MANY, _OPEN, _OF_A_RATE, _RATES = 256, 128, 128, 120, 60, 8
#: What a look at a point takes a core, a simulation, and each of its requests, those of the warm-up and the last ones with it.
_LOOK_S, _EACH_S, _REQUEST_S, _WARM_UP = 0.0004, 0.018, 0.035e-3, 2.5
#: Seconds for the first question, for each later one, and for all of them with one calibration beyond `_ALWAYS_S` each.
_FIRST_S, _LATER_S, _ALWAYS_S, _ALL_S = 6.0, 0.5, 0.25, 8.0
#: Points that fail more surely than this are not simulated.
_HOPELESS = 0.02
#: From so many launches on a newer calibration is taken over, where it moves some of so many points by more than these against
#: each other, or altogether: logarithms.
_STAGES, _PROBES, _MOVED, _SHIFTED = (4, 10), 6, 0.03, 0.1
#: A goodput of 0 has no logarithm: it is taken as this share of the requests.
_NONE_GOOD = 0.01

Key = tuple[tuple[str, str], ...]


def ignore(text: str) -> None:
    """Nobody is told."""


@dataclass(frozen=True, slots=True)
class _Point:
    """What of a point is known without a simulation; points whose `alike` is equal differ by their KV caches at most; None
    where vLLM refuses it, or nobody can tell."""

    params: Params
    alike: tuple[int, Settings] | None
    kv_cache_tokens: int
    starts: float
    compile_key: str | None


@dataclass(frozen=True, slots=True)
class _Run:
    """What a simulation said."""

    room: Room
    values: tuple[float, ...]
    slos: Mapping[str, float]


class StudyPrior:
    """A tuner.propose.prior.Prior. `objectives` are the study's, by default the one of the case; `tell` is told what takes
    time. `whole`: a question takes as long as it takes, and is answered for every point."""

    def __init__(
        self,
        case: Case,
        objectives: Sequence[Objective] = (),
        *,
        tell: Callable[[str], None] = ignore,
        whole: bool = False,
    ) -> None:
        self._case, self._objectives, self._tell = case, tuple(objectives) or (case.objective,), tell
        self._stage, self._whole = 0, whole
        self._begin()

    def expect(self, points: Sequence[Params]) -> list[Expected]:
        before = len(self._points)
        known = [self._known(point) for point in points]
        self._simulate(known, _LOOK_S * (len(self._points) - before))
        return [self._expected(point) for point in known]

    def learn(self, calibration: Calibration, launches: int) -> None:
        """What the study's launches have taught, so many of them."""
        stage = sum(launches >= least for least in _STAGES)
        if stage <= self._stage or calibration == self._case.calibration:
            return
        self._stage = stage
        newer = StudyPrior(
            replace(self._case, calibration=calibration), self._objectives, tell=self._tell, whole=self._whole
        )
        if self._moves(newer):
            self._case = newer._case
            self._begin()

    def _begin(self) -> None:
        self._points: dict[Key, _Point] = {}
        self._runs: dict[tuple[int, Settings], list[_Run]] = defaultdict(list)
        self._asked, self._unsaid, self._left_s = set[int](), set[int](), _ALL_S
        self._is_first = True

    def _expected(self, point: _Point) -> Expected:
        run = self._run(point)
        values, slos = (run.values, run.slos) if run else ((), {})
        return Expected(values=values, slos=slos, starts=point.starts, compile_key=point.compile_key)

    def _known(self, params: Params) -> _Point:
        key = tuple(sorted((name, repr(value)) for name, value in params.items()))
        if key not in self._points:
            self._points[key] = _point(self._case, params)
        return self._points[key]

    def _run(self, point: _Point) -> _Run | None:
        runs = self._runs.get(point.alike, ()) if point.alike else ()
        return next((run for run in runs if run.room.serves_alike(point.kv_cache_tokens)), None)

    def _simulate(self, points: Sequence[_Point], spent_s: float) -> None:
        """As many as may be after what was spent, those that were never asked for first; in an order of chance, so that of a
        grid not only its first corner is known."""
        left = [point for point in points if point.starts >= _HOPELESS and self._is_open(point)]
        random.Random(len(points)).shuffle(left)
        left.sort(key=lambda point: id(point) in self._asked)
        self._asked |= {id(point) for point in points}
        allowed_s, plain_s, simulated = self._allowance_s(), self._cost_s(), False
        spent_s = min(spent_s, allowed_s - _ALWAYS_S)
        for done, point in enumerate(left):
            each_s = plain_s * _copies(point)
            if spent_s + each_s > allowed_s:
                break
            if self._run(point) is None:
                if done % 20 == 0 and len(left) > 20:
                    self._tell(f"predicting settings: {done} of {len(left)}")
                spent_s, simulated = spent_s + each_s, True
                self._add(point)
        self._left_s -= spent_s
        self._is_first = self._is_first and not simulated

    def _is_open(self, point: _Point) -> bool:
        """Whether a simulation may still say something of it."""
        return id(point) not in self._unsaid and self._run(point) is None

    def _allowance_s(self) -> float:
        if self._whole:
            return inf
        return max(_ALWAYS_S, min(self._left_s, _FIRST_S if self._is_first else _LATER_S))

    def _requests(self) -> int:
        workload = self._case.workload
        if workload.find_rate:
            return _OF_A_RATE
        if workload.users is None:
            return _OPEN
        return _CLOSED if workload.users < _MANY_USERS else _OF_MANY

    def _cost_s(self) -> float:
        requests = self._requests() + _WARM_UP * (self._case.workload.users or 0)
        return (_EACH_S + _REQUEST_S * min(requests, OF_A_TRACE)) * (_RATES if self._case.workload.find_rate else 1)

    def _add(self, point: _Point) -> None:
        try:
            found = self._case.predict(heeded(point.params), self._requests())
        except UsageError:
            self._unsaid.add(id(point))
            return
        if isinstance(found, Prediction) and point.alike is not None:
            self._runs[point.alike].append(self._told(found))
        else:
            self._unsaid.add(id(point))

    def _told(self, found: Prediction) -> _Run:
        values = [_value(self._case, objective, found) for objective in self._objectives]
        slos = {}
        for slo in self._case.constraints:
            seen = metric_value(found.load, slo.metric)
            if seen is not None and seen > 0:
                slos[slo.name] = seen / slo.limit_s
        tokens = found.memory.kv_cache_tokens
        room = Room(tokens, found.kv_cache_usage_mean * tokens, found.preemptions > 0)
        known = tuple(value for value in values if value is not None and value > 0)
        return _Run(room, known if len(known) == len(values) else (), slos)

    def _moves(self, newer: "StudyPrior") -> bool:
        """Whether it expects something else of some points that were asked for."""
        known = [point for point in self._points.values() if (run := self._run(point)) and run.values]
        probes = random.Random(0).sample(known, min(_PROBES, len(known)))
        told = newer.expect([point.params for point in probes])
        for objective in range(len(self._objectives)):
            moved = [
                log(one.values[objective] / run.values[objective])
                for point, one in zip(probes, told, strict=True)
                if one.values and (run := self._run(point))
            ]
            if moved and (max(moved) - min(moved) > _MOVED or abs(sum(moved)) / len(moved) > _SHIFTED):
                return True
        return not probes or any(not one.values for one in told)


def _point(case: Case, params: Params) -> _Point:
    shape, launched = case.launched(heeded(params))
    try:
        settings = resolve(launched, shape, case.space.gpu, case.version)
        if isinstance(settings, Failed):
            return _Point(params, None, 0, 0.0, None)
        memory = predict_memory(shape, case.space.gpu, settings, case.calibration.memory, case.version)
    except UsageError:  # what it does cannot be told: it may well start
        return _Point(params, None, 0, 1.0, None)
    key = compiled_alike(settings, {**case.space.fixed, **params}, case.version)
    quantized = params.get("quantization", "") if shape is not case.shape else ""
    alike = (id(shape), simulated_alike(settings, case.workload))
    return _Point(params, alike, memory.kv_cache_tokens, chance_to_start(memory), f"{quantized}{key}")


def _copies(point: _Point) -> int:
    """Engines that are simulated beside each other."""
    return 1 if point.alike is None else point.alike[1].copies


def _value(case: Case, objective: Objective, found: Prediction) -> float | None:
    """None for an objective of which nothing can be predicted."""
    try:
        value = replace(case, objective=objective).value(found)
    except (AssertionError, AttributeError, UsageError):
        return None
    return value or _NONE_GOOD * present(found.load.request_throughput)
