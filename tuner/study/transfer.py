"""A study that begins and those of its database in; what an earlier one has to teach it out.

An earlier study teaches what its model of the server became, and where that model was wrong all the same; none of its
measurements is one of this study. It launches nothing.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import log, sqrt

from tuner.decide.objective import OBJECTIVES, Objective
from tuner.decide.repeats import LEAST_ERROR
from tuner.errors import UsageError
from tuner.predict.advise.case import Case
from tuner.predict.host import rates_of, rates_on
from tuner.predict.prediction import Calibration
from tuner.predict.settings import LATEST, Version, version_of
from tuner.predict.shape import Shape, read_shape
from tuner.propose.prior import Earlier
from tuner.record.rows import StudyRecord
from tuner.record.store import Store
from tuner.space.gpus import UNSET
from tuner.space.parameters import Categorical
from tuner.space.search_space import SearchSpace
from tuner.study.baselines import for_the_sampler
from tuner.study.decided import slo_texts
from tuner.study.learning import Learned, learned_of
from tuner.study.model import FAULTS, case_of
from tuner.study.prior import StudyPrior
from tuner.study.setup import Setup
from tuner.types import Fingerprint, Measured, Params, Trial, Workload
from tuner.workload.arrivals import schedule
from tuner.workload.presets import PRESETS, workload_hash
from tuner.workload.stored import same_load, stored_workload

#: What --warm-start takes beside a study's name.
AUTO, NONE = "auto", "none"
#: From these versions of vLLM on an engine is another one: its scheduler, its runner, what it counts.
_BREAKS: Sequence[Version] = ((0, 21), (0, 29))
#: Fewer launches teach nothing that the first of this study would not.
_LEAST = 3
#: A model of one architecture that is so many times as large is another one.
_AS_LARGE = 4.0
#: Standard deviations of what another study adds to a residual: itself, another load, another model.
_STUDY, _WORKLOAD, _MODEL = 0.10, 0.20, 0.20
#: What is the processor's work, among the rates.
_PROCESSOR = ("launch", "host", "front")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What `study` teaches: a calibration to begin with, and its residuals beside that. `why` says it in a sentence."""

    study: str
    calibration: Calibration
    earlier: tuple[Earlier, ...]
    why: str


@dataclass(frozen=True, slots=True)
class _Kin:
    """An earlier study that this one can learn from, with what it was about."""

    record: StudyRecord
    case: Case
    same_load: bool
    same_model: bool


def transfer(setup: Setup, stored: StudyRecord, store: Store, tell: Callable[[str], None]) -> Transfer | None:
    """What the study that `stored` is about begins with; None where nothing is asked for or found, and `tell` is told why.
    Raises UsageError where the study that is named teaches nothing."""
    asked = setup.warm_start
    if asked == NONE or (asked == AUTO and not _is_predicted(setup)):
        return None
    if asked != AUTO:
        return _named(setup, store, store.study(asked))
    earlier = [one for one in store.studies() if one.name != stored.name and one.created_at < stored.created_at]
    looked = [_kin(setup, record) for record in reversed(earlier)]
    refused = [why for why in looked if isinstance(why, str)]
    found = [kin for kin in looked if isinstance(kin, _Kin)]
    for kin in sorted(found, key=lambda one: (not one.same_load, not one.same_model)):
        if isinstance(taught := _taught(setup, store, kin), Transfer):
            tell(taught.why)
            return taught
        refused.append(taught)
    if refused:
        tell(f"no earlier study of this database teaches this one anything: {refused[0]}")
    return None


def _is_predicted(setup: Setup) -> bool:
    """Else the model of the server says why it is not."""
    try:
        return setup.calibration is not None and case_of(setup, setup.calibration) is not None
    except FAULTS:
        return False


