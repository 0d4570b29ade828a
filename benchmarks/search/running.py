"""A pool and strategies in; all their searches, on some processes, out.

Every search has its own seed, so the number of processes changes no result. Processes are forked with the pool and with what is
expected of its points.
"""

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from expected import Server
from figures import Searched
from loop import search
from pool import Pool, seed_of
from strategies import make
from verifying import verify

from tuner.propose.storage import quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What every search of a run is about."""

    pool: Pool
    server: Server | None
    trials: int


_asked: Asked | None = None


def run(asked: Asked, strategies: Mapping[str, int], jobs: int) -> dict[str, list[Searched]]:
    """So many searches of each strategy, in the order of their seeds."""
    global _asked
    _asked = asked
    if asked.server is not None and any(name.startswith("ours") for name in strategies):
        asked.server.prior.expect(asked.pool.candidates.points)
    tasks = [(name, seed) for name, seeds in strategies.items() for seed in range(seeds)]
    jobs = min(jobs, len(tasks))
    if jobs == 1:
        done = [_search(*task) for task in tasks]
    else:
        forked = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(jobs, mp_context=forked) as processes:
            done = list(processes.map(_search, *zip(*tasks, strict=True), chunksize=max(1, len(tasks) // (8 * jobs))))
    found: dict[str, list[Searched]] = {name: [] for name in strategies}
    for (name, _), one in zip(tasks, done, strict=True):
        found[name].append(one)
    return found


def _search(name: str, seed: int) -> Searched:
    assert _asked is not None
    quiet()
    pool, server, told = _asked.pool, _asked.server, list[str]()
    prior = server.prior if server is not None else None
    strategy = make(name, pool.candidates, prior, seed_of(pool.name, seed), told.append)
    launches = search(pool, server, strategy, _asked.trials, seed)
    return Searched(launches=launches, verified=verify(pool, launches, seed), prior_dropped=bool(told))
