"""Addresses of servers in; what they answered in one slice of time after another out. It does not judge."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from tuner.bench.keys import key_for
from tuner.decide.canary import Slice
from tuner.errors import RunError, TunerError
from tuner.measure.buckets import Observed
from tuner.measure.production import page
from tuner.measure.served import Served, parse_served

#: A server that cannot be read for longer is down.
AWAY_S = 30.0
_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One slice: what the canary answered in it, since the start of the watch, and what the others did; None for no reading."""

    slice: Slice | None
    whole: Served
    beside: Slice | None


def served(url: str) -> Served:
    """One reading of a /metrics URL. Raises RunError, UsageError."""
    return parse_served(page(url, key_for(url, send=False)), time.monotonic(), url)


def parts(url: str, others: Sequence[str], watch_s: float, count: int) -> Iterator[Part]:
    """`count` of them, in `watch_s` seconds. Raises RunError when the server at `url` was started anew meanwhile, or cannot be
    read for long; of the others whatever can be read is taken."""
    with ThreadPoolExecutor(max_workers=len(others) + 1) as pool:
        began_s = time.monotonic()
        first = before = _insisting(lambda: served(url), RunError)
        around = [*pool.map(_maybe, others)]
        for number in range(1, count + 1):
            time.sleep(max(0.0, began_s + watch_s * number / count - time.monotonic()))
            now = _insisting(lambda: served(url), TunerError)
            if now.is_restarted(before):
                raise RunError("it was started anew while it was watched: did it crash?")
            later = [*pool.map(_maybe, others)]
            yield Part(
                slice=slice_of([now.since(before)]),
                whole=now.since(first),
                beside=slice_of(
                    [
                        after.since(earlier)
                        for earlier, after in zip(around, later, strict=True)
                        if earlier is not None and after is not None and not after.is_restarted(earlier)
                    ]
                ),
            )
            before = now
            around = [after or earlier for earlier, after in zip(around, later, strict=True)]


def slice_of(differences: Sequence[Served]) -> Slice | None:
    """What some servers did in the same time, all together; None of no server."""
    if not differences:
        return None
    finished = sum(one.finished for one in differences)
    unanswered = sum(one.unanswered for one in differences)
    arrived = finished + sum(one.in_flight for one in differences)
    names = {name for one in differences for name in one.latencies}
    sums = {name: [one.latencies[name] for one in differences if name in one.latencies] for name in names}
    return Slice(
        requests=finished,
        answered=min(max((finished - unanswered) / arrived, 0.0), 1.0) if arrived > 0 else None,
        means={name: mean for name, observed in sums.items() if (mean := _mean(observed)) is not None},
    )


def _mean(observed: Sequence[Observed]) -> float | None:
    count = sum(one.count for one in observed)
    return sum(one.sum for one in observed) / count if count > 0 else None


def _maybe(url: str) -> Served | None:
    with suppress(TunerError):
        return served(url)
    return None


def _insisting(read: Callable[[], Served], passing: type[TunerError]) -> Served:
    """Again where it raises `passing`, for a while."""
    end = time.monotonic() + AWAY_S
    while True:
        try:
            return read()
        except passing:
            if time.monotonic() > end:
                raise
            time.sleep(_AGAIN_S)
