"""A ready server and a workload in; every request's record and the steady window out, or a LaunchError.

A closed loop on one asyncio thread. It does not know what is measured: metrics are made of its records later. Facts that shape
it: chunks are stamped when their bytes are read, so a busy client spoils TTFT first; hence no JSON and no text in the hot loop
(tuner/load/stream.py), bodies made before the clock starts, and connections read to their end so that they are used again.
"""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from time import perf_counter
from typing import Any, TypeVar

import aiohttp

from tuner.errors import LaunchError
from tuner.load.prompts import Alphabet, body, learn_alphabet, plan
from tuner.load.stream import EventStream, StreamError, Usage
from tuner.types import Endpoint, Failed, FailureKind, LoadResult, PlannedRequest, RequestRecord, Workload

Result = TypeVar("Result")
Observe = Callable[[], AbstractAsyncContextManager[object]]

MAX_ERROR_SHARE = 0.01
#: A slow server's window grows until it has seen this many requests a user end, or this many times its length.
ENDED_PER_USER = 2
MAX_WINDOW_FACTOR = 4
_POLL_S = 0.5
_TICK_S = 0.05
#: When all requests stall, that is found before each one of them has failed.
_STALL_MARGIN_S = 0.5
_RAMP_S = 2.0
#: A user whose request failed waits, so that a server that refuses at once is not flooded.
_PAUSE_AFTER_ERROR_S = 1.0
#: Less than uvicorn's 5 s, so that no request meets a connection that the server is just closing.
_KEEPALIVE_S = 2.0
#: asyncio's own 256 KiB buffer is mapped and unmapped by the kernel on each read (cpython issue 85451).
_READ_BYTES = 65536


async def generate_load(
    endpoint: Endpoint,
    workload: Workload,
    *,
    salt: int = 0,
    observe: Observe = nullcontext,
    server_alive: Callable[[], bool] = lambda: True,
) -> LoadResult:
    """Load the server with the workload; `salt` is a number that no other launch on this server's cache uses.

    Users start one after another over 2 s (or half of warmup_s). The warm-up ends when each has had its first token and
    warmup_s has passed. Then `observe()` is entered, the window of window_s runs, and `observe()` is left. If fewer than two
    requests a user ended in it, the window goes on until they have, at most four times as long. The load is held until the
    last request that was sent before the window's end has ended, at most stall_s; what is then still open is an error.
    Requests sent after the window are load only and have no record.

    Raises LaunchError: CRASHED when `server_alive` (asked twice a second) says no; STALLED when requests are open and nobody
    gets a byte for stall_s, whatever /health says; LOAD_FAILED when all first requests fail, or more than 1 % of those that
    were sent or ended in the window. Raises UsageError when prompts cannot be as short as the workload asks. Cancelling it
    closes every request.
    """
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S)
    one_stalled_s = workload.stall_s + _STALL_MARGIN_S
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=one_stalled_s, sock_read=one_stalled_s)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
    ) as session:
        alphabet = await _run_beside(learn_alphabet(session, endpoint, workload), _watch(server_alive))
        load = _Load(session, endpoint, workload, alphabet, salt)
        users = [load.user(number) for number in range(workload.users)]
        return await _run_beside(load.measure(observe), _watch(server_alive), load.watch_for_stall(), *users)


async def _watch(server_alive: Callable[[], bool]) -> None:
    while server_alive():
        await asyncio.sleep(_POLL_S)
    raise LaunchError(Failed(kind=FailureKind.CRASHED, message="the server's process ended while it was under load"))


