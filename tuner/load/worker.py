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

from tuner.load.arrivals import Arrival, schedule
from tuner.load.connection import Connections, address_of
from tuner.load.lengths import draw
from tuner.load.messages import End, Orders, Progress, Report, Stop, receive, send
from tuner.load.prompts import PlannedRequest, Planner
from tuner.load.stream import EventStream, StreamError, Usage
from tuner.types import RequestRecord

_LAG_PROBE_S = 0.02
_SWEEP_S = 0.25
#: When all requests stall, that is found before each one of them has failed.
STALL_MARGIN_S = 0.5
#: A user whose request failed waits, so that a server that refuses at once is not flooded.
_PAUSE_AFTER_ERROR_S = 1.0
#: Conversations are numbered apart, as each has several requests.
_TURNS = 64


class Load:
    """One load: its tasks, the open requests, and the records of those that ended."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._workload = orders.recipe.workload
        route = "v1/chat/completions" if self._workload.api == "chat" else "v1/completions"
        self._address = address_of(orders.target, route)
        self._connections = Connections(self._address)
        self._planner = Planner(orders.recipe)
        self._open: dict[int, tuple[float, float]] = {}  # index -> scheduled_s, sent_s
        self._streams: dict[int, EventStream] = {}
        self._records: list[RequestRecord] = []
        self._events = self._ended = self._failed = 0
        self._first_error: str | None = None
        self._unanswered: set[int] = set()
        self._exhausted = False
        self._end_s = float("inf")
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
        for number in numbers:
            self._spawn(self._user(number))

    def end(self, end: End) -> None:
        """From now on nothing gets a record but what was due before the end."""
        self._end_s = end.end_s
        self._records = [r for r in self._records if r.scheduled_s < end.end_s and r.ended_s >= end.from_s]

    async def stop(self) -> Report:
        """Close every request; those that were sampled and still open are errors."""
        for task in self._tasks:
            task.cancel()
        unfinished = [self._unfinished(index) for index, (due_s, _) in self._open.items() if due_s < self._end_s]
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._connections.close()
        return Report(records=(*self._records, *unfinished), lag_times_s=self._lag_times_s, lags_s=self._lags_s)

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
        await self._until(self._orders.start_s + self._orders.ramp_s * number / users)
        sent = 0
        while True:
            index = number + users * sent
            good = await self._converse(index, None, perf_counter(), number, started=sent > 0)
            sent += 1
            if not good:
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)
            elif self._workload.think_time_s:
                await asyncio.sleep(rng.expovariate(1 / self._workload.think_time_s))

    async def _arrive(self) -> None:
        """The open loop and the trace: each request when it is due, whatever became of the others."""
        for index, arrival in enumerate(schedule(self._workload)):
            if index % self._orders.of == self._orders.number:
                due_s = self._orders.start_s + arrival.offset_s
                await self._until(due_s)
                self._spawn(self._one(index, arrival, due_s))
        self._exhausted = True

    async def _one(self, index: int, arrival: Arrival, due_s: float) -> None:
        await self._converse(index, arrival, due_s, None)

    async def _converse(
        self, index: int, arrival: Arrival | None, due_s: float, user: int | None, *, started: bool = True
    ) -> bool:
        """One request, or a conversation of several; whether all went well."""
        if self._workload.turns is None:
            index += self._orders.first_index
            return await self._send(self._planner.request(index, arrival, started=started), due_s, user) is not None
        rng, said = random.Random(f"{self._workload.seed}:turns {index}"), list[dict[str, str]]()
        for turn in range(min(draw(self._workload.turns, rng), _TURNS)):
            number = self._orders.first_index + index * _TURNS + turn
            request, words = self._planner.turn(number, said, started=started or turn > 0)
            stream = await self._send(request, perf_counter() if turn else due_s, user)
            if stream is None:
                return False
            said += [{"role": "user", "content": words}, {"role": "assistant", "content": stream.text()}]
            if self._workload.think_time_s:
                await asyncio.sleep(rng.expovariate(1 / self._workload.think_time_s))
        return True

    async def _send(self, request: PlannedRequest, due_s: float, user: int | None) -> EventStream | None:
        """One request, from its first byte out to the last byte in. Whatever goes wrong becomes the record's `error`."""
        stream = EventStream(keep=self._workload.turns is not None)
        data = self._address.request(request.body)
        usage, error = None, None
        sent_s = perf_counter()
        scheduled_s = due_s if self._workload.users is None else sent_s
        self._open[request.index] = scheduled_s, sent_s
        self._streams[request.index] = stream
        try:
            await self._connections.exchange(data, stream)
            usage = stream.finish()
            error = _mismatch(request, usage, stream)
        except StreamError as problem:
            error = str(problem)
        except TimeoutError:
            error = f"no byte came for {self._workload.stall_s:g} s"
        except OSError as problem:
            error = f"the connection failed: {str(problem) or type(problem).__name__}"
        finally:
            del self._open[request.index], self._streams[request.index]
            self._events += stream.events
        self._keep(_record(request, scheduled_s, sent_s, stream, usage, error), user)
        return stream if error is None else None

    def _keep(self, record: RequestRecord, user: int | None) -> None:
        self._ended += 1
        if record.error is not None:
            self._failed += 1
            self._first_error = self._first_error or record.error
        if user is not None:
            self._unanswered.discard(user)
        if record.scheduled_s < self._end_s:
            self._records.append(record)

    def _unfinished(self, index: int) -> RequestRecord:
        scheduled_s, sent_s = self._open[index]
        return RequestRecord(
            index=index,
            scheduled_s=scheduled_s,
            sent_s=sent_s,
            ended_s=perf_counter(),
            chunk_times_s=(),
            input_tokens=None,
            output_tokens=None,
            error=f"not ended {self._workload.stall_s:g} s after the window",
        )

    # what runs beside them

    async def _tell(self, writer: asyncio.StreamWriter) -> None:
        tick = 0
        while True:
            tick += 1
            await self._until(self._orders.start_s + tick * self._orders.tick_s)
            send(writer, self._progress(tick))

    def _progress(self, tick: int) -> Progress:
        running = sum(stream.events for stream in self._streams.values())
        if self._unanswered:
            users = self._workload.users or 1
            index_of = {self._user_of(index, users): stream for index, stream in self._streams.items()}
            self._unanswered -= {user for user, stream in index_of.items() if stream.has_output}
        meter = self._connections.meter
        return Progress(
            tick=tick,
            time_s=perf_counter(),
            cpu_s=process_time(),
            events=self._events + running,
            ended=self._ended,
            failed=self._failed,
            first_error=self._first_error,
            open=len(self._open),
            sampled_open=sum(due_s < self._end_s for due_s, _ in self._open.values()),
            unanswered=len(self._unanswered),
            last_byte_s=meter.last_byte_s,
            delay_s=meter.delay_s,
            reads=meter.reads,
            exhausted=self._exhausted,
        )

    def _user_of(self, index: int, users: int) -> int:
        index -= self._orders.first_index
        return (index // _TURNS if self._workload.turns else index) % users

    async def _probe(self) -> None:
        """By how much timers are late: what stops the whole process shows here."""
        while True:
            due_s = perf_counter() + _LAG_PROBE_S
            await asyncio.sleep(_LAG_PROBE_S)
            now_s = perf_counter()
            self._lag_times_s.append(now_s)
            self._lags_s.append(max(0.0, now_s - due_s))

    async def _sweep(self) -> None:
        """Ends requests that get no byte for stall_s."""
        longest_s = self._workload.stall_s + STALL_MARGIN_S
        while True:
            await asyncio.sleep(_SWEEP_S)
            now_s = perf_counter()
            for connection in list(self._connections.busy):
                if now_s - connection.last_byte_s > longest_s:
                    connection.abort(TimeoutError())

    async def _until(self, time_s: float) -> None:
        while (left_s := time_s - perf_counter()) > 0:
            await asyncio.sleep(left_s)


def _record(
    request: PlannedRequest,
    scheduled_s: float,
    sent_s: float,
    stream: EventStream,
    usage: Usage | None,
    error: str | None,
) -> RequestRecord:
    return RequestRecord(
        index=request.index,
        scheduled_s=scheduled_s,
        sent_s=sent_s,
        ended_s=perf_counter(),
        chunk_times_s=stream.output_times_s(),
        input_tokens=usage.prompt_tokens if usage else None,
        output_tokens=usage.completion_tokens if usage else None,
        error=error,
    )


def _mismatch(request: PlannedRequest, usage: Usage, stream: EventStream) -> str | None:
    if request.input_tokens is not None and usage.prompt_tokens != request.input_tokens:
        return f"the server counts {usage.prompt_tokens} prompt tokens, sent were {request.input_tokens}"
    if request.output_tokens is not None and usage.completion_tokens != request.output_tokens:
        return f"the answer has {usage.completion_tokens} tokens, asked were {request.output_tokens}"
    return None if stream.output_times_s() else "no chunk of the answer carries output"


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
