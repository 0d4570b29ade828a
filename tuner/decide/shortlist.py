"""A search's trials in; the settings that are worth launching again, the most promising first, out. Pure.

A search ranks by one launch each, so the best of many is too good (winner's curse), and the best that met an SLO is often one
that met it by luck. So the order is by what a setting promises: its gain times the chance that it passes the verification.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log, prod, sqrt

from tuner.decide.ballast import NOTHING, changed, is_lighter
from tuner.decide.objective import Objective
from tuner.decide.rank import defaults_of, feasible, score, stopped_early, usual_start
from tuner.decide.repeats import LEAST_ERROR, LEAST_LAUNCHES, PRIOR_ERROR, chance_to_meet
from tuner.decide.slo import Slo
from tuner.types import LoadMetrics, Measured, Params, Trial

#: What missed an SLO in the search by so much that its chance to meet it is smaller is not launched again.
_LEAST_CHANCE = 0.1
#: Defaults of which one launch says so surely that they meet the SLOs are taken to meet them.
SURE = 0.9
#: What a forked server serves of what a plain one does, and how differently settings are slowed down so (standard deviation):
#: on an H200 forked servers served 7 to 27 % fewer tokens than plain ones.
_FORKED, _FORK_ERROR = 0.85, 0.06
#: What promises less than this share of the leader is not near it.
_NEAR = 0.9


@dataclass(frozen=True, slots=True)
class Candidate:
    """A setting to launch again. `value` is what the search measured, `error` the standard deviation of its logarithm as a
    guess at what a launch would give; `promise` is what the shortlist is ordered by."""

    trial: Trial
    value: float
    error: float
    promise: float


def shortlist(trials: Sequence[Trial], objective: Objective, slos: Sequence[Slo]) -> list[Candidate]:
    """All that may be better than the defaults, the most promising first, or in its place the same with fewer settings changed,
    if that served as much. Where the defaults miss an SLO or were not measured, all that may meet the SLOs."""
    known = [trial for trial in trials if score(trial, objective) is not None and not stopped_early(trial)]
    usual, (kept, base) = usual_start(known), _defaults(trials, objective, slos)
    values = {trial.number: _value(trial, usual, objective) for trial in known}
    promises = {t.number: _promise(t, values[t.number], kept, base, objective, slos) for t in known if not t.is_default}
    chosen = [trial for trial in known if promises.get(trial.number, 0.0) > 0]
    chosen.sort(key=lambda trial: -promises[trial.number])
    found = [_candidate(trial, values[trial.number], objective, promises[trial.number]) for trial in chosen]
    defaults = defaults_of(trials)
    light = lighter(found, defaults.params, objective) if found and defaults else None
    return [light, *(one for one in found if one is not light)] if light else found


def lighter(ordered: Sequence[Candidate], defaults: Params, objective: Objective) -> Candidate | None:
    """Of the first the same with some of its settings at the defaults again, where that served as much; the lightest."""
    first = ordered[0]
    found = [
        other
        for other in ordered[1:]
        if is_lighter(other.trial.params, first.trial.params, defaults)
        and other.promise >= _NEAR * first.promise
        and _behind(other, first, objective) <= NOTHING
    ]
    return min(found, key=lambda one: len(changed(one.trial.params, defaults)), default=None)


def heavier(candidates: Sequence[Candidate], chosen: Trial, defaults: Params, objective: Objective) -> Trial | None:
    """The most promising of what serves no more than the chosen one, which is the same with fewer settings changed."""
    mine = next((one for one in candidates if one.trial.number == chosen.number), None)
    found = [
        other
        for other in candidates
        if mine
        and is_lighter(chosen.params, other.trial.params, defaults)
        and _behind(mine, other, objective) <= NOTHING
    ]
    return max(found, key=lambda one: one.promise).trial if found else None


def slo_error(load: LoadMetrics, slo: Slo) -> float | None:
    """What the measurement itself tells of the error of an SLO's value: the standard deviation of its logarithm."""
    known = (load.ci95 or {}).get(slo.metric)
    if known is None or known[0] <= 0:
        return None
    return max(log(known[1] / known[0]) / (2 * 1.96), LEAST_ERROR)


def is_near(candidate: Candidate, leader: Candidate, objective: Objective) -> bool:
    """Whether its search value is within one standard error of the leader's, so that it may well be the better one."""
    if candidate.promise < _NEAR * leader.promise or min(candidate.value, leader.value) <= 0:
        return False
    return _behind(candidate, leader, objective) <= sqrt(candidate.error**2 + leader.error**2)


def _behind(candidate: Candidate, leader: Candidate, objective: Objective) -> float:
    """By how much, of the logarithm of what the search measured."""
    if min(candidate.value, leader.value) <= 0:
        return 0.0 if candidate.value == leader.value else inf
    return log(leader.value / candidate.value) * (1 if objective.maximize else -1)


def chance(load: LoadMetrics, slos: Sequence[Slo]) -> float:
    """The chance that one launch that was measured so meets all SLOs in truth."""
    return prod(chance_to_meet(load, slo, slo_error(load, slo) or PRIOR_ERROR) for slo in slos)


def _value(trial: Trial, usual: str, objective: Objective) -> float:
    """What the search measured; of what was measured plainly among forked servers, what a forked one would have served."""
    assert isinstance(trial.outcome, Measured)
    value = score(trial, objective)
    assert value is not None
    if trial.outcome.start == usual or usual != "warm":
        return value
    return value * _FORKED if objective.maximize else value / _FORKED


def _promise(
    trial: Trial, value: float, kept: float, base: float | None, objective: Objective, slos: Sequence[Slo]
) -> float:
    """Its worth times the chance to meet every SLO in as many launches as a verification has at least; 0 if it is not worth a
    launch. The worth is the gain over the defaults where these can be kept (`kept` is the chance of that), else all that it
    serves."""
    assert isinstance(trial.outcome, Measured)
    passes = chance(trial.outcome.load, slos)
    if passes < _LEAST_CHANCE and not feasible(trial):
        return 0.0
    over = objective.gain(value, base) if base else (value if objective.maximize else 1 / max(value, 1e-9))
    all_it_serves = 1 + over if base else over
    return (kept * max(over, 0.0) + (1 - kept) * all_it_serves) * passes**LEAST_LAUNCHES


def _defaults(trials: Sequence[Trial], objective: Objective, slos: Sequence[Slo]) -> tuple[float, float | None]:
    """The chance that the defaults meet the SLOs, and what they serve; 0 and None where they were not measured."""
    defaults = defaults_of(trials)
    if defaults is None or not isinstance(defaults.outcome, Measured):
        return 0.0, None
    known = chance(defaults.outcome.load, slos)
    return (1.0 if known >= SURE else known), score(defaults, objective)


def _candidate(trial: Trial, value: float, objective: Objective, promise: float) -> Candidate:
    assert isinstance(trial.outcome, Measured)
    return Candidate(trial, value, launch_error(trial.outcome, objective), promise)


def launch_error(measured: Measured, objective: Objective, window: float | None = None) -> float:
    """The standard deviation of the logarithm of what was measured, as a guess at what another launch would give. `window` is
    what the window leaves open, where that is counted elsewhere."""
    known = (objective.error(measured) if objective.is_throughput else None) or LEAST_ERROR
    fork = _FORK_ERROR if measured.start == "warm" else 0.0
    return sqrt(max(known if window is None else window, LEAST_ERROR) ** 2 + fork**2)
