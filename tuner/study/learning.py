"""Finished trials of a study and what was learned before in; what its model of the server learns of them out: a calibration.

It launches nothing and predicts nothing for anyone; it does not know which trials come next.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tuner.decide.objective import Objective, metrics_of
from tuner.decide.rank import defaults_of, stopped_early, usual_start
from tuner.predict.advise.case import Case
from tuner.predict.memory import Observed, calibrate_memory
from tuner.predict.prediction import Calibration
from tuner.predict.unpredicted import UNPREDICTED
from tuner.space.gpus import UNSET
from tuner.types import Failed, Mark, Measured, Params, Trial

#: Requests of a prediction, at least.
REQUESTS = 200
#: What calibration may simulate, in requests: 2 s of a core. As often it predicts each observation at most.
_WORK, _PREDICTIONS = 30_000, 13
#: A trial that was predicted as closely as this, in throughput and TPOT, teaches nothing: launches differ by that.
_CLOSE = 0.03
#: It is learned again from so many times as many trials as before.
_MORE = 1.1
#: Measurements that say something of others than the server, or of a part of a window.
_UNFIT = frozenset(
    (Mark.CLIENT_BOUND, Mark.GPU_SHARED, Mark.THROTTLED, Mark.OTHER_LENGTHS, Mark.BUNCHED, Mark.STOPPED_EARLY)
)


@dataclass(frozen=True, slots=True)
class Learned:
    """A calibration and of how many trials it was made, the measured trials that it may learn from, how many trials had ended
    then, and whether one of them was predicted badly since."""

    calibration: Calibration
    fit: tuple[Trial, ...] = ()
    ended: int = 0
    taught: int = 0
    is_due: bool = False

    def launches(self, params: Params) -> int:
        """That say something of these settings: none where a word or a switch of them was never launched."""
        words = [(name, value) for name, value in params.items() if isinstance(value, str | bool)]
        seen = {(name, value) for trial in self.fit for name, value in trial.params.items()}
        return len(self.fit) if seen.issuperset(words) else 0


def without_formula(params: Params, finished: Sequence[Trial]) -> str | None:
    """The first setting that is another than vLLM's default, and that no formula heeds."""
    first = defaults_of(finished)
    usual = {**UNPREDICTED, **(first.params if first else params)}
    return next((n for n, v in params.items() if n in UNPREDICTED and v not in (UNSET, UNPREDICTED[n], usual[n])), None)


def ratio_of(trial: Trial, metric: str, known: str, objective: Objective) -> float | None:
    """Measured / predicted, of a prediction that knew as much."""
    if trial.predicted is None or trial.predicted.known != known or not isinstance(trial.outcome, Measured):
        return None
    if stopped_early(trial):  # part of a window is no measurement like the others
        return None
    before, after = trial.predicted.metrics.get(metric), metrics_of(trial.outcome, [objective]).get(metric)
    return after / before.value if before and after else None


def learned_of(case: Case, finished: Sequence[Trial], before: Learned) -> Learned:
    """From all that was measured so far; as it was where all that is new was predicted as well as launches repeat, and until
    that is a tenth more: what a study spends on it grows with the logarithm of its trials."""
    start = usual_start(finished)

    def teaching(trials: Sequence[Trial]) -> tuple[Trial, ...]:
        return tuple(trial for trial in trials if _teaches(case, trial, start, finished))

    fit, new = teaching(finished), teaching(finished[before.ended :])
    is_due = before.is_due or not all(_is_close(trial, case.objective) for trial in new)
    now = replace(before, fit=fit, ended=len(finished), is_due=is_due)
    if not fit or not is_due or before.taught <= len(fit) < _MORE * before.taught:
        return now
    memory = calibrate_memory(case.shape, case.space.gpu, list(_observed(case, fit)), case.version)
    begin = replace(case.calibration, memory=memory)
    found = _calibrated(case, fit, begin, before.calibration)
    return replace(now, calibration=found, taught=len(fit), is_due=False)


def _teaches(case: Case, trial: Trial, start: str, finished: Sequence[Trial]) -> bool:
    outcome = trial.outcome
    if not isinstance(outcome, Measured) or outcome.start != start or _UNFIT & {*outcome.marks}:
        return False
    return not without_formula(trial.params, finished) and case.shape_for(trial.params) is case.shape


def _is_close(trial: Trial, objective: Objective) -> bool:
    if trial.predicted is None:
        return False
    ratios = (
        ratio_of(trial, metric, trial.predicted.known, objective) for metric in ("output_throughput", "tpot_p50_s")
    )
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
    each = max(REQUESTS, users) + 2.5 * users  # the warm-up, and the last ones
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
