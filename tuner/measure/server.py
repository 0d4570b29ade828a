"""A server's base URL in; vLLM's /metrics over a window out. Knows nothing of requests or of what a good number is.

Counters are summed over their label sets (engines, API servers) and subtracted; gauges are sampled twice a second, oftener on a
simulated server, whose time is faster, and before the window, too, where somebody asks for it. A missing
counter is a LaunchError, a missing gauge is None; so are the counters of speculative decoding, which only a server that
speculates has.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import fmean
from time import perf_counter
from types import TracebackType
from typing import Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tuner.errors import LaunchError
from tuner.measure.speculation import ACCEPTED_AT, COUNTERS, at_position, speculated
from tuner.measure.timeline import Gauges
from tuner.measure.window import output_tokens
from tuner.types import Failed, FailureKind, LoadResult, ServerMetrics

_COUNTERS = {
    "prompt_tokens": "vllm:prompt_tokens_total",
    "generation_tokens": "vllm:generation_tokens_total",
    "preemptions": "vllm:num_preemptions_total",
    "prefix_cache_queries": "vllm:prefix_cache_queries_total",
    "prefix_cache_hits": "vllm:prefix_cache_hits_total",
}
_KV_USAGE = "vllm:kv_cache_usage_perc"
_RUNNING = "vllm:num_requests_running"
_WAITING = "vllm:num_requests_waiting"
_CACHE_INFO = "vllm:cache_config_info"
_NAMES = (*_COUNTERS.values(), *COUNTERS, ACCEPTED_AT, _KV_USAGE, _RUNNING, _WAITING, _CACHE_INFO)
_SAMPLE_S = 0.5
_LEAST_SAMPLE_S = 0.02
_TIMEOUT_S = 10.0
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

    def __init__(self, base_url: str, speed: float = 1.0) -> None:
        """`speed` is how many of the server's seconds pass in a real one."""
        self._url = f"{base_url}/metrics"
        self._sample_s = min(_SAMPLE_S, max(_SAMPLE_S / speed, _LEAST_SAMPLE_S))
        self._gauges: list[_Snapshot] = []
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Sample the gauges during the block; the window begins and ends in it."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(trust_env=False, timeout=timeout) as self._session:
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

    def metrics(self, result: LoadResult) -> ServerMetrics:
        """Differences and means between entering and leaving; `result` gives the client's tokens to compare with."""
        before, after = self._before, self._after
        counted = {
            field: _required(after.values, name) - _required(before.values, name) for field, name in _COUNTERS.items()
        }
        speculation = [name for name in COUNTERS if name in before.values]
        names = (*_COUNTERS.values(), *speculation)
        if fell := [name for name in names if after.values.get(name, 0.0) < before.values[name]]:
            raise _failed(
                f"{fell[0]} of /metrics fell in the window: the server was restarted, or the address is that of several"
                " (measure one of them)"
            )
        client_tokens = output_tokens(result.records, before.time_s, after.time_s)
        inside = [one.values for one in self._gauges if before.time_s <= one.time_s <= after.time_s]
        usage = _values(inside, _KV_USAGE)
        return ServerMetrics(
            **counted,
            kv_cache_usage_mean=_mean(usage),
            kv_cache_usage_max=max(usage, default=None),
            running_mean=_mean(_values(inside, _RUNNING)),
            waiting_mean=_mean(_values(inside, _WAITING)),
            agreement=counted["generation_tokens"] / client_tokens if client_tokens else None,
            **speculated(before.values, after.values),
        )

    def gauges(self) -> list[Gauges]:
        """Each time that they were read, before the window too."""
        return [
            Gauges(
                time_s=one.time_s,
                running=one.values.get(_RUNNING),
                waiting=one.values.get(_WAITING),
                kv_cache_usage=one.values.get(_KV_USAGE),
            )
            for one in self._gauges
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
        return _Snapshot(time_s=(asked_s + answered_s) / 2, took_s=answered_s - asked_s, values=totals(text))


async def is_vllm(base_url: str) -> bool:
    """Whether the server has vLLM's /metrics."""
    async with aiohttp.ClientSession(trust_env=False, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session:
        try:
            return _COUNTERS["generation_tokens"] in totals(await _get(session, f"{base_url}/metrics"))
        except (LaunchError, ValueError):
            return False


async def in_flight(base_url: str) -> float | None:
    """How many requests run or wait; None where the server does not tell."""
    async with aiohttp.ClientSession(trust_env=False, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session:
        try:
            values = totals(await _get(session, f"{base_url}/metrics"))
        except (LaunchError, ValueError):
            return None
    found = _values([values], _RUNNING) + _values([values], _WAITING)
    return sum(found) if found else None


async def kv_cache_tokens(base_url: str) -> int | None:
    """The size of the KV cache in tokens that vLLM reports, summed over its engines; None where it reports none.

    Raises LaunchError (LOAD_FAILED) when /metrics cannot be read.
    """
    async with aiohttp.ClientSession(trust_env=False, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session:
        return kv_cache_tokens_of(await _get(session, f"{base_url}/metrics"))


def kv_cache_tokens_of(text: str) -> int | None:
    """`kv_cache_size_tokens` of vllm:cache_config_info, else blocks times block size (older versions)."""
    sizes = [_kv_tokens(sample.labels) for sample in _samples(text) if sample.name == _CACHE_INFO]
    known = [size for size in sizes if size is not None]
    return sum(known) if known else None


def totals(text: str) -> dict[str, float]:
    """Value by metric name in a /metrics page: the sum over label sets, for the KV usage (a share) the mean. What was accepted
    at a position of drafts has a name for each position."""
    values: dict[str, list[float]] = {}
    for sample in _samples(text):
        name = at_position(sample.labels.get("position", "")) if sample.name == ACCEPTED_AT else sample.name
        values.setdefault(name, []).append(sample.value)
    return {name: fmean(found) if name == _KV_USAGE else sum(found) for name, found in values.items()}


def _samples(text: str) -> Iterator[Sample]:
    """Only the lines of interest are parsed: a whole page would block the load's event loop for 20 ms."""
    lines = [line for line in text.splitlines() if line.startswith(_NAMES)]
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        yield from (sample for sample in family.samples if sample.name in _NAMES)


def _kv_tokens(labels: Mapping[str, str]) -> int | None:
    def number(name: str) -> int | None:
        value = labels.get(name, "")
        return int(value) if value.isdecimal() else None

    blocks, block_size = number("num_gpu_blocks"), number("block_size")
    return number("kv_cache_size_tokens") or (blocks * block_size if blocks and block_size else None)


async def _get(session: aiohttp.ClientSession, url: str) -> str:
    try:
        async with session.get(url, allow_redirects=False) as response:
            text = await response.text()
    except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError) as error:
        raise _failed(f"{url} cannot be read: {str(error) or type(error).__name__}") from error
    if response.status != 200:
        raise _failed(f"{url} answered HTTP {response.status}")
    return text


def _required(snapshot: Mapping[str, float], name: str) -> float:
    if name not in snapshot:
        raise _failed(f"vLLM's /metrics has no {name}: is it started with --disable-log-stats?")
    return snapshot[name]


def _values(snapshots: Sequence[Mapping[str, float]], name: str) -> list[float]:
    return [snapshot[name] for snapshot in snapshots if name in snapshot]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _failed(message: str) -> LaunchError:
    return LaunchError(Failed(kind=FailureKind.LOAD_FAILED, message=message))
