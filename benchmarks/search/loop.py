"""A pool and a strategy in; every launch of one search, in order, out. In memory, on the product's own functions.

It is `tuner optimize` without processes, clocks and databases: the defaults first, then what the sampler proposes. Of an exact
pool a proposal stands for the nearest recorded point that was not launched yet. A launch takes the seconds that were recorded;
where its start was not, those of new or of known compiled code.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import optuna
from expected import Server
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from pool import KNOWN_S, NEW_S, Pool, Told, key, seed_of
from strategies import Strategy

from tuner.decide.early import outdo, stopped
from tuner.decide.slo import violations
from tuner.propose.distributions import searched
from tuner.propose.proposer import DRAWS, REPEATS
from tuner.propose.told import Words, told
from tuner.types import Command, Failed, Mark, Measured, Params, Trial, Value

_AT = datetime(2026, 1, 1, tzinfo=UTC)
_COMMAND = Command(argv=("vllm",), model="", settings={}, environment={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """One launch of a search. `truth` is None where the settings fail or miss an SLO; `took_s` is virtual, `proposal_s`
    real."""

    params: Params
    outcome: Measured | Failed
    truth: float | None
    took_s: float
    proposal_s: float

    @property
    def is_stopped(self) -> bool:
        """Whether its window was ended early, so that it is no candidate for anything."""
        return isinstance(self.outcome, Measured) and Mark.STOPPED_EARLY in self.outcome.marks


def search(pool: Pool, server: Server | None, strategy: Strategy, trials: int, seed: int) -> list[Launched]:
    """At most so many launches; fewer where every point was launched."""
    study = optuna.create_study(
        direction="maximize" if pool.objective.maximize else "minimize", sampler=strategy.sampler
    )
    study.set_metric_names([pool.objective.metric])
    distributions = {name: searched(parameter) for name, parameter in pool.parameters.items()}
    words = Words(parameters=pool.parameters, objectives=(pool.objective,), slos=pool.slos)
    found = list[Launched]()
    compiled = set[str]()
    while len(found) < trials:
        began_s = time.perf_counter()
        params = _next(pool, study, distributions, found, seed)
        if params is None:
            break
        spent_s = time.perf_counter() - began_s
        one = launch(pool, server, params, strategy, found, compiled, f"{seed}:search:{len(found)}")
        found.append(replace(one, proposal_s=spent_s))
        study.add_trial(told([trial_of(pool, 0, one, one.params, is_default=len(found) == 1)], (), words)[0])
    return found


def trials_of(pool: Pool, found: Sequence[Launched]) -> list[Trial]:
    """As the product's decisions take them."""
    defaults = pool.points.defaults
    return [
        trial_of(pool, number, one, {**defaults, **one.params}, is_default=number == 0)
        for number, one in enumerate(found)
    ]


def trial_of(pool: Pool, number: int, one: Launched, params: Params, *, is_default: bool) -> Trial:
    return Trial(
        number=number,
        params=params,
        is_default=is_default,
        resolved={},
        command=_COMMAND,
        outcome=one.outcome,
        violations=violations(one.outcome.load, pool.slos) if isinstance(one.outcome, Measured) else {},
        started_at=_AT,
        ended_at=_AT + timedelta(seconds=one.took_s),
    )


def _next(
    pool: Pool, study: optuna.Study, distributions: Mapping[str, BaseDistribution], found: Sequence[Launched], seed: int
) -> Params | None:
    """The defaults, then what the sampler proposes and was not launched; None when nothing is left."""
    if not found:
        return pool.defaults
    if pool.is_exact:
        if len(found) == len(pool.recorded):
            return None
        return pool.nearest(asked(pool, study, distributions), [one.params for one in found])
    launched = {key(one.params) for one in found}
    points = _points(pool, study, distributions, f"{seed}:left:{len(found)}")
    return next((one for one in points if key(one) not in launched and not pool.space.violations(one)), None)


def _points(
    pool: Pool, study: optuna.Study, distributions: Mapping[str, BaseDistribution], seed: str
) -> Iterator[Params]:
    """As the product: what the sampler proposes; where that is nothing new for long, even draws of what is left."""
    for _ in range(REPEATS):
        yield asked(pool, study, distributions)
    if pool.every is not None:
        yield from random.Random(seed).sample(pool.every, len(pool.every))
        return
    even = optuna.create_study(sampler=RandomSampler(seed=seed_of(seed)))
    for _ in range(DRAWS):
        yield asked(pool, even, distributions)


def asked(pool: Pool, study: optuna.Study, distributions: Mapping[str, BaseDistribution]) -> Params:
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


def launch(
    pool: Pool,
    server: Server | None,
    params: Params,
    strategy: Strategy,
    found: Sequence[Launched],
    compiled: set[str],
    seed: str,
) -> Launched:
    answer, full = pool.launch(params, seed), {**pool.points.defaults, **params}
    code = server.code(full) if server is not None else repr(key(full))
    startup_s = answer.startup_s if answer.startup_s is not None else (KNOWN_S if code in compiled else NEW_S)
    if isinstance(answer.outcome, Measured):
        compiled.add(code)
        load = replace(answer.outcome.load, window_s=answer.measured_s)
        answer = replace(answer, outcome=replace(answer.outcome, startup_s=startup_s, load=load))
        if strategy.stops_early and server is not None:
            answer = _as_far_as_needed(pool, server, answer, found)
    return Launched(
        params=params,
        outcome=answer.outcome,
        truth=pool.truth(params),
        took_s=startup_s + answer.window_s,
        proposal_s=0.0,
    )


def _as_far_as_needed(pool: Pool, server: Server, answer: Told, found: Sequence[Launched]) -> Told:
    """What it tells if its window ends as soon as it cannot outdo the best so far: its numbers stay those of the record."""
    assert isinstance(answer.outcome, Measured)
    bar = outdo(trials_of(pool, found), pool.objective, pool.slos, server.workload)
    value, window_s = answer.outcome.load.output_throughput, answer.measured_s
    ended = stopped(bar, value, window_s) if bar is not None and value is not None else None
    if ended is None:
        return answer
    past_s, seen = ended
    load, marks = replace(answer.outcome.load, window_s=past_s), (*answer.outcome.marks, Mark.STOPPED_EARLY)
    outcome = replace(answer.outcome, load=load, marks=marks, at_best=seen.at_best / seen.value)
    return replace(answer, outcome=outcome, window_s=answer.window_s - window_s + past_s)
