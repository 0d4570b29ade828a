"""Requests in, their records out: what one worker of the load generator has open, and what has ended. Knows no user."""

from array import array
from dataclasses import dataclass
from math import inf
from time import perf_counter

from tuner.load.connection import Connections, address_of
from tuner.load.counting import Counter
from tuner.load.limits import local_error
from tuner.load.messages import End
from tuner.load.prompts import PlannedRequest
from tuner.load.stream import EventStream, NoUsage, StreamError, Usage
from tuner.types import Endpoint, RequestRecord, Target, Workload

#: When all requests stall, that is found before each one of them has failed.
_STALL_MARGIN_S = 0.5


@dataclass(slots=True, eq=False)
class _Open:
    """A request on its way. It was `passed_s` when one that was sent later had its first output before it (inf: not yet)."""

    request: PlannedRequest
    scheduled_s: float
    sent_s: float
    stream: EventStream
    passed_s: float = inf
    ended_s: float | None = None

    @property
    def prompt_tokens(self) -> int:
        """0 where lengths are not ours."""
        return (self.request.input_tokens or 0) if self.request.output_tokens else 0


class Sender:
    """Sends requests of one workload; `events`, `ended`, `failed`, `first_error`, `client_error`, `prompt_tokens`,
    `answered_events`, `answered_tokens`, `answered_asked` and `longest_s` are totals since the start, as `Progress` has
    them."""

    def __init__(self, target: Target, workload: Workload) -> None:
        self._workload = workload
        self._address = address_of(target, "v1/chat/completions" if workload.api == "chat" else "v1/completions")
        self._connections = Connections(self._address)
        self._counter = Counter(self._connections, target)
        self._is_ours = isinstance(target, Endpoint)
        self._tells_usage = False
        self._records: list[RequestRecord] = []
        self._end_s = inf
        self._ended_events = self._whole_chunks = self._whole_tokens = 0
        self.meter = self._connections.meter
        self.open: dict[int, _Open] = {}
        self._ended_prompts = 0
        self._answered = array("d")
        self.ended = self.failed = self.answered_events = self.answered_tokens = self.answered_asked = 0
        self.longest_s = 0.0
        self.first_error: str | None = None
        self.client_error: str | None = None

    @property
    def events(self) -> int:
        return self._ended_events + sum(one.stream.events for one in self.open.values())

    @property
    def prompt_tokens(self) -> int:
        return self._ended_prompts + sum(one.prompt_tokens for one in self.open.values() if one.stream.has_output)

    def take_answered(self) -> "array[float]":
        """What `Progress` calls so, since the last call."""
        taken, self._answered = self._answered, array("d")
        return taken

    @property
    def sampled_open(self) -> int:
        """The open requests that will have a record."""
        return sum(one.scheduled_s < self._end_s for one in self.open.values())

    @property
    def oldest_due_s(self) -> float:
        """When the first of the open requests was due; inf without any."""
        return min((one.scheduled_s for one in self.open.values()), default=inf)

    def answered(self) -> list[int]:
        """The open requests that have output."""
        return [index for index, one in self.open.items() if one.stream.has_output]

    def projected_s(self) -> float:
        """The longest that a sampled open request will take, if it goes on as it has; 0 before the window's end."""
        now_s, most = perf_counter(), self._workload.output_tokens.high
        longest_s = 0.0
        for one in self.open.values():
            if one.scheduled_s < self._end_s < inf and one.stream.has_output:
                asked, first_s = one.request.output_tokens or most, one.stream.first_s
                whole_s = first_s - one.scheduled_s + (now_s - first_s) * asked / max(1, one.stream.events - 1)
                longest_s = max(longest_s, whole_s)
        return longest_s

    async def send(self, request: PlannedRequest, due_s: float | None) -> EventStream | None:
        """One request, from its first byte out to the last byte in; None if anything went wrong, which is the record's `error`.
        Without `due_s` it is due now."""
        stream = EventStream(keep=self._workload.turns is not None or not (self._is_ours or self._tells_usage))
        data = self._address.request(request.body)
        usage, error, is_counted = None, None, False
        sent_s = perf_counter()
        one = _Open(request, sent_s if due_s is None else due_s, sent_s, stream)
        self.open[request.index] = one
        try:
            await self._connections.exchange(data, stream)
            one.ended_s = perf_counter()
            try:
                usage, self._tells_usage = stream.finish(), True
            except NoUsage:
                if self._is_ours:
                    raise
                usage, is_counted = await self._count(request, stream), True
            error = _mismatch(request, usage, stream, is_ours=self._is_ours)
        except StreamError as problem:
            error = str(problem)
        except TimeoutError:
            error = f"no byte came for {self._workload.stall_s:g} s"
        except OSError as problem:
            self.client_error = self.client_error or local_error(problem)
            error = f"the connection failed: {str(problem) or type(problem).__name__}"
        finally:
            del self.open[request.index]
            self._ended_events += stream.events
            self._ended_prompts += one.prompt_tokens
        record = _record(one, usage, error, is_counted=is_counted)
        self._keep(record)
        if error is None:
            self._tell(record, stream.events)
        return stream if error is None else None

    def end(self, end: End) -> None:
        """From now on nothing gets a record but what was due before the end."""
        self._end_s = end.end_s
        self._records = [r for r in self._records if r.scheduled_s < end.end_s and r.ended_s >= end.from_s]

    def records(self) -> tuple[RequestRecord, ...]:
        """Those of the sampled requests; what is still open is censored."""
        chunk_tokens = self._whole_tokens / self._whole_chunks if self._whole_chunks else 1.0
        cut = (_censored(one, chunk_tokens) for one in self.open.values() if one.scheduled_s < self._end_s)
        return (*self._records, *cut)

    def end_silent(self) -> None:
        """End the requests that got no byte for stall_s. One that waits for its first byte is not silent but queued, until one
        that was sent later has been answered."""
        longest_s, now_s = self._workload.stall_s + _STALL_MARGIN_S, perf_counter()
        newest_s = max((one.sent_s for one in self.open.values() if one.stream.events), default=-inf)
        connections = {stream: connection for connection, stream in self._connections.busy.items()}
        for one in self.open.values():
            if one.sent_s < newest_s:
                one.passed_s = min(one.passed_s, now_s)
            if (connection := connections.get(one.stream)) is not None:
                since_s = connection.last_byte_s if one.stream.events else max(connection.last_byte_s, one.passed_s)
                if now_s - since_s > longest_s:
                    connection.abort(TimeoutError())

    def close(self) -> None:
        self._connections.close()

    async def _count(self, request: PlannedRequest, stream: EventStream) -> Usage:
        return await self._counter.usage(request, stream.text(whole=True), len(stream.output_times_s()))

    def _tell(self, record: RequestRecord, events: int) -> None:
        tokens = record.output_tokens or 0
        self._answered.extend((record.scheduled_s, record.chunk_times_s[0], record.chunk_times_s[-1], tokens))
        self.answered_events += events
        self.answered_tokens += tokens
        self.answered_asked += record.asked_tokens or 0

    def _keep(self, record: RequestRecord) -> None:
        self.ended += 1
        if record.error is not None:
            self.failed += 1
            self.first_error = self.first_error or record.error
        else:
            self.longest_s = max(self.longest_s, record.ended_s - record.scheduled_s)
            self._whole_chunks += len(record.chunk_times_s) - 1
            self._whole_tokens += (record.output_tokens or 1) - 1
        if record.scheduled_s < self._end_s:
            self._records.append(record)


