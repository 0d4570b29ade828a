"""What the workers of a load tell in; how far it is, and how well the load generator itself did, out. Knows no server."""

import asyncio
from array import array
from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from tuner.load.messages import Progress, Report
from tuner.load.warm_up import Tick
from tuner.load.workers import Workers
from tuner.types import ClientMetrics

#: A worker that is busy for more of the time than this may be why requests wait.
_BUSY = 0.9


class Heard:
    """Progress by worker and tick, and the reports at the end. Ticks are `tick_s` apart, from `start_s` on."""

    def __init__(self, workers: Workers, start_s: float, tick_s: float) -> None:
        self._workers, self._start_s, self._tick_s = workers, start_s, tick_s
        self._told: list[list[Progress]] = [[] for _ in range(workers.count)]
        self._reports: dict[int, Report] = {}
        self._news = asyncio.Event()
        self._seen = 0

    async def listen(self, number: int) -> None:
        """Take in what a worker says, until it has reported. Raises LaunchError (CLIENT_BOUND) when it is dead."""
        while number not in self._reports:
            match await self._workers.receive(number):
                case Progress() as progress:
                    self._told[number].append(progress)
                case Report() as report:
                    self._reports[number] = report
            self._news.set()

    async def tick(self) -> None:
        """Wait until all workers have told of one more tick."""
        seen = self._ticks()
        while self._ticks() == seen:
            await self._more()

    async def reports(self) -> list[Report]:
        """Wait for those of all workers."""
        while len(self._reports) < len(self._told):
            await self._more()
        return [self._reports[number] for number in range(len(self._told))]

    @property
    def is_over(self) -> bool:
        """Whether any worker has reported."""
        return bool(self._reports)

    def last(self) -> list[Progress]:
        """The newest of each worker that has told anything."""
        return [told[-1] for told in self._told if told]

    def total(self, what: str) -> int:
        """The sum of a field over the newest of each worker."""
        return sum(getattr(progress, what) for progress in self.last())

    def news(self) -> list[Tick]:
        """The ticks that all workers have told of since it was last asked, each as the state of the whole load."""
        first, self._seen = self._seen, self._ticks()
        return [self._tick(number) for number in range(first, self._seen)]

    def is_exhausted(self) -> bool:
        """Whether no more requests will arrive."""
        last = self.last()
        return bool(last) and all(progress.exhausted for progress in last)

    def open_longer(self, seconds: float, state: Literal["waiting", "open"]) -> int:
        """How many requests at least are without output ("waiting"), or without end ("open"), for longer than this: as many as
        are now, less all that were sent since. Those of a worker that had no time left meanwhile do not count."""
        return sum(_open_longer(told, seconds, state) for told in self._told if told)

    def rates(self, start_s: float, end_s: float, what: str = "events") -> list[float]:
        """Events, or another total, per tick of all workers, for the ticks that lie in the time."""
        totals = [sum(getattr(told[tick], what) for told in self._told) for tick in range(self._ticks())]
        steps = [after - before for before, after in zip([0, *totals], totals, strict=False)]
        edges = [self._start_s + tick * self._tick_s for tick in range(len(steps))]
        inside = (start_s <= edge and edge + self._tick_s <= end_s for edge in edges)
        return [float(step) for step, is_inside in zip(steps, inside, strict=True) if is_inside]

    def answered(self, start_s: float) -> "array[float]":
        """What the workers told of requests that ended from then on, as `Progress` has it, tick after tick."""
        found = array("d")
        for tick in range(self._ticks()):
            for told in self._told:
                if told[tick].time_s > start_s:
                    found.extend(told[tick].answered)
        return found

    def client(self, reports: Sequence[Report], start_s: float, end_s: float) -> ClientMetrics:
        """How well the load generator did in the window."""
        inside = [[p for p in told if start_s <= p.time_s <= end_s + self._tick_s] or told[-1:] for told in self._told]
        reads = sum(told[-1].reads - told[0].reads for told in inside)
        lags, delays = sorted(_lags(reports, start_s, end_s)), sorted(_delays(reports, start_s, end_s))
        return ClientMetrics(
            workers=len(reports),
            cpu=max(_share(told) for told in inside),
            delay_mean_s=sum(told[-1].delay_s - told[0].delay_s for told in inside) / reads if reads else 0.0,
            lag_mean_s=fmean(lags) if lags else 0.0,
            lag_p99_s=_p99(lags) or 0.0,
            send_delay_mean_s=fmean(delays) if delays else None,
            send_delay_p99_s=_p99(delays),
        )

    def _tick(self, number: int) -> Tick:
        parts = [told[number] for told in self._told]
        return Tick(
            time_s=(number + 1) * self._tick_s,
            events=sum(part.events for part in parts),
            ended=sum(part.ended for part in parts),
            open=sum(part.open for part in parts),
            waiting=sum(part.waiting for part in parts),
            unanswered=sum(part.unanswered for part in parts),
            unended=sum(part.unended for part in parts),
            oldest_due_s=min(part.oldest_due_s for part in parts) - self._start_s,
            longest_s=max(part.longest_s for part in parts),
        )

    async def _more(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _ticks(self) -> int:
        return min(len(told) for told in self._told)


def _open_longer(told: Sequence[Progress], seconds: float, state: Literal["waiting", "open"]) -> int:
    now = told[-1]
    before = next((progress for progress in reversed(told) if now.time_s - progress.time_s > seconds), None)
    if before is None or _share((before, now)) >= _BUSY:
        return 0
    sent = now.open + now.ended - before.open - before.ended
    return max(0, (now.waiting if state == "waiting" else now.open) - sent)


def _lags(reports: Sequence[Report], start_s: float, end_s: float) -> list[float]:
    return [
        lag
        for report in reports
        for time_s, lag in zip(report.lag_times_s, report.lags_s, strict=True)
        if start_s <= time_s <= end_s
    ]


def _delays(reports: Sequence[Report], start_s: float, end_s: float) -> list[float]:
    """By how much requests were sent later than scheduled; none in a closed loop, which has no schedule."""
    return [
        record.sent_s - record.scheduled_s
        for report in reports
        if report.has_schedule
        for record in report.records
        if start_s <= record.scheduled_s < end_s
    ]


def _p99(ordered: Sequence[float]) -> float | None:
    return ordered[int(0.99 * len(ordered))] if ordered else None


def _share(told: Sequence[Progress]) -> float:
    """The share of a core that a worker used between its first and last progress."""
    past_s = told[-1].time_s - told[0].time_s
    return (told[-1].cpu_s - told[0].cpu_s) / past_s if past_s else 0.0