async def _run_beside(main: Coroutine[Any, Any, Result], *others: Coroutine[Any, Any, None]) -> Result:
    """The result of `main`; the others run beside it, end only by raising, and are cancelled when it ends."""
    task = asyncio.create_task(main)
    tasks: list[asyncio.Task[Any]] = [task, *(asyncio.create_task(other) for other in others)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            ended.result()
        return task.result()
    finally:
        for running in tasks:
            running.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Load:
    """What the users share: the next request's index, the open requests, and the records of those that ended."""

    def __init__(
        self, session: aiohttp.ClientSession, endpoint: Endpoint, workload: Workload, alphabet: Alphabet, salt: int
    ) -> None:
        self._session = session
        self._model = endpoint.model
        route = "chat/completions" if workload.api == "chat" else "completions"
        self._url = f"{endpoint.base_url}/v1/{route}"
        self._workload = workload
        self._alphabet = alphabet
        self._salt = salt
        self._indices = itertools.count()
        self._open: dict[int, float] = {}  # index -> sent_s
        self._records: list[RequestRecord] = []
        self._unanswered = set(range(workload.users))  # users without a first token, nor a first failure
        self._last_byte_s = perf_counter()  # or when the first request was sent

    @property
    def _ramp_s(self) -> float:
        return min(_RAMP_S, self._workload.warmup_s / 2)

    async def watch_for_stall(self) -> None:
        """Raises LaunchError when requests are open and none of them got a byte for stall_s."""
        stall_s = self._workload.stall_s
        while not self._open or perf_counter() - self._last_byte_s < stall_s:
            if not self._open:
                self._last_byte_s = perf_counter()
            await asyncio.sleep(_TICK_S)
        message = f"the server accepts requests, but for {stall_s:g} s no byte came for any of the {len(self._open)} open ones"
        raise LaunchError(Failed(kind=FailureKind.STALLED, message=message))

    async def user(self, number: int) -> None:
        await asyncio.sleep(self._ramp_s * number / self._workload.users)
        while True:
            request = plan(self._alphabet, self._workload, salt=self._salt, index=next(self._indices))
            record = await self._send(request, number)
            self._records.append(record)
            self._unanswered.discard(number)
            if record.error is not None:
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)

    async def _send(self, request: PlannedRequest, user: int) -> RequestRecord:
        """One request, from its first byte out to the last byte in. Whatever goes wrong becomes the record's `error`."""
        stream = EventStream()
        data = body(self._workload, self._model, request)
        sent_s = perf_counter()
        self._open[request.index] = sent_s
        usage: Usage | None = None
        try:
            await self._read(data, stream, user)
            usage = stream.finish()
            error = _mismatch(request, usage, len(stream.output_times_s()))
        except StreamError as problem:
            error = str(problem)
        except TimeoutError:  # aiohttp's timeouts are TimeoutErrors too
            error = f"no byte came for {self._workload.stall_s:g} s"
        except (aiohttp.ClientError, OSError) as problem:
            error = f"the connection failed: {str(problem) or type(problem).__name__}"
        finally:
            del self._open[request.index]
        return RequestRecord(
            index=request.index,
            sent_s=sent_s,
            ended_s=perf_counter(),
            chunk_times_s=stream.output_times_s(),
            input_tokens=usage.prompt_tokens if usage else None,
            output_tokens=usage.completion_tokens if usage else None,
            error=error,
        )

    async def _read(self, data: bytes, stream: EventStream, user: int) -> None:
        async with self._session.post(self._url, data=data, allow_redirects=False) as response:
            if response.status != 200:
                text = (await response.content.read(500)).decode("utf-8", "replace")
                raise StreamError(f"HTTP {response.status}: {text}")
            _shrink_reads(response)
            content = response.content
            while chunk := await content.readany():
                self._last_byte_s = now_s = perf_counter()
                stream.feed(chunk, now_s)
                if user in self._unanswered and stream.has_output:
                    self._unanswered.discard(user)

    async def measure(self, observe: Observe) -> LoadResult:
        await self._warm_up()
        async with observe():
            start_s = perf_counter()
            await self._window(start_s)
            end_s = perf_counter()
        await self._hold(end_s)
        records = [record for record in self._records if record.sent_s < end_s] + self._unfinished(end_s)
        sampled = [record for record in records if record.ended_s >= start_s]
        if sum(record.error is not None for record in sampled) > MAX_ERROR_SHARE * len(sampled):
            raise _load_failed(sampled, "of the window's requests")
        return LoadResult(records=tuple(records), window_start_s=start_s, window_end_s=end_s)

    async def _warm_up(self) -> None:
        began_s, users = perf_counter(), self._workload.users
        longest_s = self._ramp_s + self._workload.warmup_s + self._workload.stall_s
        while self._unanswered or perf_counter() - began_s < self._workload.warmup_s:
            if len(self._records) >= users and all(record.error for record in self._records):
                raise _load_failed(self._records, "of the first requests")
            if perf_counter() - began_s > longest_s:
                raise _failed(f"{len(self._unanswered)} of {users} users had no first token within {longest_s:g} s")
            await asyncio.sleep(_TICK_S)

    async def _window(self, start_s: float) -> None:
        before = len(self._records)
        length_s = self._workload.window_s
        await asyncio.sleep(length_s)
        while len(self._records) - before < ENDED_PER_USER * self._workload.users:
            if perf_counter() - start_s >= MAX_WINDOW_FACTOR * length_s:
                return
            await asyncio.sleep(_TICK_S)

    async def _hold(self, end_s: float) -> None:
        while any(sent_s < end_s for sent_s in self._open.values()):
            if perf_counter() - end_s >= self._workload.stall_s:
                return
            await asyncio.sleep(_TICK_S)

    def _unfinished(self, end_s: float) -> list[RequestRecord]:
        return [
            RequestRecord(
                index=index,
                sent_s=sent_s,
                ended_s=perf_counter(),
                chunk_times_s=(),
                input_tokens=None,
                output_tokens=None,
                error=f"not ended {self._workload.stall_s:g} s after the window",
            )
            for index, sent_s in self._open.items()
            if sent_s < end_s
        ]


def _shrink_reads(response: aiohttp.ClientResponse) -> None:
    transport = response.connection.transport if response.connection else None
    if transport is not None and hasattr(transport, "max_size"):
        transport.max_size = _READ_BYTES


def _mismatch(request: PlannedRequest, usage: Usage, chunks: int) -> str | None:
    if usage.prompt_tokens != request.input_tokens:
        return f"the server counts {usage.prompt_tokens} prompt tokens, sent were {request.input_tokens}"
    if usage.completion_tokens != request.output_tokens:
        return f"the answer has {usage.completion_tokens} tokens, asked were {request.output_tokens}"
    return None if chunks else "no chunk of the answer carries output"


def _load_failed(records: list[RequestRecord], which: str) -> LaunchError:
    errors = [record.error for record in records if record.error is not None]
    return _failed(f"{len(errors)} of {len(records)} {which} failed; the first: {errors[0]}")


def _failed(message: str) -> LaunchError:
    return LaunchError(Failed(kind=FailureKind.LOAD_FAILED, message=message))
