"""The address of a live vLLM in; readings of its /metrics, one after another, out. Knows nothing of what they mean."""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

from tuner.errors import RunError, UsageError
from tuner.measure.traffic import Scrape, parse
from tuner.space.redaction import shown_url

_TIMEOUT_S = 10.0
_AWAY_S = 10.0
_SAMPLE_S = 1.0
_MOST_SAMPLES = 3600


def metrics_url(address: str) -> str:
    """The /metrics URL of a server that is given with or without http://, /v1 or /metrics. Raises UsageError."""
    url = address if "://" in address else f"http://{address}"
    url = url.rstrip("/").removesuffix("/metrics").removesuffix("/v1").rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
        usable = usable and url.isascii() and url.isprintable() and " " not in url and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"{shown_url(address)!r} is no server's URL: give one such as http://localhost:8000")
    if parts.username or parts.password:
        raise UsageError(
            f"{shown_url(address)} holds a user name or password, and /metrics is read without: leave them out"
        )
    return f"{url}/metrics"


def scrapes(url: str, duration_s: float) -> Iterator[Scrape]:
    """Readings of /metrics, a second apart (more for hours), over `duration_s`.

    Raises UsageError for a page that is not vLLM's, RunError when it cannot be read (for 10 s, once it could) and when its
    counters go backwards.
    """
    last = parse(page(url), time.monotonic(), url)
    began_s = last.time_s
    yield last
    steps = min(max(round(duration_s / _SAMPLE_S), 1), _MOST_SAMPLES)
    for step in range(1, steps + 1):
        wait_s = began_s + duration_s * step / steps - time.monotonic()
        if wait_s < 0 and step < steps:  # a slow page, or a machine that slept
            continue
        time.sleep(max(wait_s, 0.0))
        try:
            text = page(url)
        except RunError:
            if time.monotonic() - last.time_s > _AWAY_S:
                raise
            continue
        last = _forward(last, parse(text, time.monotonic(), url), url)
        yield last


def reading(url: str) -> Scrape:
    """One reading of a /metrics URL. Raises UsageError for a page that is not vLLM's, RunError when it cannot be read."""
    return parse(page(url), time.monotonic(), url)


def _forward(before: Scrape, after: Scrape, url: str) -> Scrape:
    if after.finished < before.finished or after.prompts.count < before.prompts.count:
        raise RunError(f"the counters of {url} went backwards: the server was started anew; run this again")
    return after


def page(url: str) -> str:
    """What it answers. Raises RunError where it cannot be read."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as response:
            return str(response.read().decode())
    except urllib.error.HTTPError as error:
        error.close()
        raise RunError(f"{url} answered HTTP {error.code}: is this a vLLM server?") from error
    except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise RunError(f"{url} cannot be read: {_why(reason)}") from error


def _why(reason: BaseException | str) -> str:
    """In words, without the system's number for it."""
    said = reason.strerror if isinstance(reason, OSError) else None
    return said or str(reason)
