"""A pool and a strategy in; every launch of one search, in order, out. In memory, on the product's own functions.

It is `tuner optimize` without processes, clocks and databases: the defaults first, then what the sampler proposes. Of an exact
pool a proposal stands for the nearest recorded point that was not launched yet. A launch takes the seconds that were recorded;
where its start was not, those of new or of known compiled code.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import log

import optuna
from compiled import compile_key
from early import window_share
from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial
from pool import KNOWN_S, NEW_S, Pool, Told, key
from strategies import Strategy

from tuner.decide.repeats import LEAST_ERROR
from tuner.decide.slo import violations
from tuner.propose.prior import BOUND, CAUSE, ERROR, LAUNCH, STARTUP, TOOK
from tuner.space.parameters import Categorical, Int, Parameter
from tuner.types import Command, Failed, LoadMetrics, Measured, Params, Trial, Value

_AT = datetime(2026, 1, 1, tzinfo=UTC)
#: Proposals that were launched already, in a row, before a search without an end of its own is over.
_REPEATS = 300
#: An SLO is missed by less than a failure weighs.
_MOST_MISSED = 0.999


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """One launch of a search. `truth` is None where the settings fail or miss an SLO; `took_s` is virtual, `proposal_s` real.
    `is_bound` says that its window was ended early."""

    params: Params
    outcome: Measured | Failed
    truth: float | None
    took_s: float
    proposal_s: float
    is_bound: bool = False


def search(pool: Pool, strategy: Strategy, trials: int, seed: int) -> list[Launched]:
    """At most so many launches; fewer where every recorded point was launched."""
    study = optuna.create_study(
        direction="maximize" if pool.objective.maximize else "minimize", sampler=strategy.sampler
    )
    study.set_metric_names([pool.objective.metric])
    distributions = {name: distribution(parameter) for name, parameter in pool.parameters.items()}
    found = list[Launched]()
    compiled = set[str]()
    while len(found) < trials:
        began_s = time.perf_counter()
        params = _next(pool, study, distributions, found)
        if params is None:
            break
        spent_s = time.perf_counter() - began_s
        one = _launch(pool, params, strategy, found, compiled, f"{seed}:search:{len(found)}")
        found.append(replace(one, proposal_s=spent_s))
        _tell(pool, study, distributions, found[-1])
    return found


def trials_of(pool: Pool, found: Sequence[Launched]) -> list[Trial]:
    """As the product's decisions take them; what was ended early is no candidate for anything."""
    command = Command(argv=("vllm",), model="", settings={}, environment={})
    return [
        Trial(
            number=number,
            params={**pool.points.defaults, **one.params},
            is_default=number == 0,
            resolved={},
            command=command,
            outcome=one.outcome,
            violations=violations(one.outcome.load, pool.slos) if isinstance(one.outcome, Measured) else {},
            started_at=_AT,
            ended_at=_AT,
        )
        for number, one in enumerate(found)
        if not one.is_bound
    ]


def distribution(parameter: Parameter) -> BaseDistribution:
    if isinstance(parameter, Categorical):
        choices: list[CategoricalChoiceType] = list(parameter.choices)
        return CategoricalDistribution(choices)
    if isinstance(parameter, Int):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step or 1)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def _next(
    pool: Pool, study: optuna.Study, distributions: Mapping[str, BaseDistribution], found: Sequence[Launched]
) -> Params | None:
    """The defaults, then what the sampler proposes and was not launched; None when nothing is left."""
    if not found:
        return pool.defaults
    if pool.is_exact:
        if len(found) == len(pool.recorded):
            return None
        return pool.nearest(_asked(pool, study, distributions), [one.params for one in found])
    launched = {key(one.params) for one in found}
    for _ in range(_REPEATS):
        params = _asked(pool, study, distributions)
        if key(params) not in launched and not pool.space.violations(params):
            return params
    return None


def _asked(pool: Pool, study: optuna.Study, distributions: Mapping[str, BaseDistribution]) -> Params:
    """A proposal. The trial that asked is failed, which samplers leave out; what is launched is told as another one."""
    trial = study.ask()
    params: dict[str, Value] = {}
    for name, parameter in pool.space.parameters.items():
        if name in pool.space.active(params):
            value = _suggested(trial, name, distributions[name])
            is_drawn = pool.is_exact or parameter.why_outside(value) is None
            params[name] = value if is_drawn else parameter.nearest(value)
    study.tell(trial, state=TrialState.FAIL)
    return params