def _named(setup: Setup, store: Store, record: StudyRecord) -> Transfer:
    if record.name == setup.study:
        raise UsageError(f"--warm-start {record.name} is this study itself: name an earlier one, or auto")
    found = _kin(setup, record)
    taught = _taught(setup, store, found) if isinstance(found, _Kin) else found
    if isinstance(taught, str):
        raise UsageError(f"--warm-start {record.name}: {taught}: name another study, or auto")
    return taught


def _kin(setup: Setup, record: StudyRecord) -> _Kin | str:
    """The study as something to learn from, or why it is none."""
    if why := _other_engine(setup.fingerprint, record.fingerprint):
        return f"{record.name} {why}"
    if setup.calibration is None:
        return "trials of this engine are not predicted, so there is nothing to begin with"
    try:
        case = case_of(setup, setup.calibration)
        shape = case.shape if _is_same_model(setup, record) else read_shape(record.model)
        if not _is_family(case.shape, shape):
            return f"{record.name} has a model of another family, {record.model}"
        if (workload := _workload_of(setup, record)) is None:
            return f"{record.name} does not say what its workload was"
        before = _case_before(case, record, shape, workload)
    except FAULTS as error:
        return f"{record.name} cannot be predicted ({error})"
    if before.space.fixed.get("tensor_parallel_size", 1) != setup.space.fixed.get("tensor_parallel_size", 1):
        return f"{record.name} ran on another number of GPUs together"
    return _Kin(record, before, same_load(workload, setup.workload), shape == case.shape)


def _other_engine(now: Fingerprint, before: Fingerprint) -> str | None:
    if now.unreal != before.unreal:
        return f"is {before.unreal or 'real'} and this study is {now.unreal or 'real'}"
    if (now.gpu, now.gpu_count) != (before.gpu, before.gpu_count):
        return f"ran on {before.gpu_count or 1} x {before.gpu or 'the CPU'}"
    if _era(now.engine_version) != _era(before.engine_version):
        return f"ran on vLLM {before.engine_version}, whose engine is another one than that of {now.engine_version}"
    return None


def _era(version: str) -> int:
    found = version_of(version) if re.search(r"\d+\.\d+", version) else LATEST
    return sum(found >= least for least in _BREAKS)


def _is_same_model(setup: Setup, record: StudyRecord) -> bool:
    now, before = setup.fingerprint, record.fingerprint
    if now.model_revision is None or before.model_revision is None:
        return now.model == before.model
    return now.model_revision == before.model_revision


def _is_family(one: Shape, other: Shape) -> bool:
    sizes = [shape.layers * shape.hidden**2 for shape in (one, other)]
    return one.architecture == other.architecture and max(sizes) <= _AS_LARGE * min(sizes)


def _workload_of(setup: Setup, record: StudyRecord) -> Workload | None:
    if record.fingerprint.workload_hash == setup.fingerprint.workload_hash:
        return setup.workload
    if (kept := stored_workload(record.settings.get("workload"))) is not None:
        return kept
    seed = record.settings.get("seed")
    preset = PRESETS.get(record.workload)
    if preset is None or not isinstance(seed, int):
        return None
    seeded = replace(preset, seed=seed)
    return seeded if workload_hash(seeded) == record.fingerprint.workload_hash else None


def _case_before(case: Case, record: StudyRecord, shape: Shape, workload: Workload) -> Case:
    """The earlier study's, but with the objective and the SLOs of this one. Raises UsageError."""
    before = replace(
        case,
        space=SearchSpace.model_validate_json(record.space),
        shape=shape,
        workload=workload,
        quantized=case.quantized if shape is case.shape else {},
        arrivals=tuple(arrival.offset_s for arrival in schedule(workload)) if workload.trace else None,
        calibration=Calibration(rates=rates_of(record.fingerprint)),
        version=version_of(record.fingerprint.engine_version),
    )
    before.check()
    return before


