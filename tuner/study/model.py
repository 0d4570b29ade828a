"""A study's model of its server: what it says of each trial before the launch, and what it learns from those before.

In: a setup whose `calibration` is what the model begins with on this host, and finished trials of the study. Out: predictions
with intervals; none, and the reason once, where a model, a card, a load or a setting cannot be predicted: no study fails for
that. It launches nothing, and does not know what is done with a prediction.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tuner.decide.objective import OBJECTIVES, Objective, metrics_of
from tuner.decide.rank import defaults_of, usual_start
from tuner.errors import TunerError, UsageError
from tuner.predict.advise.case import Case
from tuner.predict.memory import Observed, calibrate_memory
from tuner.predict.prediction import Calibration, Prediction
from tuner.predict.settings import LATEST, Version
from tuner.predict.shape import read_shape
from tuner.predict.uncertainty import estimate, known_of
from tuner.predict.unpredicted import UNPREDICTED
from tuner.space.gpus import UNSET
from tuner.study.setup import Setup
from tuner.types import Failed, Mark, Measured, Params, Predicted, Trial
from tuner.workload.arrivals import schedule

Found = TypeVar("Found")

#: What is told of every trial, besides the objective and what has an SLO.
_TOLD = ("kv_cache_tokens", "output_throughput", "ttft_p50_s", "tpot_p50_s", "e2el_p50_s")
#: Requests of a prediction, at least; of each rate that is tried where the highest is looked for.
_REQUESTS, _OF_A_RATE = 200, 80
#: More users than this are not played through between two trials: it takes 0.1 ms a request.
_MOST_USERS = 1_000
#: What calibration may simulate, in requests: 2 s of a core. As often it predicts each observation at most.
_WORK, _PREDICTIONS = 30_000, 13
#: A trial that was predicted as closely as this, in throughput and TPOT, teaches nothing: launches differ by that.
_CLOSE = 0.03
#: Measurements that say something of others than the server.
_UNFIT = frozenset((Mark.CLIENT_BOUND, Mark.GPU_SHARED, Mark.THROTTLED, Mark.OTHER_LENGTHS, Mark.BUNCHED))
#: What a fault of the model, or of what it reads, can end in.
_FAULTS = (TunerError, ArithmeticError, AssertionError, AttributeError, LookupError, OSError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class _Learned:
    """A calibration, the measured trials that it may learn from, and how many trials had ended then."""

    calibration: Calibration
    fit: tuple[Trial, ...] = ()
    ended: int = 0

    def launches(self, params: Params) -> int:
        """That say something of these settings: none where a word or a switch of them was never launched."""
        words = [(name, value) for name, value in params.items() if isinstance(value, str | bool)]
        seen = {(name, value) for trial in self.fit for name, value in trial.params.items()}
        return len(self.fit) if seen.issuperset(words) else 0


class ServerModel:
    """Of one run of a study. `tell` is told why something is not predicted, once each."""

    def __init__(self, setup: Setup, tell: Callable[[str], None]) -> None:
        self._tell, self._told = tell, set[str]()
        begin = setup.calibration
        self._case = None if begin is None else self._tried(lambda: _case(setup, begin))
        self._learned = _Learned(begin or Calibration())

    def predict(self, params: Params, finished: Sequence[Trial]) -> Predicted | None:
        """What these settings would do, by what the `finished` trials of the study have shown."""
        case = self._case
        if case is None:
            return None
        if (learned := self._tried(lambda: _learned(case, finished, self._learned))) is not None:
            self._learned = learned
        return self._tried(lambda: _predicted(case, params, finished, self._learned))

    @property
    def calibration(self) -> Calibration:
        """What it has learned."""
        return self._learned.calibration

    def _tried(self, work: Callable[[], Found]) -> Found | None:
        try:
            return work()
        except _FAULTS as error:
            why = f"{error}" if isinstance(error, TunerError) else f"{type(error).__name__}: {error}"
            if why not in self._told:
                self._told.add(why)
                self._tell(f"no prediction: {why}")
            return None


def _case(setup: Setup, calibration: Calibration) -> Case:
    """Raises UsageError for what cannot be predicted."""
    workload, launcher = setup.workload, setup.launcher
    if (workload.users or 0) > _MOST_USERS:
        raise UsageError(f"{workload.users:,} users are more than can be played through before each launch")
    case = Case(
        space=setup.space,
        shape=read_shape(launcher.model),
        workload=workload,
        objective=_predictable(setup.objectives),
        slos=tuple(slo for slo in setup.slos if not slo.metric.startswith("itl")),
        quantized={name: read_shape(model) for name, model in launcher.quantized_models.items()},
        arrivals=tuple(arrival.offset_s for arrival in schedule(workload)) if workload.trace else None,
        calibration=calibration,
        version=_version(setup.fingerprint.engine_version),
    )
    case.check()
    return case


def _predictable(objectives: Sequence[Objective]) -> Objective:
    """The first that a model can tell; throughput where there is none."""
    return next((one for one in objectives if one.is_of_the_load), OBJECTIVES["throughput"])


def _version(text: str) -> Version:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else LATEST


def _predicted(case: Case, params: Params, finished: Sequence[Trial], learned: _Learned) -> Predicted:
    """Raises UsageError for settings whose effect has no formula."""
    if unknown := _without_formula(params, finished):
        raise UsageError(f"{unknown}: what it changes is not predicted")
    case = replace(case, calibration=learned.calibration)
    requests = _OF_A_RATE if case.workload.find_rate else max(_REQUESTS, case.workload.users or 0)
    found, known = case.predict(params, requests), known_of(case.space.gpu, learned.launches(params))
    if isinstance(found, Failed):
        return Predicted(known=known.value, launches=len(learned.fit), failed=found)
    told = {}
    for name, value in _numbers(case, found).items():
        seen = [ratio for trial in finished if (ratio := _ratio(trial, name, known.value, case.objective)) is not None]
        told[name] = estimate(name, value, known, seen)
    metrics = {name: one for name, one in told.items() if one is not None}
    return Predicted(known=known.value, launches=len(learned.fit), metrics=metrics)


def _numbers(case: Case, found: Prediction) -> dict[str, float]:
    of_the_load = Measured(load=found.load, server=None, gpu=None, server_cpu_cores=None, startup_s=None).metrics()
    known = {**of_the_load, "kv_cache_tokens": found.memory.kv_cache_tokens, case.objective.metric: case.value(found)}
    names = dict.fromkeys((*_TOLD, case.objective.metric, *(slo.metric for slo in case.slos)))
    return {name: known[name] for name in names if name in known}


def _without_formula(params: Params, finished: Sequence[Trial]) -> str | None:
    """The first setting that is another than vLLM's default, and that no formula heeds."""
    first = defaults_of(finished)
    usual = {**UNPREDICTED, **(first.params if first else params)}
    return next((n for n, v in params.items() if n in UNPREDICTED and v not in (UNSET, UNPREDICTED[n], usual[n])), None)


