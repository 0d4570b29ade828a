"""The trials of a study in; what each setting was worth, and of which that cannot be told, out. Pure.

A setting's effect is the difference between its best and its worst value, with the other settings as they were in the trials:
the main effect of Oakley & O'Hagan 2004, "Probabilistic sensitivity analysis of complex models: a Bayesian approach", of the
search's own surrogate. It is a linear functional of a Gaussian process, so its interval is known, too; that of several pairs of
values is widened by their number (Bonferroni). Settings count as they were resolved.

A setting is credited only where trials differ in it alone, or its column of the design is not nearly a mixture of the others'
(tolerance, the inverse of the variance inflation factor: Belsley, Kuh & Welsch 1980, "Regression Diagnostics"), and where the
trials have told most of what was unknown about it. What two settings did that were always changed together nobody can tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import expm1
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tuner.decide.objective import Objective
from tuner.decide.rank import score, stopped_early, usual_start
from tuner.decide.shortlist import launch_error
from tuner.propose.encoding import Encoding, Matrix
from tuner.propose.surrogate import Data, Surrogate
from tuner.space.parameters import Categorical, Float, Parameter
from tuner.types import Credit, Importance, Importances, Measured, Params, Trial, Value

#: Fewer trials say nothing of an effect.
_FEWEST = 4
#: A fit of more takes too long, and tells no more.
_MOST = 200
#: Of a numeric setting so many of its values are looked at.
_LEVELS = 6
#: A column of which the others leave less than this share unexplained is one of theirs, and no more than so many are named;
#: where there are no more trials than columns, any column is one of some others, so there only single ones are named.
_TOLERANCE, _NAMED = 0.1, 3
#: An effect is known where its standard deviation is so small, or so much smaller than before anything was measured.
_SMALL, _TOLD = 0.02, 0.6
#: By how much points are thought to differ (a logarithm), and what a value without a logarithm is taken for, of the least.
_SPREAD, _OF_THE_LEAST = 0.3, 0.01


@dataclass(frozen=True, slots=True)
class _Fit:
    """What was measured, and the surrogate of it."""

    points: tuple[Params, ...]
    encoding: Encoding
    x: Matrix
    surrogate: Surrogate


def importances(trials: Sequence[Trial], objective: Objective) -> Importances:
    """Of one objective. No setting is credited where fewer than four trials were measured wholly."""
    known = _known(trials, objective)
    used = _some(known, objective)
    points = [dict(point) for point in _points(used)]
    names = list(dict.fromkeys(name for point in points for name in point))
    varied = [name for name in names if len(_values(points, name)) > 1]
    found = [Importance(name=name, credit=Credit.FIXED, values=1) for name in names if name not in varied]
    if len(used) >= _FEWEST and varied:
        with threadpool_limits(limits=1, user_api="blas"):
            fit = _fitted(points, varied, used, objective)
            found += [_importance(fit, name) for name in varied]
    else:
        few = {name: len(_values(points, name)) for name in varied}
        found += [Importance(name=name, credit=Credit.UNKNOWN, values=count) for name, count in few.items()]
    order = list(Credit)
    found.sort(key=lambda one: (order.index(one.credit), -(one.effect or 0.0), one.name))
    return Importances(metric=objective.metric, trials=len(used), measured=len(known), settings=tuple(found))


def _known(trials: Sequence[Trial], objective: Objective) -> list[Trial]:
    """Measured wholly, by servers that came to be alike."""
    usual = usual_start(trials)
    whole = [t for t in trials if score(t, objective) is not None and not stopped_early(t)]
    return [trial for trial in whole if isinstance(trial.outcome, Measured) and trial.outcome.start == usual]


def _some(known: Sequence[Trial], objective: Objective) -> list[Trial]:
    """All, or so many of them evenly, with the defaults and the best."""
    if len(known) <= _MOST:
        return list(known)
    sign = 1 if objective.maximize else -1
    best = max(known, key=lambda trial: sign * (score(trial, objective) or 0.0))
    chosen = {known[round(place)].number for place in np.linspace(0, len(known) - 1, _MOST - 2)}
    return [trial for trial in known if trial.number in chosen or trial.is_default or trial is best]


def _points(trials: Sequence[Trial]) -> list[Params]:
    """The settings that were searched, as the engine resolved them, and as its start left them."""
    names = dict.fromkeys(name for trial in trials for name in trial.params)
    asked: list[Params] = [trial.params for trial in trials]
    became: list[Params] = [{**trial.params, **trial.resolved, **trial.effective} for trial in trials]
    source = {name: became if len(_values(became, name)) > 1 else asked for name in names}
    return [{name: source[name][i][name] for name in names if name in trial.params} for i, trial in enumerate(trials)]


def _fitted(points: Sequence[Params], names: Sequence[str], trials: Sequence[Trial], objective: Objective) -> _Fit:
    encoding = Encoding({name: _parameter(_values(points, name)) for name in names})
    x = encoding.encode(points)
    values = [score(trial, objective) or 0.0 for trial in trials]
    least = min((value for value in values if value > 0), default=1.0) * _OF_THE_LEAST
    y = np.log([max(value, least) for value in values]) * (1 if objective.maximize else -1)
    outcomes = [trial.outcome for trial in trials if isinstance(trial.outcome, Measured)]
    data = Data(
        x=x,
        parameter_of=encoding.parameter_of,
        y=y - y.mean(),
        error=np.array([launch_error(outcome, objective) for outcome in outcomes]),
        bound=np.zeros(len(y), dtype=bool),
        trend=None,
        signal=max(_SPREAD, float(y.std())),
        believed=False,
    )
    return _Fit(tuple(points), encoding, x, Surrogate(data))


def _importance(fit: _Fit, name: str) -> Importance:
    values = _values(fit.points, name)
    known = Importance(name=name, credit=Credit.UNKNOWN, values=len(values), alone=_alone(fit.points, name))
    if not known.alone and (aliases := _aliases(fit, name)):
        is_known = len(aliases) <= _NAMED and (len(fit.points) > fit.x.shape[1] or _are_single(fit, name, aliases))
        return replace(known, credit=Credit.ALIASED, aliases=aliases) if is_known else known
    levels = _levels(values)
    at = [fit.encoding.encode([{**point, name: level} for point in fit.points]) for level in levels]
    means = [float(fit.surrogate.predict(x)[0].mean()) for x in at]
    best, worst = int(np.argmax(means)), int(np.argmin(means))
    if best == worst:
        best, worst = 0, 1
    effect, deviation, before = fit.surrogate.contrast(at[best], at[worst])
    if not known.alone and deviation > max(_SMALL, _TOLD * before):
        return known
    half = deviation * NormalDist().inv_cdf(1 - 0.025 / (len(levels) * (len(levels) - 1) / 2))
    return replace(
        known,
        credit=Credit.EFFECT if effect > half else Credit.NOTHING,
        effect=expm1(effect),
        low=expm1(effect - half),
        high=expm1(effect + half),
        best=levels[best],
        worst=levels[worst],
    )


def _alone(points: Sequence[Params], name: str) -> int:
    """How many pairs of points differ in it and in nothing else."""
    groups: dict[frozenset[tuple[str, Value]], list[Value | None]] = {}
    for point in points:
        groups.setdefault(frozenset((n, v) for n, v in point.items() if n != name), []).append(point.get(name))
    pairs = ((a, b) for group in groups.values() for i, a in enumerate(group) for b in group[:i])
    return sum(a != b for a, b in pairs)


def _aliases(fit: _Fit, name: str) -> tuple[str, ...]:
    """The other settings that tell the value of this one: each that does alone, else what is left where one after the other is
    left out. Empty where even all do not."""
    kept = [other for other in fit.encoding.names if other != name]
    if _tolerance(fit, name, kept) >= _TOLERANCE:
        return ()
    if single := [other for other in kept if _tolerance(fit, name, [other]) < _TOLERANCE]:
        return tuple(single[:_NAMED])
    for other in tuple(kept):
        fewer = [one for one in kept if one != other]
        if _tolerance(fit, name, fewer) < _TOLERANCE:
            kept = fewer
    return tuple(kept)


def _are_single(fit: _Fit, name: str, aliases: Sequence[str]) -> bool:
    return all(_tolerance(fit, name, [other]) < _TOLERANCE for other in aliases)


def _tolerance(fit: _Fit, name: str, others: Sequence[str]) -> float:
    """The share of the setting's variance that the others leave unexplained."""
    mine = fit.x[:, _columns(fit, [name])]
    mine = mine - mine.mean(axis=0)
    known = fit.x[:, _columns(fit, others)]
    known = known - known.mean(axis=0)
    rest = mine - known @ np.linalg.lstsq(known, mine, rcond=None)[0] if known.size else mine
    total = float((mine * mine).sum())
    return float((rest * rest).sum()) / total if total > 0 else 0.0


def _columns(fit: _Fit, names: Sequence[str]) -> NDArray[np.bool_]:
    wanted = [fit.encoding.names.index(name) for name in names]
    found: NDArray[np.bool_] = np.isin(fit.encoding.parameter_of, wanted)
    return found


def _values(points: Sequence[Mapping[str, Value]], name: str) -> list[Value]:
    """Those that occur, in order; True is not 1."""
    found = {(type(point[name]) is bool, point[name]): point[name] for point in points if name in point}
    return sorted(
        found.values(), key=lambda value: (isinstance(value, str), str(value) if isinstance(value, str) else value)
    )


def _parameter(values: Sequence[Value]) -> Parameter:
    """Of the values that occur: what the search space said may be another tuner's."""
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return Categorical.model_construct(choices=tuple(values))
    return Float.model_construct(low=min(numbers), high=max(numbers))


def _levels(values: Sequence[Value]) -> list[Value]:
    places = np.linspace(0, len(values) - 1, min(len(values), _LEVELS))
    return [values[round(place)] for place in places]
