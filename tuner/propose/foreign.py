"""An Optuna study that somebody else has run, in its database, in; its trials and what it searched out. Nothing is written.

It does not know what the values mean. How the database is opened, and that nobody can write through it, is the caller's.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from tuner.errors import RunError, UsageError, choose
from tuner.propose.storage import quiet
from tuner.space.parameters import Float, Int
from tuner.types import Value

#: By it one of tuner's own is known (book.py).
_OURS = "tuner:next"


class State(StrEnum):
    """What became of a trial: only what is finished says anything."""

    MEASURED = "complete"
    FAILED = "failed"
    PRUNED = "pruned"
    UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyTrial:
    """Params whose value is None, which is a choice of Optuna's, are left out. `numbers` and `texts` are its attributes."""

    number: int
    state: State
    params: Mapping[str, Value]
    values: tuple[float, ...]
    numbers: Mapping[str, float]
    texts: Mapping[str, str]
    took_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """`maximize` and `metric_names` are those of the values, in order; there may be no names. `searched` are the ranges of
    numbers."""

    name: str
    maximize: tuple[bool, ...]
    metric_names: tuple[str, ...]
    trials: tuple[StudyTrial, ...]
    searched: Mapping[str, Int | Float]
    is_ours: bool


def read_study(url: str, engine: Mapping[str, Any], name: str | None) -> Study:
    """The study of that name, or the only one. `engine` is what SQLAlchemy is given beside the URL. Raises UsageError for a
    name that is not there, RunError for a schema that this Optuna does not know, and what the database refuses."""
    quiet()
    escaped = url.replace("{", "{{").replace("}", "}}")  # RDBStorage formats the URL
    try:
        storage = optuna.storages.RDBStorage(escaped, engine_kwargs=dict(engine), skip_table_creation=True)
    except RuntimeError as error:
        raise RunError(
            "the database has the schema of another Optuna, and is only read here: copy it, and run"
            " `optuna storage upgrade` on the copy"
        ) from error
    try:
        study = optuna.load_study(
            study_name=_chosen(storage, name), storage=storage, sampler=optuna.samplers.RandomSampler()
        )
        return _study(study, storage)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _chosen(storage: optuna.storages.RDBStorage, name: str | None) -> str:
    known = optuna.get_all_study_names(storage)
    if not known:
        raise UsageError("the database holds no Optuna study")
    if name is None and len(known) > 1:
        raise UsageError(f"the database holds {len(known)} studies: choose one with --study: {', '.join(known[:20])}")
    if name is not None and name not in known:
        raise UsageError(f"the database holds no study {name!r}{choose(name, known[:20])}")
    return known[0] if name is None else name


def _study(study: optuna.Study, storage: optuna.storages.RDBStorage) -> Study:
    with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
        names = study.metric_names
    trials = study.get_trials(deepcopy=False)
    return Study(
        name=study.study_name,
        maximize=tuple(direction is StudyDirection.MAXIMIZE for direction in study.directions),
        metric_names=tuple(names or ()),
        trials=tuple(map(_trial, trials)),
        searched=_searched(trials),
        is_ours=_OURS in storage.get_study_system_attrs(study._study_id),
    )


def _trial(trial: FrozenTrial) -> StudyTrial:
    states = {TrialState.COMPLETE: State.MEASURED, TrialState.FAIL: State.FAILED, TrialState.PRUNED: State.PRUNED}
    attributes = trial.user_attrs
    is_finished = trial.state.is_finished() and trial.duration is not None
    return StudyTrial(
        number=trial.number,
        state=states.get(trial.state, State.UNFINISHED),
        params={name: value for name, value in trial.params.items() if value is not None},
        values=tuple(trial.values) if trial.state is TrialState.COMPLETE else (),
        numbers={
            name: float(v) for name, v in attributes.items() if isinstance(v, int | float) and not isinstance(v, bool)
        },
        texts={name: v for name, v in attributes.items() if isinstance(v, str)},
        took_s=trial.duration.total_seconds() if is_finished and trial.duration is not None else None,
    )


def _searched(trials: list[FrozenTrial]) -> dict[str, Int | Float]:
    """The ranges of numbers, each as wide as any trial had it; none for what was searched in two ways."""
    found: dict[str, list[Any]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            found.setdefault(name, []).append(distribution)
    ranges = {name: _range(each) for name, each in found.items()}
    return {name: parameter for name, parameter in ranges.items() if parameter is not None}


def _range(each: list[Any]) -> Int | Float | None:
    first = each[0]
    is_alike = all(type(one) is type(first) for one in each)
    if (
        not is_alike
        or not isinstance(first, IntDistribution | FloatDistribution)
        or any(one.log != first.log for one in each)
    ):
        return None
    low, high = min(one.low for one in each), max(one.high for one in each)
    step = first.step if len({(one.low, one.step) for one in each}) == 1 and not first.log else None
    try:
        if isinstance(first, FloatDistribution):
            return Float(type="float", low=float(low), high=float(high), log=first.log, step=step)
        return Int(
            type="int", low=int(low), high=int(high), log=first.log, step=int(step) if step and step > 1 else None
        )
    except ValidationError:  # beyond what tuner searches
        return None
