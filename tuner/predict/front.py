"""Requests and the engine's output in; when each reaches the engine, or the clients, out: the API servers of a server. Pure.

An API server is one event loop, and its time goes to output first: requests are read in what is left. So when the tokens of the
sequences that run take all of it, new requests starve until fewer run. That is why TTFT is seconds under many users while the
engine waits for nothing, and why a larger `stream_interval` or more API servers mend it. Besides, a request on its way in needs
many turns of the loop, and each waits behind the output of a step as often as there is some. It knows no scheduler.
"""

import heapq
from collections import deque
from math import inf
from typing import Generic, TypeVar

from tuner.predict.settings import Settings
from tuner.predict.step import Rates

Request = TypeVar("Request")

#: The share of its time that an API server reads requests in, however much output there is.
_LEAST_READING = 0.03


class ApiServers(Generic[Request]):
    """All of a server, as one that is as many times as fast. `busy_s` is how long they worked."""

    def __init__(self, rates: Rates, settings: Settings) -> None:
        share = rates.front / settings.api_server_count
        self._read_s, self._turns = rates.request_s * share, rates.request_turns
        self._output_s = (rates.token_s + rates.chunk_s / settings.stream_interval) * share  # of a token
        self._sent_s = 0.0  # until when they are busy with output
        self._reader_s, self._unread_s = (
            0.0,
            self._read_s,
        )  # until when they have read; what is left of the first request
        self._turn_s = 0.0  # what a turn of the loop waits for output
        self._coming: deque[tuple[float, int, Request]] = deque()
        self._ready: list[tuple[float, int, Request]] = []
        self._withdrawn: set[int] = set()
        self.busy_s = 0.0

    @property
    def next_s(self) -> float:
        """When the engine gets its next request, as far as is known; inf if none is on its way."""
        ready_s = self._ready[0][0] if self._ready else inf
        if self._coming:
            ready_s = min(ready_s, max(self._reader_s, self._coming[0][0]) + self._unread_s)
        return ready_s

    def submit(self, number: int, request: Request, at_s: float) -> None:
        """A request that comes at `at_s`, not before the one submitted last."""
        self._coming.append((at_s, number, request))

    def withdraw(self, number: int) -> None:
        """Its client has gone before the engine had it: it is still read, but goes no further."""
        self._withdrawn.add(number)

    def take(self, now_s: float) -> tuple[list[Request], bool]:
        """The requests that have reached the engine by now, and whether any had, those that were withdrawn among them."""
        found, came = [], False
        while self._ready and self._ready[0][0] <= now_s:
            _, number, request = heapq.heappop(self._ready)
            came = True
            if number in self._withdrawn:
                self._withdrawn.discard(number)
            else:
                found.append(request)
        return found, came

    def idle(self, until_s: float) -> None:
        """The engine makes nothing until then."""
        self._turn_s = 0.0
        self._read(until_s, 1.0)

    def send(self, now_s: float, steps: int, each_s: float, tokens: int) -> tuple[float, float]:
        """The output of `steps` equal steps of `each_s`, the last of which ends now, and requests are read in the time that
        is left. When the last step's output has been sent, and how long that took."""
        work_s, began_s = tokens * self._output_s, now_s - steps * each_s
        late_s = max(0.0, self._sent_s - began_s)
        self._sent_s = max(max(self._sent_s, began_s + each_s) + steps * work_s, now_s + work_s)
        self.busy_s += steps * work_s
        # the output of the last step comes at its end, and takes its time from the next
        busy = min(1.0, (late_s + (steps - 1) * work_s) / (steps * each_s))
        self._turn_s = busy * work_s / 2
        self._read(now_s, max(_LEAST_READING, 1 - busy))
        return self._sent_s, work_s

    def _read(self, until_s: float, share: float) -> None:
        """Read what has come, with this share of their time."""
        while self._coming and (start_s := max(self._reader_s, self._coming[0][0])) < until_s:
            ready_s = start_s + self._unread_s / share
            if ready_s > until_s:
                self._unread_s -= (until_s - start_s) * share
                self._reader_s = until_s
                return
            _, number, request = self._coming.popleft()
            self._reader_s, self._unread_s = ready_s, self._read_s
            self.busy_s += self._read_s
            heapq.heappush(self._ready, (ready_s + self._turns * self._turn_s, number, request))
