"""One process of the load generator: its users or arrivals in, records of their requests out.

Run as `python -m tuner.load.worker FD`, FD being its end of a socket pair to the controller (tuner/load/client.py); when that
ends, so does the process. It does one thing, so that nothing else delays its timestamps: no garbage collection, no JSON and no
text while a stream runs (tuner/load/stream.py), bodies made before the clock starts.
"""

import asyncio
import gc
import os
import random
import resource
import signal
import socket
import sys
import traceback
from array import array
from collections.abc import Coroutine
from time import perf_counter, process_time
from typing import Any

import uvloop

from tuner.load.messages import End, Orders, Progress, Report, Stop, receive, send
from tuner.load.prompts import PlannedRequest, Planner
from tuner.load.sender import Sender
from tuner.load.stream import EventStream
from tuner.workload.arrivals import Arrival, schedule
from tuner.workload.lengths import MAX_TURNS, draw

_LAG_PROBE_S = 0.05
_SWEEP_S = 0.25
#: A user whose request failed waits, so that a server that refuses at once is not flooded.
_PAUSE_AFTER_ERROR_S = 1.0


class Load:
    """One load: who sends when, and what is told of it."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._workload = orders.recipe.workload
        self._planner = Planner(orders.recipe)
        self._sender = Sender(orders.target, self._workload)
        self._unanswered: set[int] = set()
        self._unended: set[int] = set()
        self._exhausted = False
        self._lag_times_s, self._lags_s = array("d"), array("d")
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, writer: asyncio.StreamWriter) -> None:
        """Begin, and tell `writer` of the progress at every tick."""
        for work in (self._tell(writer), self._probe(), self._sweep()):
            self._spawn(work)
        if self._workload.users is None:
            self._spawn(self._arrive())
            return
        numbers = range(self._orders.number, self._workload.users, self._orders.of)
        self._unanswered.update(numbers)
        self._unended.update(numbers)
        for number in numbers:
            self._spawn(self._user(number))

    def end(self, end: End) -> None:
        self._sender.end(end)

    async def stop(self) -> Report:
        """Close every request; those that were sampled and are still open are censored."""
        for task in self._tasks:
            task.cancel()
        records = self._sender.records()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._sender.close()
        return Report(
            has_schedule=self._workload.users is None,
            records=records,
            lag_times_s=self._lag_times_s,
            lags_s=self._lags_s,
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        """A task that fails is a bug, and half a load is no load: the process ends, and the controller sees it."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            traceback.print_exception(error)
            os._exit(1)

    # who sends

    async def _user(self, number: int) -> None:
        """A user of the closed loop: sends again when the last answer has ended."""
        users, rng = self._workload.users or 1, random.Random(f"{self._workload.seed}:user {number}")
        await _until(self._orders.start_s + self._orders.ramp_s * number / users)
        index, good = number, await self._take_up(number, rng)
        self._unanswered.discard(number)
        while True:
            index += users
            if not good:
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)
            else:
                await self._think(rng)
            good = await self._converse(index, rng)

    async def _take_up(self, user: int, rng: random.Random) -> bool:
        """What the user is in the middle of; whether all went well."""
        request, turns_left = self._planner.begin(self._number(user), user)
        stream = await self._sender.send(request, None)
        self._unended.discard(user)
        return stream is not None and await self._go_on(user, request, stream, turns_left, rng)

    async def _arrive(self) -> None:
        """The open loop and the trace: each request when it is due, whatever became of the others."""
        for index, arrival in enumerate(schedule(self._workload)):
            if index % self._orders.of == self._orders.number:
                due_s = self._orders.start_s + arrival.offset_s
                await _until(due_s)
                self._spawn(self._arrived(index, arrival, due_s))
        self._exhausted = True

    async def _arrived(self, index: int, arrival: Arrival, due_s: float) -> None:
        await self._converse(index, random.Random(f"{self._workload.seed}:thoughts {index}"), arrival, due_s)

    async def _converse(
        self, index: int, rng: random.Random, arrival: Arrival | None = None, due_s: float | None = None
    ) -> bool:
        """One request, or a conversation of several; whether all went well. `rng` says for how long the user thinks."""
        turns = self._workload.turns
        count = draw(turns, random.Random(f"{self._workload.seed}:turns {index}")) if turns is not None else 1
        request = self._planner.request(self._number(index), arrival)
        stream = await self._sender.send(request, due_s)
        return stream is not None and await self._go_on(index, request, stream, count - 1, rng)

    async def _go_on(
        self, index: int, request: PlannedRequest, stream: EventStream, turns_left: int, rng: random.Random
    ) -> bool:
        """The rest of a conversation, after its first request here and the answer to it; whether all went well."""
        words, said = self._planner.words(request) if turns_left else "", list[dict[str, str]]()
        for turn in range(1, turns_left + 1):
            said += [{"role": "user", "content": words}, {"role": "assistant", "content": stream.text()}]
            await self._think(rng)
            request, words = self._planner.turn(self._number(index) + turn, said)
            answer = await self._sender.send(request, None)
            if answer is None:
                return False
            stream = answer
        return True

    def _number(self, index: int) -> int:
        """Of a request, or of the first one of a conversation."""
        return self._orders.first_index + (index * MAX_TURNS if self._workload.turns else index)

    async def _think(self, rng: random.Random) -> None:
        if self._workload.think_time_s:
            await asyncio.sleep(rng.expovariate(1 / self._workload.think_time_s))

    # what runs beside them

    async def _tell(self, writer: asyncio.StreamWriter) -> None:
        tick = 0
        while True:
            tick += 1
            await _until(self._orders.start_s + tick * self._orders.tick_s)
            send(writer, self._progress(tick))

    def _progress(self, tick: int) -> Progress:
        sender, answered = self._sender, self._sender.answered()
        if self._unanswered:
            self._unanswered -= {self._user_of(index) for index in answered}
        return Progress(
            tick=tick,
            time_s=perf_counter(),
            cpu_s=process_time(),
            events=sender.events,
            ended=sender.ended,
            failed=sender.failed,
            first_error=sender.first_error,
            client_error=sender.client_error,
            open=len(sender.open),
            waiting=len(sender.open) - len(answered),
            sampled_open=sender.sampled_open,
            unanswered=len(self._unanswered),
            unended=len(self._unended),
            oldest_due_s=sender.oldest_due_s,
            longest_s=sender.longest_s,
            projected_s=sender.projected_s(),
            last_byte_s=sender.meter.last_byte_s,
            delay_s=sender.meter.delay_s,
            reads=sender.meter.reads,
            exhausted=self._exhausted,
            prompt_tokens=sender.prompt_tokens,
            answered=sender.take_answered(),
            answered_events=sender.answered_events,
            answered_tokens=sender.answered_tokens,
            answered_asked=sender.answered_asked,
        )

    def _user_of(self, index: int) -> int:
        index -= self._orders.first_index
        return (index // MAX_TURNS if self._workload.turns else index) % (self._workload.users or 1)

    async def _probe(self) -> None:
        """By how much timers are late: what stops the whole process shows here."""
        while True:
            due_s = perf_counter() + _LAG_PROBE_S
            await asyncio.sleep(_LAG_PROBE_S)
            now_s = perf_counter()
            self._lag_times_s.append(now_s)
            self._lags_s.append(max(0.0, now_s - due_s))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._sender.end_silent()


async def _until(time_s: float) -> None:
    """Others have their turn even if it is late already: a schedule that cannot be kept must not stop everything else."""
    await asyncio.sleep(max(0.0, time_s - perf_counter()))
    while (left_s := time_s - perf_counter()) > 0:
        await asyncio.sleep(left_s)


async def work(channel: socket.socket) -> None:
    """Do what the controller says, until it is gone."""
    reader, writer = await asyncio.open_connection(sock=channel, limit=1 << 30)
    load: Load | None = None
    while True:
        try:
            message = await receive(reader)
        except EOFError:
            return
        match message:
            case Orders():
                load = Load(message)
                load.start(writer)
            case End() if load:
                load.end(message)
            case Stop() if load:
                send(writer, await load.stop())
                load = None


def main() -> None:
    """The process. Ctrl-C is the controller's to handle; it then closes the channel."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 1 << 16), hard))
    channel = socket.socket(fileno=int(sys.argv[1]))
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(channel))
    os._exit(0)  # whatever is still open is closed by the kernel at once


if __name__ == "__main__":
    main()
