"""An Optuna study's trials in, with what its values are of; its launches out (docs/import.md). Pure.

What failed stays failed, of an unknown cause; what was pruned was not measured to its end, and is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.errors import UsageError
from tuner.propose.foreign import State, Study, StudyTrial
from tuner.replay.file import MAX_SECONDS, Header
from tuner.replay.launches import Imported, Launch, counted, usable
from tuner.replay.metric_names import Named, maximized, named, objective_of, translated
from tuner.replay.sweep_run import settings
from tuner.types import Failed, FailureKind

_EXPECTED = "expected one such as throughput, requests, ttft_p99_ms, e2e_p50_s or -throughput"

#: A traceback's last line says what was wrong.
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Value:
    """What one of a study's values is. `sign` is -1 where it was negated."""

    named: Named
    sign: float


def launches_of(study: Study, names: Sequence[str]) -> Imported:
    """`names` say what the values are, in order; without them the study's own metric names do. Raises UsageError."""
    values = _values(study, names or study.metric_names)
    attributes = {name: ours for trial in study.trials for name in trial.numbers if (ours := named(name))}
    finished = [trial for trial in study.trials if trial.state in (State.MEASURED, State.FAILED)]
    launches = tuple(_launch(trial, values, attributes) for trial in finished)
    about = ", ".join(f"{'most' if best else 'least'} {one.named.metric}" for one, best in _wanted(values, study))
    return Imported(
        launches=launches,
        header=Header(source=f"Optuna study {study.name}: {about}"),
        notes=tuple(_notes(study, attributes)),
        objectives=tuple(word for one in values if (word := objective_of(one.named.metric))),
    )


def _values(study: Study, names: Sequence[str]) -> list[Value]:
    count = len(study.maximize)
    if not names:
        raise UsageError(f"the study does not say what its values are: give --objective-name for each; {_EXPECTED}")
    if len(names) != count:
        raise UsageError(
            f"the study has {count} value{'s' if count > 1 else ''} a trial and {len(names)}"
            f" name{'s' if len(names) > 1 else ''}: give --objective-name for each, in their order"
        )
    found = [_value(name) for name in names]
    if len({one.named.metric for one in found}) < count:
        raise UsageError(f"--objective-name: two of {', '.join(names)} are the same metric")
    for name, (one, maximize) in zip(names, _wanted(found, study), strict=True):
        more = maximized(one.named.metric)
        if more is not None and more is not maximize:
            raise UsageError(_other_way(name, one, more))
    return found


def _wanted(values: Sequence[Value], study: Study) -> list[tuple[Value, bool]]:
    """Whether more of the metric itself was wanted."""
    return [(one, best is (one.sign > 0)) for one, best in zip(values, study.maximize, strict=True)]


def _other_way(name: str, value: Value, more: bool) -> str:
    """The direction of the study is not that of the metric."""
    better = f"--objective-name {name}: the study looked for {'less' if more else 'more'} {value.named.metric}"
    if value.sign < 0:
        return f"{better} then, which is worse: leave out the -"
    return f"{better}, which is worse: if its values were negated, give --objective-name=-{name}"


def _value(name: str) -> Value:
    word = name.removeprefix("-")
    if (found := named(word)) is not None:
        return Value(found, -1.0 if name.startswith("-") else 1.0)
    in_seconds = named(f"{word}_s")
    why = f"say its unit, {word}_ms or {word}_s" if in_seconds else _EXPECTED
    raise UsageError(
        f"--objective-name {name}: {'its unit is not known' if in_seconds else 'this is no metric'}: {why}"
    )


def _launch(trial: StudyTrial, values: Sequence[Value], attributes: Mapping[str, Named]) -> Launch:
    try:
        params, _ = settings(trial.params)
    except ValueError as error:
        raise UsageError(f"trial {trial.number}: {error}") from error
    took_s = trial.took_s if trial.took_s is not None and 0 <= trial.took_s <= MAX_SECONDS else None
    return Launch(
        params=params,
        outcome=_outcome(trial, values, attributes),
        startup_s=0.0 if took_s is not None else None,
        duration_s=took_s,
        about={"trial": str(trial.number)},
    )


def _outcome(trial: StudyTrial, values: Sequence[Value], attributes: Mapping[str, Named]) -> dict[str, float] | Failed:
    if trial.state is State.FAILED:
        said = next((text for name, text in trial.texts.items() if "error" in name or "fail" in name), "").strip()
        why = said.splitlines()[-1][:_LONGEST] if said else f"trial {trial.number} failed; the study does not say why"
        return Failed(kind=FailureKind.CRASHED, message=why)
    told = {
        one.named.metric: number * one.sign * one.named.factor for one, number in zip(values, trial.values, strict=True)
    }
    numbers, none = usable(told)
    if none:
        message = f"its {none[0]} is {told[none[0]]:g}, which is no measurement"
        return Failed(kind=FailureKind.CRASHED, message=message)
    beside, _ = usable(translated(trial.numbers, attributes))
    return {**beside, **numbers}


def _notes(study: Study, attributes: Mapping[str, Named]) -> list[str]:
    notes = []
    if study.is_ours:
        notes.append(f"this is a study of tuner's own: `tuner export {study.name} --format surface` tells more of it")
    for state, why in ((State.PRUNED, "were pruned before their end"), (State.UNFINISHED, "are not finished")):
        if count := sum(trial.state is state for trial in study.trials):
            notes.append(f"left out: {count} of {len(study.trials)} trials, which {why}")
    others = [name for trial in study.trials for name in trial.numbers if name not in attributes]
    if others:
        notes.append(f"left out, for tuner has no such metric, or its unit is not known: {counted(others)}")
    dropped = [name for trial in study.trials for name in _dropped(trial)]
    return (
        [*notes, f"left out, for tuner gives it to each server itself, or it is a secret: {counted(dropped)}"]
        if dropped
        else notes
    )


def _dropped(trial: StudyTrial) -> list[str]:
    try:
        return settings(trial.params)[1]
    except ValueError:
        return []
