"""A pool and strategies in; all their searches, on some processes, out.

Every search has its own seed, so the number of processes changes no result. Processes are forked with the pool and with what is
expected of its points.
"""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from expected import CasePrior
from figures import Searched
from loop import search
from pool import Pool, seed_of
from strategies import make
from verifying import verify

from tuner.propose.proposer import quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What every search of a run is about."""

    pool: Pool
    prior: CasePrior | None
    trials: int


_asked: Asked | None = None


def run(asked: Asked, strategies: Sequence[str], seeds: int, jobs: int) -> dict[str, list[Searched]]:
    """Searches by strategy, in the order of their seeds."""
    global _asked
    _asked = asked
    if asked.prior is not None and any(name.startswith("ours") for name in strategies):
        asked.prior.expect(asked.pool.candidates.points)
    tasks = [(name, seed) for name in strategies for seed in range(seeds)]
    if jobs == 1:
        done = [_search(*task) for task in tasks]
    else:
        forked = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(jobs, mp_context=forked) as processes:
            done = list(processes.map(_search, *zip(*tasks, strict=True), chunksize=max(1, seeds // 6)))
    found: dict[str, list[Searched]] = {name: [] for name in strategies}
    for (name, _), one in zip(tasks, done, strict=True):
        found[name].append(one)
    return found


def _search(name: str, seed: int) -> Searched:
    assert _asked is not None
    quiet()
    pool, told = _asked.pool, list[str]()
    strategy = make(name, pool.candidates, _asked.prior, seed_of(pool.name, seed), told.append)
    launches = search(pool, strategy, _asked.trials, seed)
    return Searched(launches=launches, verified=verify(pool, launches, seed), prior_dropped=bool(told))
