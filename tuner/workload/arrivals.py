"""A workload in; when its requests arrive out. Knows nothing of servers, nor of when a request was really sent.

The gaps are those of `vllm bench serve` (vllm/benchmarks/serve.py, get_request): gamma with shape `burstiness` and scale
1 / (rate * burstiness), so Poisson at 1 and constant at infinity; their coefficient of variation is 1 / sqrt(burstiness).
Unlike vLLM's they are not stretched afterwards so that the last one falls on requests / rate: a load that is held for a time
has no last one, and stretching takes away a part of the randomness that was asked for.
"""

import itertools
import math
import random
from collections.abc import Iterator

from tuner.types import Workload
from tuner.workload.trace import Arrival, read_trace

__all__ = ["Arrival", "schedule"]


def schedule(workload: Workload) -> Iterator[Arrival]:
    """The arrivals in order, counted from the load's start: those of the trace, which ends, or of the request rate, endless.

    They depend on the workload and its seed only. While the rate grows from 0, the first `ramp_up_s`, the same process runs on
    a clock that is slower by as much (time change of a unit-rate process; Çınlar, Introduction to Stochastic Processes, 1975,
    4.7). Raises ValueError for a closed loop, which has no schedule, and UsageError as `read_trace` does.
    """
    if workload.trace is not None:
        return read_trace(workload.trace)
    if workload.request_rate is None:
        raise ValueError(f"workload {workload.name} is a closed loop: its requests arrive when others have ended")
    return _at_rate(workload.request_rate, workload.ramp_up_s, unit_gaps(workload))


def _at_rate(rate: float, ramp_up_s: float, gaps: Iterator[float]) -> Iterator[Arrival]:
    for expected in itertools.accumulate(gaps):
        # `expected` arrivals are due after this time: the inverse of the integral of the rate.
        if expected < rate * ramp_up_s / 2:
            offset_s = math.sqrt(2 * ramp_up_s * expected / rate)
        else:
            offset_s = ramp_up_s / 2 + expected / rate
        yield Arrival(offset_s=offset_s, input_tokens=None, output_tokens=None)


def unit_gaps(workload: Workload) -> Iterator[float]:
    """The gaps between the arrivals, endless, with a mean of 1."""
    shape = workload.burstiness
    if math.isinf(shape):
        return itertools.repeat(1.0)
    rng = random.Random(f"{workload.seed}:arrivals")
    return (rng.gammavariate(shape, 1 / shape) for _ in itertools.count())
