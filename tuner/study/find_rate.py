"""How to measure, and SLOs, in; the measurement at the highest request rate that meets them out, with how it was found.

Which rate is next, and over how many requests, is decided by tuner/decide/rate_search.py; here a rate becomes a load, and a
measurement an answer. `FindRate` does both without a server; `find_rate` goes on until there is no next.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from math import log
from random import Random

from tuner.decide.objective import metric_value
from tuner.decide.overload import Overload, overloads
from tuner.decide.rate_search import Answer, RateSearch
from tuner.decide.slo import Slo, violations
from tuner.errors import LaunchError
from tuner.measure.server import requests_in_flight
from tuner.types import Failed, FailureKind, Mark, Measured, RateFound, RateTried, Target, Workload, present
from tuner.workload.typical import typical_seed

#: How a load is measured, which fails where it comes to one of the overloads.
Measure = Callable[[Workload, Sequence[Overload]], Awaitable[Measured]]

#: Requests beyond the percentile that show which side of the limit a rate is on, and the fewest that say anything.
_BEYOND, _FEWEST = 2, 60
#: The warm-up has so many requests, or this share of those of the window.
_WARMUP_REQUESTS, _WARMUP_SHARE = 60, 0.25
#: What a window and the whole search last at most, in times `window_s`: without the warm-ups.
WINDOWS_A_PROBE, WINDOWS = 40, 400
#: Arrivals are drawn so often for each load; the most typical are taken.
_DRAWS = 50
#: Answers may take this much longer than the warm-up, before a rate that met the SLOs is tried again.
_FILLED = 1.1
#: A rate that is too high shows within this time, four windows, or two answers: its queue need not be waited for.
_PROBE_STALL_S = 10.0
#: What a server that does not say how many requests it has is given to get rid of them.
_DRAIN_S = 3.0
_POLL_S = 0.25


class FindRate:
    """`next()` is the load to put on the server, or None at the end; `tell` is what came of it."""

    def __init__(self, workload: Workload, slos: Sequence[Slo]) -> None:
        assert workload.request_rate is not None
        self._workload, self._slos = workload, slos
        self._search = RateSearch(
            workload.request_rate,
            max(_FEWEST, round(_BEYOND / min(1 - slo.share for slo in slos))),
            window_s=WINDOWS_A_PROBE * workload.window_s,
            most_s=WINDOWS * workload.window_s,
        )
        self._loads = 0
        self._tried: list[RateTried] = []
        self._measured: list[Measured] = []
        self._again: float | None = None

    def next(self) -> Workload | None:
        probe = self._search.next()
        if probe is None:
            return None
        workload, answers_s = self._workload, self._answers_s(probe.rate)
        window_s = max(workload.window_s, probe.requests / probe.rate)
        warm = min(_WARMUP_REQUESTS, _WARMUP_SHARE * probe.requests) / probe.rate
        warmup_s = max(workload.warmup_s, warm, answers_s or 0.0)
        stall_s = max(_PROBE_STALL_S, 4 * workload.window_s, 2 * answers_s) if answers_s else workload.stall_s
        before = round(probe.rate * (warmup_s + workload.ramp_up_s / 2))
        random = Random(f"{workload.seed}:load {self._loads}")
        seeds = [random.randrange(1 << 32) for _ in range(_DRAWS)]
        self._loads += 1
        return replace(
            workload,
            request_rate=probe.rate,
            seed=typical_seed(workload, before, round(probe.rate * window_s), seeds),
            warmup_s=warmup_s,
            window_s=window_s,
            max_window_s=window_s,
            stall_s=min(workload.stall_s, stall_s),
        )

    def tell(self, load: Workload, found: Measured | Failed) -> RateTried | None:
        """None for a rate that has to be tried once more: its answers are longer than the warm-up was, so that the window saw
        the server while its load still grew."""
        rate = load.request_rate
        assert rate is not None
        if isinstance(found, Failed):
            requests, margin, tried = round(rate * load.window_s), None, {}
            failure: str | None = found.message
        else:
            requests, margin, tried = present(present(found.load.ttft_s).count), self._margin(found), self._seen(found)
            saturated = Mark.SATURATED in found.marks
            failure = "requests arrived faster than they were served" if saturated else None
            self._measured.append(found)
            if margin <= 0 and rate != self._again and _p90_s(found) > _FILLED * load.warmup_s:
                self._again = rate
                return None
            margin = None if saturated else margin
        answer = Answer(rate=rate, requests=requests, margin=margin)
        self._search.tell(answer)
        told = RateTried(request_rate=rate, requests=requests, met=answer.met, seen=tried, failure=failure)
        self._tried.append(told)
        return told

    def is_too_much(self, failed: Failed) -> bool:
        """Whether a load failed for its rate: also where the load generator has no room for what a server leaves waiting, once
        that has served a lower rate well."""
        is_full = failed.kind is FailureKind.CLIENT_BOUND and any(tried.met for tried in self._tried)
        return is_full or failed.kind in (FailureKind.LOAD_FAILED, FailureKind.STALLED)

    @property
    def rate(self) -> float:
        """The one that is told: the highest that meets the SLOs, or the lowest that was tried."""
        return self._search.told or min(tried.request_rate for tried in self._tried)

    def found(self) -> Measured | None:
        """The measurement at that rate; None where it could not be measured."""
        low, high = self._search.interval
        at_rate = [measured for measured in self._measured if measured.load.request_rate == self.rate]
        best = min(at_rate, key=self._badness, default=None)
        return best and replace(best, rate=RateFound(low=low, high=high, tried=tuple(self._tried)))

    def _badness(self, found: Measured) -> tuple[bool, float]:
        return Mark.SATURATED in found.marks, self._margin(found)

    def _margin(self, found: Measured) -> float:
        """The logarithm of the latency over its limit, of the SLO that is missed by most or met by least."""
        return max(log(max(1 + by, 1e-6)) for by in violations(found.load, self._slos).values())

    def _seen(self, found: Measured) -> dict[str, float]:
        values = {slo.metric: metric_value(found.load, slo.metric) for slo in self._slos}
        return {name: value for name, value in values.items() if value is not None}

    def _answers_s(self, rate: float) -> float | None:
        """How long answers take at about this rate: as far as is known, of those rates that met the SLOs."""
        met = [found for found in self._measured if self._margin(found) <= 0] or self._measured
        near = min(met, key=lambda found: abs(log((found.load.request_rate or rate) / rate)), default=None)
        return present(near.load.e2el_s).p99 if near else None


def _p90_s(found: Measured) -> float:
    """Of whole answers."""
    return present(present(found.load.e2el_s).p90)


async def find_rate(
    measure: Measure,
    workload: Workload,
    slos: Sequence[Slo],
    *,
    drained: Callable[[], Awaitable[None]],
    phase: Callable[[str], None],
    speed: float = 1.0,
) -> Measured:
    """Raises LaunchError as `measure` does, but for rates that are too high: one that is so by far is not measured to the end,
    and has no numbers. `speed` is that of a simulated server's time."""
    search = FindRate(workload, slos)
    while (load := search.next()) is not None:
        assert load.request_rate is not None
        shown = f"{load.request_rate / speed:,.2f} requests/s"
        try:
            found: Measured | Failed = await measure(load, overloads(load, slos))
        except LaunchError as error:
            if not search.is_too_much(error.failed):
                raise
            found = error.failed
        tried = search.tell(load, found)
        if tried is None:
            phase(f"{shown}: answers take longer than the warm-up did, once more")
        elif isinstance(found, Failed):
            phase(f"{shown} are too many: {found.message}")
        else:
            phase(f"{shown} {'meet' if tried.met else 'miss'} the SLOs")
        if tried is not None and not tried.met:
            await drained()
    return search.found() or await measure(replace(workload, request_rate=search.rate), ())


async def drain(target: Target | None, alive: Callable[[], bool], most_s: float) -> None:
    """Wait until the server has done with what was too much for it, so that the next rate does not pay for this one. `target`
    is None for one that does not tell."""
    if target is None:
        await asyncio.sleep(_DRAIN_S)
        return
    for _ in range(int(most_s / _POLL_S)):
        if not alive() or await requests_in_flight(target.base_url, target.api_key) == 0:
            return
        await asyncio.sleep(_POLL_S)