def _suggested(trial: optuna.Trial, name: str, of: BaseDistribution) -> Value:
    value: Value = trial._suggest(name, of)
    return round(value, 12) if isinstance(value, float) else value


def _launch(
    pool: Pool, params: Params, strategy: Strategy, found: Sequence[Launched], compiled: set[str], seed: str
) -> Launched:
    told, code = pool.launch(params, seed), compile_key({**pool.points.defaults, **params})
    startup_s = told.startup_s if told.startup_s is not None else (KNOWN_S if code in compiled else NEW_S)
    share = 1.0
    if isinstance(told.outcome, Measured):
        compiled.add(code)
        told = replace(told, outcome=replace(told.outcome, startup_s=startup_s))
        share = _share(pool, told, found) if strategy.stops_early else 1.0
    return Launched(
        params=params,
        outcome=told.outcome,
        truth=pool.truth(params),
        took_s=startup_s + share * told.window_s,
        proposal_s=0.0,
        is_bound=share < 1.0,
    )


def _share(pool: Pool, told: Told, found: Sequence[Launched]) -> float:
    """Of its window that a launch takes beside the best so far."""
    assert isinstance(told.outcome, Measured)
    best = best_of(pool, found)
    if best is None or not isinstance(best.outcome, Measured):
        return 1.0
    mine, other = told.outcome.load, best.outcome.load
    value, bar = pool.objective.value(mine), pool.objective.value(other)
    if value is None or bar is None or min(value, bar) <= 0:
        return 1.0
    behind = log(bar / value) if pool.objective.maximize else log(value / bar)
    metric = pool.objective.metric
    return window_share(behind, error_of(mine, metric), error_of(other, metric))


def best_of(pool: Pool, found: Sequence[Launched]) -> Launched | None:
    """The best that was measured, and meets every SLO."""
    known = [
        (pool.objective.value(one.outcome.load), one)
        for one in found
        if isinstance(one.outcome, Measured) and not one.is_bound
        if all(by <= 0 for by in violations(one.outcome.load, pool.slos).values())
    ]
    values = [(value, index, one) for index, (value, one) in enumerate(known) if value is not None]
    if not values:
        return None
    sign = 1 if pool.objective.maximize else -1
    return max(values, key=lambda entry: (sign * entry[0], -entry[1]))[2]


def error_of(load: LoadMetrics, metric: str) -> float:
    """The standard deviation of the logarithm of what was measured, as far as the measurement tells; never below the floor."""
    ends = (load.ci95 or {}).get(metric)
    if metric == "output_throughput" and load.output_throughput_ci95 is not None and load.output_throughput:
        return max(load.output_throughput_ci95 / 1.96 / load.output_throughput, LEAST_ERROR)
    if ends is None or ends[0] <= 0:
        return LEAST_ERROR
    return max(log(ends[1] / ends[0]) / (2 * 1.96), LEAST_ERROR)


def _tell(pool: Pool, study: optuna.Study, distributions: Mapping[str, BaseDistribution], launched: Launched) -> None:
    params = {name: value for name, value in launched.params.items() if name in distributions}
    attributes: dict[str, float | str | bool] = {TOOK: launched.took_s}
    outcome = launched.outcome
    if isinstance(outcome, Failed):
        constraints = {LAUNCH: float(len(pool.slos) + 1)}
        attributes |= {STARTUP: launched.took_s, CAUSE: cause_of(outcome)}
        state, value = TrialState.PRUNED, None
    else:
        missed = violations(outcome.load, pool.slos)
        constraints = {LAUNCH: -1.0, **{name: _bounded(by) for name, by in missed.items()}}
        attributes |= {
            ERROR: error_of(outcome.load, pool.objective.metric),
            STARTUP: outcome.startup_s or 0.0,
            BOUND: launched.is_bound,
        }
        state, value = TrialState.COMPLETE, pool.objective.value(outcome.load)
    study.add_trial(
        create_trial(
            state=state,
            value=value,
            params=params,
            distributions={name: distributions[name] for name in params},
            user_attrs=attributes,
            constraints=constraints,
        )
    )


def cause_of(failed: Failed) -> str:
    """Kind and first line, without its numbers."""
    line = failed.message.splitlines()[0] if failed.message else ""
    return f"{failed.kind.value}: {''.join(c for c in line if not c.isdigit())}"


def _bounded(by: float) -> float:
    """`by` is latency / limit - 1, to 1 - limit / latency."""
    return min(1 - 1 / (1 + by), _MOST_MISSED) if by > -1 else -1.0
