"""What the model says of the defaults in; how fast the simulated time runs, and how long a measurement lasts in it, out. Pure.

A trial's load should cost about half a second of ours, and no more requests a second of it than the load generator and the
simulated server manage beside each other on two cores. Shorter is cheaper, and less true: what the load generator loses of our
time is multiplied by the speed (docs/simulation.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from math import floor, log10

from tuner.predict.prediction import Prediction, predict
from tuner.predict.shape import Shape
from tuner.predict.unpredicted import UNPREDICTED
from tuner.space.search_space import SearchSpace
from tuner.types import Failed, Params, Workload, present
from tuner.workload.arrivals import schedule

#: What a trial's load may take of our time, beside what any load takes, and how many requests it may send in a second of it.
TRIAL_S = 0.35
REQUESTS_PER_S = 1000.0
#: A request takes at least so long of our time, on the mean: what the load generator adds to it is a tenth of that.
REQUEST_S = 0.02
#: The warm-up, the window and the last requests, in mean times from one request of a user to the next.
WARMUP, WINDOW, LAST = 1.5, 4.0, 1.0
#: A shorter window knows throughput less well; it may become so many times as long.
PRECISION, MAX_WINDOW = 0.1, 2.0
#: Requests of an open loop in the window, at least.
_OPEN_LOOP_REQUESTS = 200
#: Users that keep any server busy: their requests are the most that a search for the highest rate comes to.
_MANY_USERS = 256
#: The time from one request of a user to the next where nothing that is tried starts.
_UNKNOWN_S = 10.0
_UNSET = {entry.name: entry.default for entry in fields(Workload)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """`speed` simulated seconds pass in a real one; the workload has times that go with it."""

    speed: float
    workload: Workload


def pace_of(shape: Shape, space: SearchSpace, workload: Workload) -> Pace:
    """`workload` with what it leaves at tuner's defaults set for the simulation. Raises UsageError for a trace that is gone."""
    if workload.trace is not None:
        return Pace(speed=rounded(REQUESTS_PER_S / _trace_rate(workload)), workload=workload)
    found = _first_that_starts(shape, space, workload)
    cycle_s = (present(present(found.load.e2el_s).mean) if found else _UNKNOWN_S) + workload.think_time_s
    rate = workload.request_rate or (workload.users or 1) / cycle_s
    window_s = WINDOW * cycle_s if workload.users else max(WINDOW * cycle_s, _OPEN_LOOP_REQUESTS / rate)
    if workload.find_rate:
        most = _first_that_starts(shape, space, replace(workload, users=_MANY_USERS, request_rate=None))
        rate = max(rate, present(most.load.request_throughput) if most else 0.0)
    total_s = (WARMUP + LAST) * cycle_s + window_s
    speed = rounded(min(total_s / TRIAL_S, REQUESTS_PER_S / rate, cycle_s / REQUEST_S))
    return Pace(speed=speed, workload=_with_times(workload, rounded(WARMUP * cycle_s), rounded(window_s)))


def rounded(value: float) -> float:
    """Two digits, downwards: small differences of the prediction are no other study."""
    unit = 10.0 ** (floor(log10(value)) - 1)
    return float(f"{floor(value / unit) * unit:.2g}")


def _with_times(workload: Workload, warmup_s: float, window_s: float) -> Workload:
    """What differs from tuner's own defaults was meant by the user."""
    if workload.warmup_s == _UNSET["warmup_s"]:
        workload = replace(workload, warmup_s=warmup_s)
    if workload.window_s == _UNSET["window_s"]:
        workload = replace(workload, window_s=window_s)
    if workload.precision == _UNSET["precision"]:
        workload = replace(workload, precision=PRECISION)
    return replace(workload, max_window_s=workload.max_window_s or MAX_WINDOW * workload.window_s)


def _trace_rate(workload: Workload) -> float:
    """The requests a second of a trace."""
    offsets = [arrival.offset_s for arrival in schedule(workload)]
    return len(offsets) / max(offsets[-1] - offsets[0], 1.0)


def _first_that_starts(shape: Shape, space: SearchSpace, workload: Workload) -> Prediction | None:
    """vLLM's defaults, else the first of the space's own points that fits into the card."""
    for params in _points(space):
        heeded = {name: value for name, value in params.items() if name not in UNPREDICTED}
        found = predict(shape, space.gpu, heeded, workload)
        if not isinstance(found, Failed):
            return found
    return None


def _points(space: SearchSpace) -> Iterator[Params]:
    yield space.fixed
    yield from ({**space.fixed, **point} for point in space.enqueue)
