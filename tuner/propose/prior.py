"""What is expected of a point before it is launched, as a sampler asks; and what a trial tells a sampler beside its values.

It knows no models of servers: whoever has one answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tuner.types import Params

#: User attributes of an Optuna trial: the standard deviation of the logarithm of its value; that the truth is no better than so
#: many times its value, since its measurement was stopped when it could not become the best; and the cause of a failure.
ERROR, BOUND, CAUSE = "tuner:error", "tuner:bound", "tuner:cause"
#: Seconds that the launch took, of which its start.
TOOK, STARTUP = "tuner:took_s", "tuner:startup_s"
#: The constraint of every trial: above 0 where its launch failed.
LAUNCH = "launch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Of one point. `values` are those of the objectives, in their order and units, all above 0; empty where nothing can be
    said of them. `slos` are the latencies that have a limit as shares of it (1.0 is the limit), by the SLO's name. `starts` is
    the probability 0..1 that a server with these settings starts. `compile_key` is equal for settings whose compiled code is
    the same, None where that is not known."""

    values: tuple[float, ...] = ()
    slos: Mapping[str, float] = field(default_factory=dict)
    starts: float = 1.0
    compile_key: str | None = None


class Prior(Protocol):
    """Who knows something of points before they are launched."""

    def expect(self, points: Sequence[Params]) -> Sequence[Expected]:
        """What is expected of each, in their order. It is asked again for the same points with every proposal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What an earlier study found at a point beside what was expected there: `residual` is the logarithm of measured / expected
    of each objective, by its metric, and of each latency that has an SLO, by the SLO's name; `error` its standard deviation as
    a guess at what would be measured here."""

    params: Params
    residual: Mapping[str, float]
    error: float
