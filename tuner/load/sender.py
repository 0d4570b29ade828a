"""Requests in, their records out: what one worker of the load generator has open, and what has ended. Knows no user."""

from array import array
from time import perf_counter

from tuner.load.connection import Connections, address_of
from tuner.load.messages import End
from tuner.load.prompts import PlannedRequest
from tuner.load.stream import EventStream, StreamError, Usage
from tuner.types import RequestRecord, Target, Workload

#: When all requests stall, that is found before each one of them has failed.
_STALL_MARGIN_S = 0.5


class Sender:
    """Sends requests of one workload; `events`, `ended`, `failed`, `first_error`, `prompt_tokens`, `answered_events` and
    `answered_tokens` are totals since the start, as `Progress` has them."""

    def __init__(self, target: Target, workload: Workload) -> None:
        self._workload = workload
        self._address = address_of(target, "v1/chat/completions" if workload.api == "chat" else "v1/completions")
        self._connections = Connections(self._address)
        self._records: list[RequestRecord] = []
        self._end_s = float("inf")
        self._ended_events = 0
        self.meter = self._connections.meter
        self.open: dict[int, tuple[float, float, EventStream]] = {}  # index -> scheduled_s, sent_s, what has come
        self._prompts: dict[int, int] = {}  # index -> prompt tokens, of open requests
        self._ended_prompts = 0
        self._answered = array("d")
        self.ended = self.failed = self.answered_events = self.answered_tokens = 0
        self.first_error: str | None = None

    @property
    def events(self) -> int:
        return self._ended_events + sum(stream.events for _, _, stream in self.open.values())

    @property
    def prompt_tokens(self) -> int:
        return self._ended_prompts + sum(
            self._prompts[index] for index, (_, _, stream) in self.open.items() if stream.has_output
        )

    def take_answered(self) -> "array[float]":
        """What `Progress` calls so, since the last call."""
        taken, self._answered = self._answered, array("d")
        return taken

    @property
    def sampled_open(self) -> int:
        """The open requests that will have a record."""
        return sum(due_s < self._end_s for due_s, _, _ in self.open.values())

    async def send(self, request: PlannedRequest, due_s: float | None) -> EventStream | None:
        """One request, from its first byte out to the last byte in; None if anything went wrong, which is the record's `error`.
        Without `due_s` it is due now."""
        stream = EventStream(keep=self._workload.turns is not None)
        data = self._address.request(request.body)
        usage, error = None, None
        sent_s = perf_counter()
        scheduled_s = sent_s if due_s is None else due_s
        self.open[request.index] = scheduled_s, sent_s, stream
        self._prompts[request.index] = (request.input_tokens or 0) if request.output_tokens else 0
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
            del self.open[request.index]
            self._ended_events += stream.events
            self._ended_prompts += self._prompts.pop(request.index)
        record = _record(request.index, scheduled_s, sent_s, stream, usage, error)
        self._keep(record)
        if error is None:
            self._tell(record, stream.events)
        return stream if error is None else None

    def end(self, end: End) -> None:
        """From now on nothing gets a record but what was due before the end."""
        self._end_s = end.end_s
        self._records = [r for r in self._records if r.scheduled_s < end.end_s and r.ended_s >= end.from_s]

    def records(self) -> tuple[RequestRecord, ...]:
        """Those of the sampled requests; one that is still open is an error."""
        error = f"not ended {self._workload.stall_s:g} s after the window"
        unfinished = (
            _record(index, due_s, sent_s, EventStream(), None, error)
            for index, (due_s, sent_s, _) in self.open.items()
            if due_s < self._end_s
        )
        return (*self._records, *unfinished)

    def end_stalled(self) -> None:
        """End the requests that got no byte for stall_s."""
        longest_s, now_s = self._workload.stall_s + _STALL_MARGIN_S, perf_counter()
        for connection in list(self._connections.busy):
            if now_s - connection.last_byte_s > longest_s:
                connection.abort(TimeoutError())

    def close(self) -> None:
        self._connections.close()

    def _tell(self, record: RequestRecord, events: int) -> None:
        tokens = record.output_tokens or 0
        self._answered.extend((record.scheduled_s, record.chunk_times_s[0], record.chunk_times_s[-1], tokens))
        self.answered_events += events
        self.answered_tokens += tokens

    def _keep(self, record: RequestRecord) -> None:
        self.ended += 1
        if record.error is not None:
            self.failed += 1
            self.first_error = self.first_error or record.error
        if record.scheduled_s < self._end_s:
            self._records.append(record)


def _record(
    index: int, scheduled_s: float, sent_s: float, stream: EventStream, usage: Usage | None, error: str | None
) -> RequestRecord:
    return RequestRecord(
        index=index,
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
