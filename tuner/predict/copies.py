"""A model's shape, a card and settings in; a server in simulated time out, of one copy of the model or of several. Pure.

Data parallelism: each copy is an engine with a scheduler and a KV cache of its own, and a request goes to the one with the
fewest (vLLM's v1/engine/core_client.py, DPLBAsyncMPClient). Of the API servers each copy has a share. Where several share a
GPU, those that have requests take turns on it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from statistics import fmean

from tuner.predict.memory import Memory
from tuner.predict.serve import Event, Server
from tuner.predict.settings import Settings
from tuner.predict.shape import Shape
from tuner.predict.step import Rates, Steps
from tuner.space.gpus import Gpu


class Copies:
    """As `tuner.predict.serve.Server`, of equal servers, of which `sharing` are on each GPU. Counters are sums, times and usage
    means of the copies, a GPU's time the sum of those on it."""

    def __init__(self, servers: Sequence[Server], sharing: int = 1) -> None:
        self._servers, self._sharing = tuple(servers), sharing
        self._due_s = [inf] * len(servers)  # when something happens next, of each
        self._held = [0] * len(servers)  # open requests
        self._places: dict[int, int] = {}  # of each open request
        self._turn = 0

    @property
    def now_s(self) -> float:
        return max(server.now_s for server in self._servers)

    @property
    def next_s(self) -> float | None:
        found = min(self._due_s)
        return None if found == inf else found

    @property
    def running(self) -> int:
        return sum(server.running for server in self._servers)

    @property
    def waiting(self) -> int:
        return sum(server.waiting for server in self._servers)

    @property
    def kv_cache_usage(self) -> float:
        return fmean(server.kv_cache_usage for server in self._servers)

    @property
    def front_s(self) -> float:
        return fmean(server.front_s for server in self._servers)

    @property
    def gpu_s(self) -> float:
        return self._sharing * fmean(server.gpu_s for server in self._servers)

    @property
    def host_s(self) -> float:
        return fmean(server.host_s for server in self._servers)

    @property
    def preemptions(self) -> int:
        return sum(server.preemptions for server in self._servers)

    @property
    def prompt_tokens(self) -> int:
        return sum(server.prompt_tokens for server in self._servers)

    @property
    def cached_tokens(self) -> int:
        return sum(server.cached_tokens for server in self._servers)

    @property
    def generation_tokens(self) -> int:
        return sum(server.generation_tokens for server in self._servers)

    @property
    def steps_done(self) -> int:
        return sum(server.steps_done for server in self._servers)

    def submit(
        self, number: int, input_tokens: int, output_tokens: int, at_s: float, *, cached_tokens: int = 0, every: int = 0
    ) -> None:
        """To the copy with the fewest open requests; among equals, to each in its turn."""
        place = min(
            range(len(self._servers)), key=lambda one: (self._held[one], (one - self._turn) % len(self._servers))
        )
        self._turn = (place + 1) % len(self._servers)
        self._held[place], self._places[number] = self._held[place] + 1, place
        self._servers[place].submit(number, input_tokens, output_tokens, at_s, cached_tokens=cached_tokens, every=every)
        self._look(place)

    def abort(self, number: int) -> None:
        if number in self._places:
            self._servers[self._places[number]].abort(number)
            self._ended(number)

    def advance(self, until_s: float) -> list[Event]:
        found = []
        while (event := self.next_event(until_s)) is not None:
            found.append(event)
        return found

    def next_event(self, until_s: float = inf) -> Event | None:
        """The earliest of all copies: the one that is behind goes on, no further than the next one's time."""
        stuck = set[int]()
        while True:
            due_s, place = min((at_s, place) for place, at_s in enumerate((*self._due_s, inf)) if place not in stuck)
            if due_s > until_s or due_s == inf:
                return None
            others_s = (at_s for other, at_s in enumerate(self._due_s) if other != place and other not in stuck)
            self._servers[place].turns = self._working(place)
            event = self._servers[place].next_event(min(until_s, min(others_s, default=inf)))
            self._look(place)
            if event is not None:
                if event.finished:
                    self._ended(event.number)
                return event
            if self._due_s[place] == due_s:  # what waits fits into no cache
                stuck.add(place)

    def _working(self, place: int) -> int:
        """How many engines on its GPU have requests: vLLM gives copy n of each node GPU n."""
        gpus = len(self._servers) // self._sharing
        return max(1, sum(held > 0 for held in self._held[place % gpus :: gpus]))

    def _ended(self, number: int) -> None:
        place = self._places.pop(number)
        self._held[place] -= 1
        self._look(place)

    def _look(self, place: int) -> None:
        next_s = self._servers[place].next_s
        self._due_s[place] = inf if next_s is None else next_s


def make_server(
    shape: Shape,
    gpu: Gpu,
    settings: Settings,
    memory: Memory,
    rates: Rates | None = None,
    noise: Callable[[], float] = lambda: 1.0,
) -> Server | Copies:
    """As many engines as there are copies of the model; `noise` gives the factor of a step's time."""
    rates, copies = rates or Rates(), settings.copies
    shared = replace(rates, front=rates.front * copies)  # of the API servers each copy has its share
    steps = Steps(shape=shape, gpu=gpu, settings=settings, rates=shared)
    engines = [Server(steps, settings, memory.kv_cache_tokens, noise) for _ in range(copies)]
    return engines[0] if copies == 1 else Copies(engines, settings.engines_per_gpu)
