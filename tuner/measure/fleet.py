"""Readings of replicas' /metrics in, one after another; what they served together out, as one server that was never restarted.

Counters that go backwards, or began later, are those of a new process: what was counted between the last reading of the old
one and the first of the new one is not known, and that time does not count. A replica that cannot be read for longer than
`longest_gap_s` is left out for as long. Pure: reads nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tuner.measure.buckets import Observed
from tuner.measure.summed import is_later
from tuner.measure.traffic import Scrape


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """`total` is the sum of all replicas so far; its time is that of one replica, the seconds of all added up. `in_flight` is
    what runs and waits in a replica, on average of the `readable` ones; None without the gauges."""

    total: Scrape
    in_flight: float | None
    readable: int


@dataclass(slots=True)
class Fleet:
    """`take` wants a reading of each replica, always in the same order; None where it could not be read."""

    longest_gap_s: float
    restarts: int = 0
    _last: dict[int, Scrape] = field(default_factory=dict)
    _total: Scrape | None = None

    def take(self, readings: Sequence[Scrape | None]) -> Moment | None:
        """None while no replica was ever read."""
        for number, now in enumerate(readings):
            if now is None:
                continue
            before = self._last.get(number)
            self._last[number] = now
            if before is not None:
                self._add(before, now)
        known = [*self._last.values()]
        if not known:
            return None
        total = self._total or _nothing(known[0])
        read = [now for now in readings if now is not None]
        flying = [now.running + now.waiting for now in read if now.running is not None and now.waiting is not None]
        return Moment(
            total=replace(
                total,
                running=_sum([one.running for one in known]),
                waiting=_sum([one.waiting for one in known]),
            ),
            in_flight=sum(flying) / len(flying) if flying else None,
            readable=len(read),
        )

    def _add(self, before: Scrape, now: Scrape) -> None:
        total = self._total or _nothing(before)
        if is_restart(before, now):
            self.restarts += 1
            lost = (before.running or 0.0) + (before.waiting or 0.0)  # they arrived, and will not be seen to finish
            self._total = replace(total, finished=total.finished + lost)
        elif now.time_s - before.time_s <= self.longest_gap_s:
            self._total = _plus(total, before, now)


def is_restart(before: Scrape, now: Scrape) -> bool:
    """Whether another process counts."""
    pairs = (
        (before.finished, now.finished),
        (before.prompts.sum, now.prompts.sum),
        (before.generations.sum, now.generations.sum),
        (before.prefix_queries or 0.0, now.prefix_queries or 0.0),
    )
    return is_later(now.began_s, before.began_s) or any(after < earlier for earlier, after in pairs)


def _plus(total: Scrape, before: Scrape, now: Scrape) -> Scrape:
    return replace(
        total,
        time_s=total.time_s + now.time_s - before.time_s,
        finished=total.finished + now.finished - before.finished,
        prefix_queries=_grown(total.prefix_queries, before.prefix_queries, now.prefix_queries),
        prefix_hits=_grown(total.prefix_hits, before.prefix_hits, now.prefix_hits),
        prompts=_more(total.prompts, now.prompts.since(before.prompts)),
        generations=_more(total.generations, now.generations.since(before.generations)),
    )


def _more(total: Observed, more: Observed) -> Observed:
    bounds: Mapping[float, None] = dict.fromkeys([*total.at_most, *more.at_most])
    return Observed(
        at_most={bound: total.at_most.get(bound, 0.0) + more.at_most.get(bound, 0.0) for bound in bounds},
        sum=total.sum + more.sum,
    )


def _grown(total: float | None, before: float | None, now: float | None) -> float | None:
    return total if before is None or now is None else (total or 0.0) + now - before


def _nothing(like: Scrape) -> Scrape:
    def none_of(observed: Observed) -> Observed:
        return Observed(at_most=dict.fromkeys(observed.at_most, 0.0), sum=0.0)

    return Scrape(
        time_s=0.0,
        finished=0.0,
        running=None,
        waiting=None,
        prefix_queries=None if like.prefix_queries is None else 0.0,
        prefix_hits=None if like.prefix_hits is None else 0.0,
        prompts=none_of(like.prompts),
        generations=none_of(like.generations),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
