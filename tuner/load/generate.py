"""A server and a workload in; every request's record and the steady window out, or a LaunchError.

The load itself is made by worker processes (tuner/load/worker.py); here it is decided when the warm-up is over, how long the
window lasts, and whether the load has failed. It does not know what is measured: metrics are made of the records later.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from math import inf
from time import perf_counter
from typing import Any, TypeVar

import aiohttp

from tuner.decide.deciding import OTHER_LENGTHS, Deciding, deciding
from tuner.decide.early import Outdo
from tuner.decide.overload import FAR, Overload
from tuner.errors import LaunchError, RunError
from tuner.load.messages import End, Orders, Report, Stop
from tuner.load.progress import Heard
from tuner.load.prompts import Prompt, Recipe
from tuner.load.session import open_session
from tuner.load.stopping import Stopping
from tuner.load.tokenizer import count_tokens, learn_alphabet
from tuner.load.warm_up import WarmUp
from tuner.load.workers import Workers
from tuner.types import Failed, FailureKind, LoadResult, RequestRecord, Target, Underway, Workload
from tuner.workload.dataset import read_dataset

Result = TypeVar("Result")
Tell = Callable[[Underway], None]
Observe = Callable[[], AbstractAsyncContextManager[object]]

MAX_ERROR_SHARE = 0.01
#: The window goes on until so many requests a user have ended in it, or its time is up.
ENDED_PER_USER = 2
ENDED_OPEN_LOOP = 20
MAX_WINDOW_FACTOR = 4
#: The load is held for so many times the longest request, at most.
MAX_HOLD_FACTOR = 2
_POLL_S = 0.5
#: How often it is told how far a load is.
_TELL_S = 0.25
#: What share of a window has to be over, before its throughput so far says anything.
_SAYS_SHARE = 0.1
_RAMP_S = 2.0
_RAMP_USERS_PER_S = 2000
_SETTLE_S = 0.05
#: Workers tell of their progress so often in a warm-up, at least and at most this fast.
_TICKS = 16
_TICK_S = (0.005, 0.25)
#: A worker that says nothing for so long is not to be believed any more.
_SILENT_S = 30.0
#: What of the past a server's counters may still need.
_BEFORE_S = 2.0


async def learn(target: Target, workload: Workload, *, salt: int = 0) -> Recipe:
    """Ask the server what prompts for it are made of; `salt` is a number that no other load on its cache uses.

    Raises LaunchError when it does not answer as vLLM does, UsageError when the workload cannot be made for this model.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=workload.stall_s, sock_read=workload.stall_s)
    async with open_session(target.api_key, timeout) as session:
        alphabet = await learn_alphabet(session, target, workload)
        prompts: tuple[Prompt, ...] = ()
        if workload.dataset is not None:
            prompts = await count_tokens(session, target, workload, read_dataset(workload.dataset))
    return Recipe(workload=workload, model=target.model, alphabet=alphabet, salt=salt, prompts=prompts)


