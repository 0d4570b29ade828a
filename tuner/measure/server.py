"""A server's base URL in; vLLM's /metrics over a window out. Knows nothing of requests or of what a good number is.

It asks; what the pages say is in server_page.py, what they say together in server_window.py. The gauges are sampled twice a
second, oftener on a simulated server, whose time is faster, and before the window, too, where somebody asks for it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from types import TracebackType
from typing import Self

import aiohttp

from tuner.errors import LaunchError, RunError
from tuner.measure.page_faults import counted
from tuner.measure.scrape import open_session, scrape
from tuner.measure.server_page import COUNTERS, KV_USAGE, RUNNING, STEPS, WAITING, kv_cache_tokens_of, totals
from tuner.measure.server_window import failed, in_flight, of_the_engine, server_metrics, values
from tuner.measure.timeline import Gauges
from tuner.measure.window import output_tokens
from tuner.types import LoadResult, ServerMetrics

_SAMPLE_S = 0.5
_LEAST_SAMPLE_S = 0.02
#: A scrape counts as done in the middle between asking and answer; at the window's edges a slow one is asked again.
_SLOW_SCRAPE_S = 0.05
_EDGE_SCRAPES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    time_s: float
    took_s: float
    values: Mapping[str, float]


class ServerSampler:
    """`async with ServerSampler(base_url) as sampler:` around the window; afterwards `sampler.metrics(result)`. Where all of it
    lies in `async with sampler.watching():`, the gauges are sampled before the window, too.

    Raises LaunchError (LOAD_FAILED) on entering and leaving when /metrics cannot be read; a sample in between may fail.
    """

    def __init__(self, base_url: str, speed: float = 1.0, key: str | None = None) -> None:
        """`speed` is how many of the server's seconds pass in a real one; the key is sent along."""
        self._key = key
        self._url = f"{base_url}/metrics"
        self._sample_s = min(_SAMPLE_S, max(_SAMPLE_S / speed, _LEAST_SAMPLE_S))
        self._gauges: list[_Snapshot] = []
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Sample the gauges during the block; the window begins and ends in it."""
        async with open_session(self._key) as self._session:
            self._begin_sampling()
            try:
                yield
            finally:
                await self._end_sampling()

    async def __aenter__(self) -> Self:
        self._own = AsyncExitStack()
        if self._session is None:
            await self._own.enter_async_context(self.watching())
        try:
            await self._end_sampling()  # nothing else is asked at the window's edges
            self._before = await self._edge()
        except BaseException:
            await self._own.aclose()
            raise
        self._begin_sampling()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end_sampling()
        try:
            if kind is None:
                self._after = await self._edge()
        finally:
            await self._own.aclose()

    def metrics(self, result: LoadResult | None = None, api_servers: int = 1) -> ServerMetrics:
        """Differences and means between entering and leaving; `result` gives the client's tokens to compare with."""
        before, after = self._before, self._after
        inside = [one.values for one in self._gauges if before.time_s <= one.time_s <= after.time_s]
        found = server_metrics(before.values, after.values, inside)
        busy = in_flight(before.values, after.values, after.time_s - before.time_s)
        found = of_the_engine(found, api_servers, busy)
        client_tokens = output_tokens(result.records, before.time_s, after.time_s) if result else None
        if not client_tokens or found.generation_tokens is None:
            return found
        return replace(found, agreement=found.generation_tokens / client_tokens)

    def ends(self) -> tuple[Mapping[str, float], Mapping[str, float], float]:
        """The totals on entering and on leaving, and the seconds between them."""
        return self._before.values, self._after.values, self._after.time_s - self._before.time_s

    def gauges(self) -> list[Gauges]:
        """Each time that they were read, before the window too, and what was counted by then."""
        read = sorted([*self._gauges, self._before, self._after], key=lambda one: one.time_s)
        return [
            Gauges(
                time_s=one.time_s,
                running=one.values.get(RUNNING),
                waiting=one.values.get(WAITING),
                kv_cache_usage=one.values.get(KV_USAGE),
                preemptions=one.values.get(COUNTERS["preemptions"]),
                steps=one.values.get(STEPS),
            )
            for one in read
        ]

    def _begin_sampling(self) -> None:
        self._task = asyncio.create_task(self._sample())

    async def _end_sampling(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(self._sample_s)
            with contextlib.suppress(LaunchError):
                self._gauges.append(await self._snapshot())

    async def _edge(self) -> _Snapshot:
        best = await self._snapshot()
        for _ in range(1, _EDGE_SCRAPES):
            if best.took_s <= _SLOW_SCRAPE_S:
                break
            best = min(best, await self._snapshot(), key=lambda snapshot: snapshot.took_s)
        return best

    async def _snapshot(self) -> _Snapshot:
        assert self._session is not None
        asked_s = perf_counter()
        text = await _get(self._session, self._url)
        answered_s = perf_counter()
        return _Snapshot(
            time_s=(asked_s + answered_s) / 2, took_s=answered_s - asked_s, values=_counted(text, self._url)
        )


async def is_vllm(base_url: str, key: str | None = None) -> bool:
    """Whether the server has vLLM's /metrics."""
    async with open_session(key) as session:
        try:
            return COUNTERS["generation_tokens"] in totals(await _get(session, f"{base_url}/metrics"))
        except (LaunchError, ValueError):
            return False


async def requests_in_flight(base_url: str, key: str | None = None) -> float | None:
    """How many requests run or wait; None where the server does not tell."""
    async with open_session(key) as session:
        try:
            read = totals(await _get(session, f"{base_url}/metrics"))
        except (LaunchError, ValueError):
            return None
    found = values([read], RUNNING) + values([read], WAITING)
    return sum(found) if found else None


async def kv_cache_tokens(base_url: str, key: str | None = None) -> int | None:
    """The size of the KV cache in tokens that vLLM reports, summed over its engines; None where it reports none.

    Raises LaunchError (LOAD_FAILED) when /metrics cannot be read.
    """
    url = f"{base_url}/metrics"
    async with open_session(key) as session:
        text = await _get(session, url)
    _counted(text, url)
    return kv_cache_tokens_of(text)


def _counted(text: str, url: str) -> Mapping[str, float]:
    try:
        return counted(text, url)
    except RunError as error:
        raise failed(str(error)) from error


async def _get(session: aiohttp.ClientSession, url: str) -> str:
    try:
        return await scrape(session, url)
    except RunError as error:
        raise failed(str(error)) from error
