"""The address of a live vLLM in; readings of its /metrics, one after another, out. Knows nothing of what they mean."""

import time
from collections.abc import Iterator

from tuner import interrupts
from tuner.errors import RunError, UsageError
from tuner.measure.scrape import open_session, scrape
from tuner.measure.traffic import Scrape, parse
from tuner.space.addresses import parts_of, server_url
from tuner.space.redaction import shown_url

_AWAY_S = 10.0
_SAMPLE_S = 1.0
_MOST_SAMPLES = 3600


def metrics_url(address: str) -> str:
    """The /metrics URL of a server that is given with or without http:// or one of its routes. Raises UsageError."""
    url = server_url(address)
    if (parts := parts_of(url)) is None or not url.isascii():
        raise UsageError(f"{shown_url(address)!r} is no server's URL: give one such as http://localhost:8000")
    if parts.username or parts.password:
        raise UsageError(
            f"{shown_url(address)} holds a user name or password, and /metrics is read without: leave them out"
        )
    return f"{url}/metrics"


def scrapes(url: str, duration_s: float, key: str | None = None) -> Iterator[Scrape]:
    """Readings of /metrics, a second apart (more for hours), over `duration_s`.

    Raises UsageError for a page that is not vLLM's, RunError when it cannot be read (both for 10 s, once it could) and when its
    counters go backwards.
    """
    last = reading(url, key)
    began_s = last.time_s
    yield last
    steps = min(max(round(duration_s / _SAMPLE_S), 1), _MOST_SAMPLES)
    for step in range(1, steps + 1):
        wait_s = began_s + duration_s * step / steps - time.monotonic()
        if wait_s < 0 and step < steps:  # a slow page, or a machine that slept
            continue
        time.sleep(max(wait_s, 0.0))
        try:
            found = reading(url, key)
        except (RunError, UsageError):
            if time.monotonic() - last.time_s > _AWAY_S:
                raise
            continue
        last = _forward(last, found, url)
        yield last


def reading(url: str, key: str | None = None) -> Scrape:
    """One reading of a /metrics URL. Raises UsageError for a page that is not vLLM's, RunError when it cannot be read."""
    return parse(page(url, key), time.monotonic(), url)


def _forward(before: Scrape, after: Scrape, url: str) -> Scrape:
    if after.finished < before.finished or after.prompts.count < before.prompts.count:
        raise RunError(f"the counters of {url} went backwards: the server was started anew; run this again")
    return after


def page(url: str, key: str | None = None) -> str:
    """What it answers. Raises RunError where it cannot be read."""
    return interrupts.run(_page(url, key))


async def _page(url: str, key: str | None) -> str:
    async with open_session(key) as session:
        return await scrape(session, url)