async def generate_load(
    target: Target,
    recipe: Recipe,
    workers: Workers,
    *,
    first_index: int = 0,
    observe: Observe = nullcontext,
    server_alive: Callable[[], bool] = lambda: True,
    rule: Deciding | None = None,
    outdo: Outdo | None = None,
    overloads: Sequence[Overload] = (),
    tell: Callable[[str], None] = lambda text: None,
    underway: Tell = lambda state: None,
) -> LoadResult:
    """Load the server with the recipe's workload; requests are numbered from `first_index`.

    Users start one after another over 2 s (or half of warmup_s; longer beyond 4,000). The warm-up ends when each has had its
    first token, warmup_s has passed (after ramp_up_s), and the load is stationary, or has not become so for long
    (tuner/load/warm_up.py). Then `observe()` is entered, the window runs, and `observe()` is left; The window ends when it
    is window_s long, two requests a user (20 in the open loop) have ended in it, and all that `rule` names is known (without
    one: throughput, or an open loop's mean latencies); or after max_window_s; or, if the load was stationary, once it cannot
    become as good as `outdo`. A trace is measured from warmup_s to its end.
    The load is held until the last request that was due before the window's end has ended. A request that gets no byte for
    stall_s is given up, and is an error; one that still gets bytes when it has taken twice as long as any other, and stall_s,
    is censored. Requests that are due after the window are load only and have no record.

    `tell` is told at once of answers that are not as long as what was asked for, `underway` how far the load is.

    Raises LaunchError: CRASHED when `server_alive` (asked twice a second) says no; STALLED when requests are open and nobody
    gets a byte for stall_s, whatever /health says; LOAD_FAILED when all first requests fail, or more than 1 % of those that
    were sent or ended in the window, or it comes to one of the `overloads`; CLIENT_BOUND when a worker dies, or this machine
    refuses it a connection. Then every request is closed, and `workers` are as new. Raises RunError when a trace is too short.
    When it is cancelled, leaving `workers` closes every request.
    """
    run = _Run(target, recipe, workers, first_index, rule or deciding(recipe.workload), underway, outdo)
    listening = [run.listen(number) for number in range(workers.count)]
    watching = (_watch(server_alive), run.watch_for_stall(), run.watch_for_overload(overloads))
    try:
        return await _run_beside(run.measure(observe, tell), *watching, *listening)
    except LaunchError:
        await workers.renew()
        raise


async def _watch(server_alive: Callable[[], bool]) -> None:
    while server_alive():
        await asyncio.sleep(_POLL_S)
    raise LaunchError(Failed(kind=FailureKind.CRASHED, message="the server's process ended while it was under load"))


async def _run_beside(main: Coroutine[Any, Any, Result], *others: Coroutine[Any, Any, None]) -> Result:
    """The result of `main`; the others run beside it, and are cancelled when it ends."""
    task = asyncio.create_task(main)
    beside = {asyncio.create_task(other) for other in others}
    try:
        running: set[asyncio.Task[Any]] = {task, *beside}
        while not task.done():
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
        return task.result()
    finally:
        for left in (task, *beside):
            left.cancel()
        await asyncio.gather(task, *beside, return_exceptions=True)


