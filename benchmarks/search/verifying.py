"""A search that has ended in, what the product would deploy and say of it out: by its own contest, on the same pool."""

from collections.abc import Sequence
from dataclasses import dataclass

from loop import Launched, trials_of
from pool import KNOWN_S, Pool

from tuner.decide.shortlist import shortlist
from tuner.decide.verdict import Decision, contest_of, decision
from tuner.types import Params

#: `--verify`, as it is without being given.
ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """`chosen` is None where nothing is deployed; `gain` is the reported one over the defaults, None where none is reported."""

    chosen: Params | None
    is_default: bool
    gain: float | None
    launches: int
    took_s: float


def verify(pool: Pool, found: Sequence[Launched], seed: int) -> Verified:
    trials = trials_of(pool, found)
    candidates = shortlist(trials, pool.objective, pool.slos)
    if not candidates:
        return _verified(pool, decision(trials, None, pool.objective, pool.slos), found, 0, 0.0)
    contest = contest_of(trials, candidates, pool.objective, pool.slos, rounds=ROUNDS)
    launches, took_s = 0, 0.0
    while contest.due:
        trial = contest.due[0]
        told = pool.launch(found[trial.number].params, f"{seed}:verify:{launches}")
        contest.take(trial.number, told.outcome)
        launches, took_s = launches + 1, took_s + KNOWN_S + told.window_s
    return _verified(pool, decision(trials, contest, pool.objective, pool.slos), found, launches, took_s)


def _verified(pool: Pool, found: Decision, launched: Sequence[Launched], launches: int, took_s: float) -> Verified:
    chosen, gain = found.chosen, found.verdict.gain
    is_about = chosen is not None and gain is not None and chosen.number == found.verdict.trial
    return Verified(
        chosen=launched[chosen.number].params if chosen is not None else None,
        is_default=chosen is not None and chosen.is_default,
        gain=gain.gain if is_about and gain is not None else None,
        launches=launches,
        took_s=took_s,
    )