def _record(one: _Open, usage: Usage | None, error: str | None, *, is_counted: bool) -> RequestRecord:
    stream = one.stream
    return RequestRecord(
        index=one.request.index,
        scheduled_s=one.scheduled_s,
        sent_s=one.sent_s,
        ended_s=one.ended_s or perf_counter(),
        chunk_times_s=stream.output_times_s(),
        input_tokens=usage.prompt_tokens if usage else None,
        output_tokens=usage.completion_tokens if usage else None,
        error=error,
        asked_tokens=one.request.asked_tokens,
        asked_input_tokens=one.request.input_tokens,
        is_counted=is_counted,
        text_bytes=stream.text_bytes,
        first_text_bytes=stream.first_text_bytes,
        hidden_tokens=usage.hidden_tokens if usage else 0,
    )


def _censored(one: _Open, chunk_tokens: float) -> RequestRecord:
    """An open request as far as it came; its chunks after the first hold as many tokens as others' did."""
    times_s = one.stream.output_times_s()
    return RequestRecord(
        index=one.request.index,
        scheduled_s=one.scheduled_s,
        sent_s=one.sent_s,
        ended_s=perf_counter(),
        chunk_times_s=times_s,
        input_tokens=one.request.input_tokens,
        output_tokens=1 + round((len(times_s) - 1) * chunk_tokens) if times_s else None,
        error=None,
        censored=True,
    )


def _mismatch(request: PlannedRequest, usage: Usage, stream: EventStream, *, is_ours: bool) -> str | None:
    """What is wrong with an answer that is whole. Only a server that is ours must give what was asked for: what another one
    gives instead is told of the whole measurement."""
    if is_ours and request.input_tokens is not None and usage.prompt_tokens != request.input_tokens:
        return f"the server counts {usage.prompt_tokens} prompt tokens, sent were {request.input_tokens}"
    if is_ours and request.output_tokens is not None and usage.completion_tokens != request.output_tokens:
        return f"the answer has {usage.completion_tokens} tokens, asked were {request.output_tokens}"
    if not stream.output_times_s() or not usage.completion_tokens:
        return f"the answer is empty: {usage.completion_tokens} tokens, and no chunk of it carries output"
    return None
