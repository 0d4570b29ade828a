"""An open loop in; which of several seeds draws arrivals that are most like those of its process in the long run, out. Pure.

Most of what a window's percentiles owe to chance they owe to its arrivals: a burst more or less. Of several draws the one is
taken on which an ideal server, one that takes the same time for each request, has the latencies that it has in the long run.
That is rejective sampling (Fuller, "Some design properties of a rejective sampling procedure", 2009): what is left to chance is
what the ideal server does not share with a real one. benchmarks/truth/rate.py says how much that is.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from math import inf

import numpy as np
from numpy.typing import NDArray

from tuner.types import Workload
from tuner.workload.arrivals import unit_gaps

Floats = NDArray[np.float64]

#: How busy the ideal server is: the busier, the longer are the bursts that matter to it.
_BUSY = (0.5, 0.7, 0.85)
_PERCENTILES = (90, 99)
_LONG = 1_000_000


def typical_seed(workload: Workload, before: int, requests: int, seeds: Iterable[int]) -> int:
    """Of `seeds`, not empty, that whose `requests` arrivals after the first `before` are the most typical."""
    seeds = list(seeds)
    if workload.burstiness == inf or len(seeds) == 1:
        return seeds[0]
    drawn = [
        _statistics(np.fromiter(islice(unit_gaps(replace(workload, seed=seed)), before + requests), np.float64), before)
        for seed in seeds
    ]
    away = (np.array(drawn) - _in_the_long_run(workload.burstiness)) / np.std(drawn, axis=0)
    return seeds[int(np.argmin((away**2).sum(axis=1)))]


def _statistics(gaps: Floats, before: int) -> Floats:
    """Logarithms of the mean gap, and of the ideal servers' latencies by percentile; of all arrivals but the first."""
    found = [np.mean(gaps[before:])]
    for busy in _BUSY:
        found += np.percentile(_latencies(gaps, busy)[before:], _PERCENTILES).tolist()
    return np.log(found)


def _latencies(gaps: Floats, service: float) -> Floats:
    """In a queue of one server: Lindley's recursion unrolled, the maximum over the requests that it may be busy since."""
    due, done = np.cumsum(gaps), service * np.arange(1, gaps.size + 1)
    return np.asarray(done + np.maximum.accumulate(due - done + service) - due)


@lru_cache(maxsize=8)
def _in_the_long_run(burstiness: float) -> Floats:
    gaps = np.random.default_rng(0).gamma(burstiness, 1 / burstiness, _LONG)
    return _statistics(gaps, _LONG // 100)
