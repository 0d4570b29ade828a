"""Requests and the time of a step in; when each token comes out, as vLLM's V1 scheduler would have it. Pure.

A discrete-event simulation of one engine and its API servers. Each step takes one token for every running sequence first, then
chunks of prompts while the token budget lasts; a request is admitted while there are sequences and KV cache left, and when the
cache is full the sequence that came last is preempted and computed again (vllm/v1/core/sched/scheduler.py). Steps in which
nothing begins or ends are taken together.

Every request and every token passes the API servers (tuner/predict/front.py).
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from tuner.predict.front import ApiServers
from tuner.predict.settings import Settings
from tuner.predict.step import Steps

#: So many steps at most are taken as one: their time is that of the middle one.
_MOST_AT_ONCE = 64


class Event(NamedTuple):
    """Tokens that reach the client: those since the request's last event. Its first has 1."""

    time_s: float
    number: int
    tokens: int
    finished: bool


@dataclass(slots=True, eq=False)
class _Request:
    number: int
    input_tokens: int
    output_tokens: int
    every: int
    computed: int  # tokens of the prompt that are in the cache
    made: int = 0  # output tokens when it began to decode; while it waits, those of before it was preempted
    prompt: int = 0  # tokens that it had in the cache when it began to decode
    begun: int = 0  # the count of decode steps then
    told: int = 0  # output tokens that events have told


