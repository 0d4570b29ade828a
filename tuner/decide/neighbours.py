"""One server measured alone and beside other launches in; whether these disturb it, out: an A/A test. Pure.

Each load is one sample. Its error is what its window leaves open and what launches of the same settings differ by: more than
loads of one server do, so what is claimed is rather too careful. What is not settled after a few is taken to be disturbed.
Neighbours only slow down, so only slower counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp, hypot, log, sqrt
from statistics import NormalDist, fmean

from tuner.decide.objective import OBJECTIVES, Objective
from tuner.decide.repeats import LEAST_ERROR, PRIOR_ERROR
from tuner.types import Mark, Measured

#: Slower by no more is undisturbed, as far as was seen. By `_RULED_OUT` it must not be in truth either: with less, a trial is
#: not stopped early that is as good as the best (tuner/decide/early.py).
TOLERANCE, _RULED_OUT = 0.02, 0.08
#: So many loads beside others at the most; all looks share the chance to be wrong, in either direction (Bonferroni).
MOST_LOOKS = 3
_LEVEL = 0.10
#: What was measured so alone is no figure to compare with.
_UNFIT = frozenset((Mark.CLIENT_BOUND, Mark.GPU_SHARED, Mark.THROTTLED, Mark.UNSTEADY))


class Told(StrEnum):
    """What a check says."""

    UNDISTURBED = "undisturbed"
    DISTURBED = "disturbed"
    UNCLEAR = "not told apart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """By how much launches beside others were slower than alone: 0.03 is 3 %; in truth it is in [low, high] with 90 %, all
    looks together. The three are None where nothing could be compared. `launches` is how often the
    server was loaded beside others."""

    told: Told
    slower: float | None = None
    low: float | None = None
    high: float | None = None
    launches: int = 0

    @property
    def is_undisturbed(self) -> bool:
        return self.told is Told.UNDISTURBED


def is_fit(alone: Measured) -> bool:
    """Whether anything can be compared with it."""
    return not _UNFIT & {*alone.marks}


def disturbance(alone: Measured, beside: Sequence[Measured], objectives: Sequence[Objective]) -> Disturbance:
    """By the throughput of a closed loop, which is what its windows tell best; by the objectives where there is no such, and of
    several by the one that is slowed most."""
    figures = [OBJECTIVES["throughput"]] if alone.load.output_throughput_ci95 is not None else objectives
    found = [_of(alone, beside, one) for one in figures]
    order = (Told.DISTURBED, Told.UNCLEAR, Told.UNDISTURBED)
    return min(found, key=lambda one: (order.index(one.told), -(one.slower or 0.0)))


def _of(alone: Measured, beside: Sequence[Measured], objective: Objective) -> Disturbance:
    base, values = objective.value(alone), [objective.value(one) for one in beside]
    errors = [_error(one, objective) for one in (alone, *beside)]
    known = [value for value in values if value]
    sure = [error for error in errors if error is not None]
    if not base or not known or len(known) < len(beside) or len(sure) < len(errors):
        return Disturbance(told=Told.UNCLEAR, launches=len(beside))
    worse = fmean(log(base / value) for value in known) * (1 if objective.maximize else -1)
    own, *others = sure
    error = hypot(own, sqrt(sum(other**2 for other in others)) / len(others))
    half = NormalDist().inv_cdf(1 - _LEVEL / 2 / MOST_LOOKS) * error
    slower, low, high = (exp(value) - 1 for value in (worse, worse - half, worse + half))
    return Disturbance(told=_told(slower, low, high), slower=slower, low=low, high=high, launches=len(beside))


def _told(slower: float, low: float, high: float) -> Told:
    if slower > TOLERANCE and low > 0:
        return Told.DISTURBED
    is_faster = slower < -TOLERANCE and high < 0  # not by its neighbours: something else differed
    return Told.UNDISTURBED if slower <= TOLERANCE and high <= _RULED_OUT and not is_faster else Told.UNCLEAR


def _error(measured: Measured, objective: Objective) -> float | None:
    """Of one launch: the standard deviation of the logarithm."""
    window = objective.error(measured)
    return None if window is None else hypot(window, LEAST_ERROR if objective.is_throughput else PRIOR_ERROR)
