"""A study's model of its server: what it says of each trial before the launch, and what it learns from those before.

In: a setup whose `calibration` is what the model begins with on this host, and finished trials of the study. Out: predictions
with intervals; none, and the reason once, where a model, a card, a load or a setting cannot be predicted: no study fails for
that. It launches nothing, and does not know what is done with a prediction.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from tuner.decide.objective import OBJECTIVES, Objective
from tuner.errors import TunerError, UsageError
from tuner.predict.advise.case import Case
from tuner.predict.advise.limits import Bottleneck, bottleneck_of
from tuner.predict.prediction import Calibration, Prediction
from tuner.predict.settings import version_of
from tuner.predict.shape import read_shape
from tuner.predict.uncertainty import estimate, known_of
from tuner.predict.unpredicted import unpredicted
from tuner.study.learning import REQUESTS, Learned, learned_of, ratio_of, without_formula
from tuner.study.prior import StudyPrior
from tuner.study.setup import Setup
from tuner.types import Failed, Measured, Params, Predicted, Trial
from tuner.workload.arrivals import schedule

Found = TypeVar("Found")

#: What is told of every trial, besides the objective and what has an SLO.
_TOLD = ("kv_cache_tokens", "output_throughput", "ttft_p50_s", "tpot_p50_s", "e2el_p50_s")
#: Requests of a prediction of each rate that is tried where the highest is looked for.
_OF_A_RATE = 80
#: More users than this are not played through between two trials: it takes 0.1 ms a request.
_MOST_USERS = 1_000
#: What a fault of the model, or of what it reads, can end in.
FAULTS = (TunerError, ArithmeticError, AssertionError, AttributeError, LookupError, OSError, TypeError, ValueError)


class ServerModel:
    """Of one run of a study. `tell` is told why something is not predicted, once each."""

    def __init__(self, setup: Setup, tell: Callable[[str], None]) -> None:
        self._tell, self._told = tell, set[str]()
        begin = setup.calibration
        self._case = None if begin is None else self._tried(lambda: case_of(setup, begin))
        self._learned = Learned(begin or Calibration())
        self._prior: StudyPrior | None = None

    def predict(self, params: Params, finished: Sequence[Trial]) -> Predicted | None:
        """What these settings would do, by what the `finished` trials of the study have shown."""
        self.learn(finished)
        case = self._case
        return None if case is None else self._tried(lambda: _predicted(case, params, finished, self._learned))

    def learn(self, finished: Sequence[Trial]) -> None:
        """What the `finished` trials of the study show; those that it knows already cost nothing."""
        case = self._case
        if case is None or len(finished) == self._learned.ended:
            return
        if (learned := self._tried(lambda: learned_of(case, finished, self._learned))) is not None:
            self._learned = learned
            self._teach()

    def prior(self, objectives: Sequence[Objective], tell: Callable[[str], None]) -> StudyPrior | None:
        """What a sampler may ask, which learns with this model; None where nothing can be predicted. `tell` is told what takes
        time."""
        if self._case is not None:
            self._prior = StudyPrior(self._case, objectives, tell=tell)
            self._teach()
        return self._prior

    def limit_of(self, params: Params) -> tuple[Bottleneck, str] | None:
        """What is predicted to hold these settings back, and the numbers that say so."""
        if self._case is None:
            return None
        case = replace(self._case, calibration=self._learned.calibration)
        found = self._tried(lambda: case.predict(params, _requests(case)))
        return bottleneck_of(case, params, found) if isinstance(found, Prediction) else None

    def gain(self, usual: Params, params: Params) -> float | None:
        """What other settings are predicted to gain over these, relative, and -1.0 (all is lost) where they do not start; None
        where that cannot be predicted, and where one of them that differs has no formula."""
        if self._case is None:
            return None
        case = replace(self._case, calibration=self._learned.calibration)
        return self._tried(lambda: gain_of(case, usual, params))

    def _teach(self) -> None:
        if (prior := self._prior) is not None:
            self._tried(lambda: prior.learn(self._learned.calibration, len(self._learned.fit)))

    @property
    def calibration(self) -> Calibration:
        """What it has learned."""
        return self._learned.calibration

    def _tried(self, work: Callable[[], Found]) -> Found | None:
        try:
            return work()
        except FAULTS as error:
            why = f"{error}" if isinstance(error, TunerError) else f"{type(error).__name__}: {error}"
            if why not in self._told:
                self._told.add(why)
                self._tell(f"no prediction: {why}")
            return None


def gain_of(case: Case, usual: Params, params: Params) -> float | None:
    """As `ServerModel.gain`. Raises what `FAULTS` has."""
    if unpredicted(name for name in params if usual.get(name) != params[name]):
        return None
    before, after = (case.predict(point, _requests(case)) for point in (usual, params))
    if not isinstance(before, Prediction):
        return None
    if not isinstance(after, Prediction):
        return -1.0
    return case.objective.gain(case.value(after), case.value(before))


def case_of(setup: Setup, calibration: Calibration) -> Case:
    """Raises UsageError for what cannot be predicted."""
    workload, launcher = setup.workload, setup.launcher
    if (workload.users or 0) > _MOST_USERS:
        raise UsageError(f"{workload.users:,} users are more than can be played through before each launch")
    case = Case(
        space=setup.space,
        shape=read_shape(launcher.model),
        workload=workload,
        objective=predictable(setup.objectives),
        slos=tuple(slo for slo in setup.slos if not slo.metric.startswith("itl")),
        quantized={name: read_shape(model) for name, model in launcher.quantized_models.items()},
        arrivals=tuple(arrival.offset_s for arrival in schedule(workload)) if workload.trace else None,
        calibration=calibration,
        version=version_of(setup.fingerprint.engine_version),
    )
    case.check()
    return case


def predictable(objectives: Sequence[Objective]) -> Objective:
    """The first that a model can tell; throughput where there is none."""
    return next((one for one in objectives if one.is_of_the_load), OBJECTIVES["throughput"])


def _predicted(case: Case, params: Params, finished: Sequence[Trial], learned: Learned) -> Predicted:
    """Raises UsageError for settings whose effect has no formula."""
    if unknown := without_formula(params, finished):
        raise UsageError(f"{unknown}: what it changes is not predicted")
    case = replace(case, calibration=learned.calibration)
    found, known = case.predict(params, _requests(case)), known_of(case.space.gpu, learned.launches(params))
    if isinstance(found, Failed):
        return Predicted(known=known.value, launches=len(learned.fit), failed=found)
    told = {}
    for name, value in _numbers(case, found).items():
        seen = [r for trial in finished if (r := ratio_of(trial, name, known.value, case.objective)) is not None]
        told[name] = estimate(name, value, known, seen)
    metrics = {name: one for name, one in told.items() if one is not None}
    return Predicted(known=known.value, launches=len(learned.fit), metrics=metrics)


def _requests(case: Case) -> int:
    return _OF_A_RATE if case.workload.find_rate else max(REQUESTS, case.workload.users or 0)


def _numbers(case: Case, found: Prediction) -> dict[str, float]:
    of_the_load = Measured(load=found.load, server=None, gpu=None, server_cpu_cores=None, startup_s=None).metrics()
    known = {**of_the_load, "kv_cache_tokens": found.memory.kv_cache_tokens, case.objective.metric: case.value(found)}
    names = dict.fromkeys((*_TOLD, case.objective.metric, *(slo.metric for slo in case.slos)))
    return {name: known[name] for name in names if name in known}
