from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from tuner.workload.arrivals import unit_gaps
from tuner.workload.presets import PRESETS
from tuner.workload.typical import typical_seed

OPEN = PRESETS["open-chat"]
BEFORE, REQUESTS = 50, 500


def p99(seed: int, burstiness: float, busy: float = 0.6) -> float:
    """Of the latency in a queue whose service takes `busy`, give or take a half, which is not the ideal one."""
    gaps = islice(unit_gaps(replace(OPEN, seed=seed, burstiness=burstiness)), BEFORE + REQUESTS)
    rng, waits, wait = np.random.default_rng(seed), [], 0.0
    for gap in gaps:
        wait = max(0.0, wait - gap) + busy * rng.uniform(0.5, 1.5)
        waits.append(wait)
    return float(np.log(np.percentile(waits[BEFORE:], 99)))


@pytest.mark.parametrize("burstiness", [1.0, 0.5])
def test_typical_arrivals_leave_less_to_chance_and_move_nothing(burstiness: float) -> None:
    workload = replace(OPEN, burstiness=burstiness)
    groups = [range(start, start + 20) for start in range(0, 1200, 20)]
    chosen = [p99(typical_seed(workload, BEFORE, REQUESTS, seeds), burstiness) for seeds in groups]
    any_ = [p99(seed, burstiness) for seed in range(1200)]
    assert np.std(chosen) < 0.8 * np.std(any_)
    assert abs(np.mean(chosen) - np.mean(any_)) < 0.1


def test_constant_arrivals_have_nothing_to_choose() -> None:
    assert typical_seed(replace(OPEN, burstiness=float("inf")), 10, 100, [7, 8]) == 7