def _ratio(trial: Trial, metric: str, known: str, objective: Objective) -> float | None:
    """Measured / predicted, of a prediction that knew as much."""
    if trial.predicted is None or trial.predicted.known != known or not isinstance(trial.outcome, Measured):
        return None
    before, after = trial.predicted.metrics.get(metric), metrics_of(trial.outcome, [objective]).get(metric)
    return after / before.value if before and after else None


def _learned(case: Case, finished: Sequence[Trial], before: _Learned) -> _Learned:
    """From all that was measured so far; as it was where the newest were predicted as well as launches repeat."""
    fit = [trial for trial in finished if _teaches(case, trial, finished)]
    new = [trial for trial in finished[before.ended :] if trial in fit]
    now = replace(before, fit=tuple(fit), ended=len(finished))
    if not new or all(_is_close(trial, case.objective) for trial in new):
        return now
    memory = calibrate_memory(case.shape, case.space.gpu, list(_observed(case, fit)), case.version)
    start = replace(case.calibration, memory=memory)
    return replace(now, calibration=_calibrated(case, fit, start, before.calibration))


def _teaches(case: Case, trial: Trial, finished: Sequence[Trial]) -> bool:
    outcome = trial.outcome
    if not isinstance(outcome, Measured) or outcome.start != usual_start(finished) or _UNFIT & {*outcome.marks}:
        return False
    return not _without_formula(trial.params, finished) and case.shape_for(trial.params) is case.shape


def _is_close(trial: Trial, objective: Objective) -> bool:
    if trial.predicted is None:
        return False
    ratios = (_ratio(trial, metric, trial.predicted.known, objective) for metric in ("output_throughput", "tpot_p50_s"))
    return all(ratio is not None and abs(ratio - 1) < _CLOSE for ratio in ratios)


def _observed(case: Case, trials: Sequence[Trial]) -> Sequence[Observed]:
    found = []
    for trial in trials:
        settings = case.settings(trial.params)
        if isinstance(trial.outcome, Measured) and not isinstance(settings, Failed):
            found.append(Observed(settings=settings, kv_cache_tokens=trial.outcome.kv_cache_tokens))
    return found


def _calibrated(case: Case, trials: Sequence[Trial], start: Calibration, before: Calibration) -> Calibration:
    """Over the defaults and the newest, as many as the work allows."""
    from tuner.predict.calibrate import Observation, calibrate  # SciPy is slow to import

    users = case.workload.users or 0
    each = max(_REQUESTS, users) + 2.5 * users  # the warm-up, and the last ones
    most = max(2, int(_WORK / (each * _PREDICTIONS)))
    chosen = trials if len(trials) <= most else [trials[0], *trials[1 - most :]]
    observations = []
    for trial in chosen:
        assert isinstance(trial.outcome, Measured)
        load = trial.outcome.load
        rate = None if users else load.request_rate or load.request_throughput
        workload = replace(case.workload, request_rate=rate, find_rate=False)
        params = case.launched(trial.params)[1]
        observations.append(Observation(params=params, workload=workload, load=load))
    return calibrate(case.shape, case.space.gpu, observations, start, begin=before.rates, version=case.version)