def _taught(setup: Setup, store: Store, kin: _Kin) -> Transfer | str:
    """What it teaches, or why it teaches nothing."""
    name = kin.record.name
    trials = for_the_sampler(store.trials(name), kin.case.space.parameters)
    try:
        learned = learned_of(kin.case, trials, Learned(kin.case.calibration))
        case = replace(kin.case, calibration=learned.calibration)
        earlier = tuple(_earlier(setup, kin, case, learned.fit))
    except FAULTS as error:
        return f"{name} cannot be predicted ({error})"
    if len(learned.fit) < _LEAST:
        return f"{name} has {len(learned.fit)} launches to learn from, and {_LEAST} are the least"
    calibration = _carried(setup, kin, learned.calibration)
    about = "the same workload" if kin.same_load else f"workload {kin.record.workload}"
    of = "" if kin.same_model else f" and model {kin.record.model}"
    return Transfer(
        study=name,
        calibration=calibration,
        earlier=earlier,
        why=f"the model of the server begins with what {len(learned.fit)} launches of study {name} have shown, on {about}{of}",
    )


def _carried(setup: Setup, kin: _Kin, learned: Calibration) -> Calibration:
    """What was learned there, on this host: its processor's work is longer by as much as the ruler is; where a host was not
    measured and is another one, only what the card does is carried."""
    assert setup.calibration is not None
    now, before = setup.fingerprint, kin.record.fingerprint
    begin, rates = setup.calibration.rates, learned.rates
    if now.host_speed is not None and before.host_speed is not None:
        then = rates_on(before.host_speed)
        rates = replace(rates, **{n: getattr(rates, n) / getattr(then, n) * getattr(begin, n) for n in _PROCESSOR})
    elif now.host != before.host:
        rates = replace(begin, kernels=rates.kernels)
    rates = replace(rates, shared=begin.shared)
    return Calibration(rates=rates, memory=learned.memory if kin.same_model else setup.calibration.memory)


def _earlier(setup: Setup, kin: _Kin, case: Case, trials: Sequence[Trial]) -> list[Earlier]:
    objectives = [one for one in setup.objectives if _is_comparable(setup, kin, one)]
    if not objectives:
        return []
    points, found = [_point(setup, trial) for trial in trials], []
    expected = StudyPrior(case, objectives).expect([trial.params for trial in trials])
    inflated = [_STUDY] + [_WORKLOAD] * (not kin.same_load) + [_MODEL] * (not kin.same_model)
    for trial, point, told in zip(trials, points, expected, strict=True):
        assert isinstance(trial.outcome, Measured)
        seen = trial.outcome.metrics()
        pairs = {one.metric: (seen.get(one.metric), value) for one, value in zip(objectives, told.values, strict=False)}
        shares = [(slo, told.slos[slo.name]) for slo in case.constraints if slo.name in told.slos]
        pairs |= {slo.name: (seen.get(slo.metric), share * slo.limit_s) for slo, share in shares}
        residual = {name: log(m / p) for name, (m, p) in pairs.items() if m and p}
        if residual:
            error = sqrt(sum(part**2 for part in (_own_error(trial.outcome), *inflated)))
            found.append(Earlier(params=point, residual=residual, error=error))
    return found


def _is_comparable(setup: Setup, kin: _Kin, objective: Objective) -> bool:
    """Goodput is what meets the SLOs: under others it is another number."""
    return objective.metric != "goodput" or slo_texts(kin.record) == [
        f"{slo.name}={slo.limit_s}s" for slo in setup.slos
    ]


def _point(setup: Setup, trial: Trial) -> Params:
    """As a point of this study's space: what was not searched then is as it was resolved."""
    known = {**trial.resolved, **trial.params}

    for name, parameter in setup.space.parameters.items():
        choices = parameter.choices if isinstance(parameter, Categorical) else ()
        if UNSET in choices and known.get(name) not in choices:
            known[name] = UNSET  # vLLM's own choice, told by its name or not at all
    return {name: known[name] for name in setup.space.parameters if name in known}


def _own_error(outcome: Measured) -> float:
    return max(LEAST_ERROR, OBJECTIVES["throughput"].error(outcome) or 0.0)