class Server:
    """One server in simulated time; `noise` gives the factor of a step's time."""

    def __init__(
        self, steps: Steps, settings: Settings, kv_cache_tokens: int, noise: Callable[[], float] = lambda: 1.0
    ) -> None:
        self._steps, self._settings, self._noise, self._capacity = steps, settings, noise, kv_cache_tokens
        self._front = ApiServers[_Request](steps.rates, settings)
        self._now_s, self._last_s = 0.0, 0.0  # until when steps are simulated, and how long the last one was
        self._waiting: deque[_Request] = deque()
        self._prefilling: dict[int, _Request] = {}
        self._decoding: dict[int, _Request] = {}
        # the decode step at which a request ends or has something to tell, and its number
        self._marks: list[tuple[int, int]] = []
        self.turns = 1  # how many engines work on its GPU, itself among them
        self._owed = 0.0  # accepted tokens that make no whole one yet
        self._slack = settings.block_size // 2  # half a block of each sequence is empty on the mean
        self._longest = settings.long_prefill_token_threshold or settings.max_num_batched_tokens
        self._budget = settings.max_num_batched_tokens * settings.pipeline_parallel_size  # of each batch in flight
        self._decoded = 0  # decode steps so far: each gives every decoding sequence one token
        self._context = self._filled = 0  # tokens in the cache, of the decoding sequences and of those being read
        self._out: list[Event] = []
        self.preemptions = self.prompt_tokens = self.cached_tokens = self.generation_tokens = self.steps_done = 0
        self.gpu_s = self.host_s = 0.0

    @property
    def now_s(self) -> float:
        """Until when steps have been simulated."""
        return self._now_s

    @property
    def running(self) -> int:
        return len(self._decoding) + len(self._prefilling)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def kv_cache_usage(self) -> float:
        """The share of the KV cache that is taken, 0..1."""
        return min(1.0, 1 - self._free() / self._capacity) if self._capacity else 0.0

    @property
    def next_s(self) -> float | None:
        """When something happens next: a token arrives or a step begins; None while there is nothing to do."""
        busy = self._decoding or self._prefilling or self._waiting
        next_s = self._now_s if busy else max(self._now_s, self._front.next_s)
        if self._out and self._out[0].time_s < next_s:
            return self._out[0].time_s
        return None if next_s == inf else next_s

    @property
    def front_s(self) -> float:
        """How long the API servers have worked."""
        return self._front.busy_s

    def submit(
        self, number: int, input_tokens: int, output_tokens: int, at_s: float, *, cached_tokens: int = 0, every: int = 0
    ) -> None:
        """A request that reaches the API server at `at_s`, not before the one submitted last. `cached_tokens` of its prompt are
        in the prefix cache. Its first and last tokens make events, with `every` > 0 also each `every` tokens in between."""
        cached = min(cached_tokens, input_tokens - 1)
        self._front.submit(number, _Request(number, input_tokens, max(1, output_tokens), every, cached), at_s)

    def abort(self, number: int) -> None:
        """The client of a request has gone: no more events of it."""
        if (request := self._decoding.pop(number, None)) is not None:
            self._context -= self._length(request)
        elif (request := self._prefilling.pop(number, None)) is not None:
            self._filled -= request.computed
        elif any(request.number == number for request in self._waiting):
            self._waiting = deque(request for request in self._waiting if request.number != number)
        else:
            self._front.withdraw(number)
        self._out = [event for event in self._out if event.number != number]
        heapq.heapify(self._out)

    def advance(self, until_s: float) -> list[Event]:
        """All events until then, in order of time. Steps that begin later are not simulated: requests may still arrive."""
        found = []
        while (event := self.next_event(until_s)) is not None:
            found.append(event)
        return found

    def next_event(self, until_s: float = inf) -> Event | None:
        """The next one if it comes until then. No step is simulated that begins after it: its client may answer."""
        while self._step(min(until_s, self._out[0].time_s) if self._out else until_s):
            pass
        return heapq.heappop(self._out) if self._out and self._out[0].time_s <= until_s else None

    def _step(self, until_s: float) -> bool:
        """One step, or several in which nothing begins or ends; False when none begins by then."""
        if not (self._decoding or self._prefilling or self._waiting):
            arrival_s = self._front.next_s
            if arrival_s > until_s:
                return False
            self._now_s = max(self._now_s, arrival_s)
            self._front.idle(self._now_s)
        if self._now_s > until_s:
            return False
        arrived, came = self._front.take(self._now_s)
        self._waiting.extend(arrived)
        preempted = self._make_room()
        if chunks := self._schedule(preempted):
            self._mixed(chunks)
        elif self._decoding:
            self._decode(1 if preempted else self._most_steps(), until_s)
        else:
            return came
        return True

    def _make_room(self) -> bool:
        """Preempt from the last one on until every decoding sequence has room for a token; whether any was."""
        preempted = False
        while self._free() < len(self._decoding) and len(self._decoding) + len(self._prefilling) > 1:
            if self._prefilling:
                _, request = self._prefilling.popitem()
                self._filled -= request.computed
            else:
                _, request = self._decoding.popitem()
                self._context -= self._length(request)
                request.made += self._decoded - request.begun
            request.computed = 0
            self._waiting.appendleft(request)
            self.preemptions += 1
            preempted = True
        return preempted

    def _schedule(self, preempted: bool) -> list[tuple[_Request, int]]:
        """The prompts' chunks of the next step. Waiting requests are admitted in their order."""
        budget = self._budget - len(self._decoding) * (1 + self._settings.speculative_tokens)
        free = self._free() - len(self._decoding)
        chunks = []
        for request in self._prefilling.values():
            left = request.input_tokens + request.made - request.computed
            if (chunk := min(budget, self._longest, left, free)) > 0:
                chunks.append((request, chunk))
                budget, free = budget - chunk, free - chunk
        while self._waiting and budget > 0 and not preempted and self.running < self._settings.max_num_seqs:
            request = self._waiting[0]
            left = request.input_tokens + request.made - request.computed
            chunk = min(budget, self._longest, left)
            whole = chunk == left or self._settings.enable_chunked_prefill
            if not whole or request.computed + left + self._slack > free:  # scheduler_reserve_full_isl
                break
            self._waiting.popleft()
            self._prefilling[request.number] = request
            self._filled += request.computed
            self.prompt_tokens += 0 if request.made else request.input_tokens
            self.cached_tokens += request.computed
            chunks.append((request, chunk))
            budget, free = budget - chunk, free - chunk - request.computed
        return chunks

    def _mixed(self, chunks: list[tuple[_Request, int]]) -> None:
        """A step with prompts in it."""
        sequences = len(self._decoding)
        step = self._steps.step(sequences, self._context, [(chunk, request.computed) for request, chunk in chunks])
        self._pass(1, self._steps.duration_s(step, self.turns), self._steps.on_gpu_s(step, self.turns), step.host_s)
        self._owed += self._steps.tokens_a_step  # whole tokens: the rest is given in later steps
        each = int(self._owed)
        self._owed -= each
        self._decoded += each
        self._context += sequences * each
        told, tokens = self._due(), sequences * each
        for request, chunk in chunks:
            request.computed += chunk
            self._filled += chunk
            if request.computed == request.input_tokens + request.made:
                told.append(self._begin(request))
                tokens += 1
        self.generation_tokens += tokens
        self._tell(told, tokens, 1)

    def _begin(self, request: _Request) -> tuple[_Request, int, bool]:
        """Its prompt is in the cache and one token is made: it decodes from now on."""
        del self._prefilling[request.number]
        self._filled -= request.computed
        request.prompt, request.begun, request.made = request.computed, self._decoded, request.made + 1
        new, request.told = request.made - request.told, request.made
        if request.made == request.output_tokens:
            return request, new, True
        self._decoding[request.number] = request
        self._context += request.prompt
        heapq.heappush(self._marks, (self._next_mark(request), request.number))
        return request, new, False

    def _decode(self, most: int, until_s: float) -> None:
        """Up to `most` steps without prompts, of which only the last one has something to tell."""
        sequences = len(self._decoding)
        step = self._steps.decode(sequences, self._context)
        each_s = self._steps.duration_s(step, self.turns)
        until_s = min(until_s, self._front.next_s)
        if until_s < inf:
            most = min(most, max(0, int((until_s - self._now_s) / each_s)) + 1)
        if most > 2:
            step = self._steps.decode(sequences, self._context + sequences * (most // 2))
            each_s = self._steps.duration_s(step, self.turns)
        self._pass(most, each_s, self._steps.on_gpu_s(step, self.turns), step.host_s)
        self._decoded += most
        self._context += sequences * most
        self.generation_tokens += sequences * most
        self._tell(self._due(), sequences, most)

    def _most_steps(self) -> int:
        """How many steps there are until a sequence ends or tells something, or the cache is full."""
        while self._marks and not self._is_due(*self._marks[0]):
            heapq.heappop(self._marks)
        room = self._free() // len(self._decoding)
        return max(1, min(self._marks[0][0] - self._decoded, room, _MOST_AT_ONCE))

    def _due(self) -> list[tuple[_Request, int, bool]]:
        """The requests with something to tell after the last step: new tokens, and whether those were the last."""
        found = []
        while self._marks and self._marks[0][0] <= self._decoded:
            mark, number = heapq.heappop(self._marks)
            if not self._is_due(mark, number):
                continue
            request = self._decoding[number]
            made = request.made + self._decoded - request.begun
            if finished := made >= request.output_tokens:  # drafts that are accepted beyond its end are for nothing
                self.generation_tokens -= made - request.output_tokens
                made = request.output_tokens
            found.append((request, made - request.told, finished))
            request.told = made
            if finished:
                self._context -= self._length(request)
                del self._decoding[number]
            else:
                heapq.heappush(self._marks, (self._next_mark(request), number))
        return found

    def _tell(self, told: list[tuple[_Request, int, bool]], tokens: int, steps: int) -> None:
        """Pass the output of `steps` equal steps on; of the last one each request's in its turn."""
        sent_s, work_s = self._front.send(self._now_s, steps, self._last_s, tokens)
        for place, (request, new, finished) in enumerate(told):
            time_s = sent_s - work_s * (1 - (place + 0.5) / len(told))
            heapq.heappush(self._out, Event(time_s, request.number, new, finished))

    def _pass(self, steps: int, each_s: float, gpu_s: float, host_s: float) -> None:
        self._last_s = each_s * self._noise()
        self._now_s += steps * self._last_s
        self.steps_done += steps
        self.gpu_s += steps * gpu_s
        self.host_s += steps * host_s

    def _next_mark(self, request: _Request) -> int:
        """The decode step after which it has something to tell."""
        end = request.begun + request.output_tokens - request.made
        return min(end, request.begun + request.told + request.every - request.made) if request.every else end

    def _is_due(self, mark: int, number: int) -> bool:
        """Whether a mark is still true: the request may have been preempted or aborted since."""
        return number in self._decoding and self._next_mark(self._decoding[number]) == mark

    def _length(self, request: _Request) -> int:
        """Tokens of a decoding sequence in the cache."""
        return request.prompt + self._decoded - request.begun

    def _free(self) -> int:
        running = len(self._decoding) + len(self._prefilling)
        return self._capacity - self._context - self._filled - running * self._slack
