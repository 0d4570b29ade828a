"""A load at one rate and its SLOs in; how many requests at once may wait for how long, before the rate is known to be too high,
out. Pure: it knows no requests.

A window that misses a limit by a little says how far away the rate is, and is measured to its end. What is told here is beyond
chance: as many requests as may miss the limit in the whole window are open at one moment, for four times the limit each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tuner.decide.slo import Slo
from tuner.types import Workload

#: So many times its limit no percentile is by chance.
FAR = 4.0
#: What an open request has not had yet, by the latency: its first output, or its end. Of tokens' times none tells anything.
_WAITS: dict[str, Literal["waiting", "open"]] = {"ttft": "waiting", "e2el": "open"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Overload:
    """More than `requests` at once that are without output (`state` "waiting"), or without end ("open"), for longer than
    `longer_s`: such a load does not meet `slo`."""

    slo: str
    state: Literal["waiting", "open"]
    longer_s: float
    requests: float


def overloads(workload: Workload, slos: Sequence[Slo]) -> tuple[Overload, ...]:
    """Of an open loop whose window lasts `window_s`. What a server does once, such as to compile, is over within a warm-up."""
    requests = (workload.request_rate or 0.0) * workload.window_s
    return tuple(
        Overload(
            slo=slo.name,
            state=_WAITS[latency],
            longer_s=max(FAR * slo.limit_s, workload.warmup_s),
            requests=(1 - slo.share) * requests,
        )
        for slo in slos
        if (latency := slo.metric.split("_")[0]) in _WAITS
    )