class _Run:
    """One load: what the workers told of it so far."""

    def __init__(
        self,
        target: Target,
        recipe: Recipe,
        workers: Workers,
        first_index: int,
        rule: Deciding,
        tell: Tell,
        outdo: Outdo | None,
    ) -> None:
        self._recipe, self._workload, self._workers = recipe, recipe.workload, workers
        ramp_s = min(max(_RAMP_S, (self._workload.users or 0) / _RAMP_USERS_PER_S), self._workload.warmup_s / 2)
        self._tell, self._told_s = tell, 0.0
        self._ramp_s = self._workload.ramp_up_s or ramp_s
        self._tick_s = min(max(self._workload.warmup_s / _TICKS, _TICK_S[0]), _TICK_S[1])
        self._start_s = perf_counter() + _SETTLE_S
        self._heard = Heard(workers, self._start_s, self._tick_s)
        self._stopping = Stopping(rule, self._workload, self._heard, self._tick_s, outdo)
        for number in range(workers.count):
            workers.send(
                number,
                Orders(
                    target=target,
                    recipe=recipe,
                    number=number,
                    of=workers.count,
                    start_s=self._start_s,
                    ramp_s=ramp_s,
                    tick_s=self._tick_s,
                    first_index=first_index,
                ),
            )

    async def listen(self, number: int) -> None:
        await self._heard.listen(number)

    async def watch_for_stall(self) -> None:
        """Raises LaunchError when requests are open and none of them got a byte for stall_s, or a worker says nothing."""
        stall_s, since_s = self._workload.stall_s, perf_counter()
        while True:
            await asyncio.sleep(min(_TICK_S[1], stall_s / 4))
            now_s, last = perf_counter(), self._heard.last()
            opened = sum(progress.open for progress in last)
            if not opened:
                since_s = now_s
            heard_s = max((progress.last_byte_s for progress in last), default=since_s)
            if now_s - max(since_s, heard_s) >= stall_s:
                message = (
                    f"the server accepts requests, but for {stall_s:g} s no byte came for any of the {opened} open ones"
                )
                raise LaunchError(Failed(kind=FailureKind.STALLED, message=message))
            self._check_client()
            if now_s - min((p.time_s for p in last), default=self._start_s) > _SILENT_S and not self._heard.is_over:
                raise _client_bound(f"a process of the load generator did nothing for {_SILENT_S:.0f} s")

    async def watch_for_overload(self, overloads: Sequence[Overload]) -> None:
        """Raises LaunchError (LOAD_FAILED) when the load comes to one of them, unless the load generator may be why."""
        while True:
            await asyncio.sleep(_POLL_S)
            for overload in overloads:
                late = self._heard.open_longer(overload.longer_s, overload.state)
                if late > overload.requests:
                    raise _failed(
                        f"{late:,} requests at once waited for more than {FAR:g} times the limit of {overload.slo}"
                    )

    async def measure(self, observe: Observe, tell: Callable[[str], None]) -> LoadResult:
        stationary = await self._warm_up()
        asked = self._heard.total("answered_asked")
        share = self._heard.total("answered_tokens") / asked if asked else 1.0
        if abs(share - 1) > OTHER_LENGTHS:
            tell(f"the server's answers are {share:.0%} as long as what was asked for")
        async with observe():
            start_s = perf_counter()
            await self._window(start_s, may_stop=stationary)
            end_s = perf_counter()
        reports = await self._hold(start_s, end_s)
        records = tuple(record for report in reports for record in report.records)
        sampled = [record for record in records if record.ended_s >= start_s]
        if sum(record.error is not None for record in sampled) > MAX_ERROR_SHARE * len(sampled):
            self._check_client()
            raise _load_failed(sampled, "of the window's requests")
        return LoadResult(
            records=records,
            window_start_s=start_s,
            window_end_s=end_s,
            client=self._heard.client(reports, start_s, end_s),
            warmup_s=start_s - self._start_s,
            stationary=stationary,
            shared_tokens=self._recipe.shared_tokens,
            rates=self._stopping.rates,
            mix=self._stopping.mix,
            intervals=self._stopping.intervals,
            undecided=self._stopping.undecided,
            at_best=self._stopping.at_best,
            warmup_rates=self._warmup_rates(start_s),
            tick_s=self._tick_s,
        )

    async def _warm_up(self) -> bool:
        """Wait until the load is what it will be; whether it has become stationary."""
        warm_up = WarmUp(self._workload, ramp_s=self._ramp_s, begins_steady=self._recipe.alphabet.is_vllm)
        while not warm_up.is_over:
            await self._heard.tick()
            for tick in self._heard.news():
                warm_up.tell(tick)
            self._say(self._start_s)
            ended = self._heard.total("ended")
            if ended >= (self._workload.users or 1) and ended == self._heard.total("failed"):
                self._check_client()
                error = next(p.first_error for p in self._heard.last() if p.first_error)
                raise _failed(f"{ended} of {ended} of the first requests failed; the first: {error}")
            if self._heard.is_exhausted():
                raise RunError(
                    f"the trace of workload {self._workload.name} was over after {perf_counter() - self._start_s:.3g} s,"
                    " within the warm-up, so nothing was measured: make warmup_s shorter, or a trace slower (speedup)"
                )
        return warm_up.stationary

    def _warmup_rates(self, end_s: float) -> list[float]:
        """A chunk counts as many tokens as in the answers that had ended by then, else in all that have."""
        events, told, tokens = (
            self._heard.rates(self._start_s, end_s, what) for what in ("events", "answered_events", "answered_tokens")
        )
        chunks, worth = (
            sum(told) or self._heard.total("answered_events"),
            sum(tokens) or self._heard.total("answered_tokens"),
        )
        return [count * worth / chunks / self._tick_s for count in events] if chunks else []

    def _check_client(self) -> None:
        """Raises LaunchError (CLIENT_BOUND) when this machine has refused a worker something."""
        if refused := next((progress.client_error for progress in self._heard.last() if progress.client_error), None):
            raise _client_bound(refused)

    async def _window(self, start_s: float, may_stop: bool) -> None:
        """Until it is over. It `may_stop` early, too, once a request a user has ended (enough in an open loop)."""
        workload, before = self._workload, self._heard.total("ended")
        events = self._heard.total("events")
        longest_s = workload.max_window_s or MAX_WINDOW_FACTOR * workload.window_s
        needed = ENDED_PER_USER * workload.users if workload.users is not None else ENDED_OPEN_LOOP
        while True:
            await self._heard.tick()
            past_s, ended = perf_counter() - start_s, self._heard.total("ended") - before
            self._say(start_s, events, longest_s)
            if workload.trace is not None:
                is_over = self._heard.is_exhausted() or past_s >= (workload.max_window_s or inf)
            else:
                is_over = past_s >= longest_s
            if is_over:
                self._stopping.look(start_s, perf_counter())
                return
            is_enough = workload.trace is None and past_s >= workload.window_s and ended >= needed
            if is_enough and self._stopping.is_known(start_s, perf_counter()):
                return
            if may_stop and ended >= (workload.users or needed) and self._stopping.is_outdone(start_s, perf_counter()):
                return

    def _say(self, since_s: float, events: int | None = None, most_s: float | None = None) -> None:
        """Tell now and then how far it is: of a window also how fast, from its `events` at its beginning on."""
        now_s = perf_counter()
        if now_s - self._told_s < _TELL_S:
            return
        self._told_s, rate = now_s, None
        told = self._heard.total("answered_events")
        if events is not None and told and now_s - since_s > _SAYS_SHARE * self._workload.window_s:
            tokens = self._heard.total("answered_tokens") / told
            rate = tokens * (self._heard.total("events") - events) / (now_s - since_s)
        least_s = None if most_s is None else self._workload.window_s
        self._tell(Underway(past_s=now_s - since_s, least_s=least_s, most_s=most_s, tokens_per_s=rate))

    async def _hold(self, start_s: float, end_s: float) -> Sequence[Report]:
        """Keep the load up while bytes flow for the sampled requests, until they have ended or taken twice as long as others;
        then the workers' reports."""
        for number in range(self._workers.count):
            self._workers.send(number, End(from_s=start_s - _BEFORE_S, end_s=end_s))
        told_s = perf_counter()
        while True:
            await self._heard.tick()
            last = self._heard.last()
            # a tick that was under way when the end was told is not yet counted by it
            if all(p.time_s > told_s + self._tick_s and p.sampled_open == 0 for p in last):
                break
            longest_s = max(max(p.longest_s, p.projected_s) for p in last)
            if perf_counter() - end_s > self._workload.stall_s + MAX_HOLD_FACTOR * longest_s:
                break
        for number in range(self._workers.count):
            self._workers.send(number, Stop())
        return await self._heard.reports()


def _load_failed(records: Sequence[RequestRecord], which: str) -> LaunchError:
    errors = [record.error for record in records if record.error is not None]
    return _failed(f"{len(errors)} of {len(records)} {which} failed; the first: {errors[0]}")


def _failed(message: str) -> LaunchError:
    return LaunchError(Failed(kind=FailureKind.LOAD_FAILED, message=message))


def _client_bound(message: str) -> LaunchError:
    return LaunchError(Failed(kind=FailureKind.CLIENT_BOUND, message=message))
