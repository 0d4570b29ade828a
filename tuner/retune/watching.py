"""Addresses of a production server's replicas in; what one of them saw, window after window, out. It does not judge.

It goes on through restarts, gaps and replicas that are away: a watch lasts for weeks. It only reads.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tuner.bench.keys import key_for
from tuner.decide.drift import Window
from tuner.errors import RunError, UsageError
from tuner.measure.fleet import Fleet, Moment
from tuner.measure.production import reading
from tuner.measure.traffic import Scrape
from tuner.retune.windows import window_of

#: Readings of a window, and the longest time between two.
_READINGS, _LONGEST_S = 20, 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A window; None where too little of it was seen. `moments` begin with the last one before it."""

    window: Window | None
    moments: tuple[Moment, ...]


def windows(
    urls: Sequence[str],
    window_s: float,
    duration_s: float | None,
    tell: Callable[[str], None],
    wait: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Seen]:
    """Until `duration_s` is over, or without end. Raises RunError where no replica can be read at the start, UsageError where
    one answers with something else than vLLM's metrics."""
    fleet, away = Fleet(longest_gap_s=window_s), set[str]()
    with ThreadPoolExecutor(max_workers=len(urls)) as pool:
        began_s = clock()
        moments = [_first(fleet, [*pool.map(_read, urls)], urls)]
        window = 0
        while duration_s is None or (window + 1) * window_s <= duration_s * (1 + 1e-9):
            end_s = began_s + (window + 1) * window_s
            while clock() < end_s:
                wait(max(0.0, min(window_s / _READINGS, _LONGEST_S, end_s - clock())))
                restarts = fleet.restarts
                found = [*pool.map(_read, urls)]
                _tell_of_the_away(found, urls, away, tell)
                moment = fleet.take([one if isinstance(one, Scrape) else None for one in found])
                if fleet.restarts > restarts:
                    tell("a replica was started anew: what it served in between is left out")
                if moment is not None:
                    moments.append(moment)
            yield Seen(window=window_of(moments, window_s, len(urls)), moments=tuple(moments))
            moments = moments[-1:]
            window = max(window + 1, int((clock() - began_s) / window_s))  # a machine that slept has missed some


def _first(fleet: Fleet, found: Sequence[Scrape | Exception], urls: Sequence[str]) -> Moment:
    for one in found:
        if isinstance(one, UsageError):
            raise one
    moment = fleet.take([one if isinstance(one, Scrape) else None for one in found])
    if moment is None:
        raise next(one for one in found if isinstance(one, Exception))
    return moment


def _read(url: str) -> Scrape | Exception:
    try:
        return reading(url, key_for(url, send=False))
    except (RunError, UsageError) as error:
        return error


def _tell_of_the_away(
    found: Sequence[Scrape | Exception], urls: Sequence[str], away: set[str], tell: Callable[[str], None]
) -> None:
    for url, one in zip(urls, found, strict=True):
        if isinstance(one, Exception) and url not in away:
            away.add(url)
            tell(f"{one}: it is left out until it can be read again")
        elif isinstance(one, Scrape) and url in away:
            away.remove(url)
            tell(f"{url} can be read again")
