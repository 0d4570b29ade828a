"""A study as it is stored and its trials in; what its model of the server says that a changed setting gains, out.

The model learns from all trials at once, so that it may differ a little from the one of the run. Where nothing was predicted
then, or the files of the served model are not here any more, nothing is predicted now: no answer depends on it. It launches
nothing.
"""

from collections.abc import Sequence
from dataclasses import replace

from tuner.decide.slo import parse_slo
from tuner.diagnose.diagnosing import PredictGain
from tuner.diagnose.table import begins_so
from tuner.diagnose.trials import settings_of
from tuner.predict.advise.case import Case
from tuner.predict.host import rates_of
from tuner.predict.prediction import Calibration
from tuner.predict.settings import version_of
from tuner.predict.shape import read_shape
from tuner.record.rows import StudyRecord
from tuner.space.parameters import meant
from tuner.space.search_space import SearchSpace
from tuner.study.baselines import for_the_sampler
from tuner.study.decided import objectives_of, slo_texts
from tuner.study.learning import Learned, learned_of
from tuner.study.model import FAULTS, gain_of, predictable
from tuner.types import Params, Trial, Value
from tuner.workload.arrivals import schedule
from tuner.workload.stored import stored_workload


class StoredModel:
    """A study's model of its server, as its trials have taught it."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._known: dict[tuple[int, str, Value], float | None] = {}

    def gains_over(self, trial: Trial) -> PredictGain:
        """Of settings like those that the trial's server had, but for one: the relative gain of that one."""
        settings = settings_of(trial)

        def gain(moved: Params) -> float | None:
            changed = [(name, value) for name, value in moved.items() if settings.get(name) != value]
            if len(changed) != 1:
                return None
            key = (trial.number, *changed[0])
            if key not in self._known:
                self._known[key] = self._gain(trial.params, *changed[0])
            return self._known[key]

        return gain

    def _gain(self, params: Params, name: str, value: Value) -> float | None:
        """The value is that of the space that is meant; outside of the space it is taken as it is."""
        space, current = self._case.space, params.get(name)
        parameter = space.parameters.get(name)
        known = value if parameter is None else meant(parameter, value, current, begins=begins_so(name, value))
        if known is None or known == current:
            return None
        moved = {**params, name: known}
        counted = space.active(moved)
        point = {one: moved[one] for one in moved if one in counted or one not in space.parameters}
        try:
            return gain_of(self._case, params, point)
        except FAULTS:
            return None


def stored_model(record: StudyRecord, trials: Sequence[Trial]) -> StoredModel | None:
    """None where the study's trials were not predicted, or cannot be here."""
    if all(trial.predicted is None for trial in trials):
        return None
    try:
        case = _case(record, trials)
        fit = for_the_sampler(trials, case.space.parameters)
        return StoredModel(replace(case, calibration=learned_of(case, fit, Learned(case.calibration)).calibration))
    except FAULTS:
        return None


def _case(record: StudyRecord, trials: Sequence[Trial]) -> Case:
    """As it was when the study began, on its host. Raises what `FAULTS` has for what cannot be predicted."""
    workload = stored_workload(record.settings.get("workload"))
    if workload is None:
        raise ValueError("an older tuner kept no workload")
    checkpoints = {
        str(trial.params["quantization"]): trial.command.model
        for trial in trials
        if "quantization" in trial.params and trial.command.model not in ("", record.model)
    }
    case = Case(
        space=SearchSpace.model_validate_json(record.space),
        shape=read_shape(record.model),
        workload=workload,
        objective=predictable(objectives_of(record)),
        slos=tuple(slo for slo in map(parse_slo, slo_texts(record)) if not slo.metric.startswith("itl")),
        quantized={name: read_shape(model) for name, model in checkpoints.items()},
        arrivals=tuple(arrival.offset_s for arrival in schedule(workload)) if workload.trace else None,
        calibration=Calibration(rates=rates_of(record.fingerprint)),
        version=version_of(record.fingerprint.engine_version),
    )
    case.check()
    return case
