"""A model, a card, settings and a workload in; what a measurement of that server would say out. Pure, nothing is launched.

It does not know which settings are worth trying, nor how good it is: benchmarks/predict says that.
"""

import heapq
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import inf
from statistics import fmean, quantiles, stdev

from tuner.predict.conversations import Ask, conversations
from tuner.predict.copies import Copies, make_server
from tuner.predict.memory import Memory, MemoryCalibration, predict_memory
from tuner.predict.serve import Event, Server
from tuner.predict.settings import LATEST, Settings, Version, resolve
from tuner.predict.shape import Shape
from tuner.predict.step import Rates
from tuner.space.gpus import Gpu
from tuner.types import Distribution, Failed, LoadMetrics, Params, Workload

#: What a window holds at least: requests, and requests of each user.
_REQUESTS, _REQUESTS_A_USER = 400, 4
#: Requests of each user that end before it.
_WARM_UP_A_USER = 1.5
#: How often the state of the server is looked at in a window.
_SAMPLES = 200
#: A queue that grows without end is given up after so many times the window's requests, but not before some have ended.
_MOST_WAITING = 4
_LEAST_ENDED = 20
#: Users of a closed loop come one after another.
_APART_S = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was learned of this model on this machine; without it the published rates."""

    rates: Rates = field(default_factory=Rates)
    memory: MemoryCalibration = field(default_factory=MemoryCalibration)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a measurement would say. `gpu_busy`, `host_busy` and `front_busy` are the shares of time that the GPU, EngineCore
    and an API server work. Means are over the window; `kv_cache_usage_mean` is 0..1."""

    load: LoadMetrics
    running_mean: float
    waiting_mean: float
    kv_cache_usage_mean: float
    preemptions: int
    gpu_busy: float
    host_busy: float
    front_busy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction(Served):
    """The same with what it follows from."""

    settings: Settings
    memory: Memory


def predict(
    shape: Shape,
    gpu: Gpu,
    params: Params,
    workload: Workload,
    *,
    calibration: Calibration | None = None,
    offsets: Iterable[float] | None = None,
    limits: Mapping[str, float] | None = None,
    requests: int | None = None,
    version: Version = LATEST,
) -> Prediction | Failed:
    """The measurement, or why the server would not start. Deterministic: the workload has the seed.

    `offsets` are the arrivals of an open loop in seconds (tuner.load.arrivals.schedule); without them they are Poisson at the
    workload's request rate. `limits` are those of `goodput`. `requests` is how many the window holds at least,
    `version` vLLM's.
    """
    calibration = calibration or Calibration()
    settings = resolve(params, shape, gpu, version)
    if isinstance(settings, Failed):
        return settings
    memory = predict_memory(shape, gpu, settings, calibration.memory, version)
    if memory.at_best:  # near the border there is a prediction
        return memory.at_best
    server = make_server(shape, gpu, settings, memory, calibration.rates)
    served = run_load(server, settings, workload, offsets=offsets, limits=limits, requests=requests)
    served = replace(served, load=replace(served.load, gpus=settings.gpus))
    known = {entry.name: getattr(served, entry.name) for entry in fields(served)}
    return Prediction(settings=settings, memory=memory, **known)


def run_load(
    server: Server | Copies,
    settings: Settings,
    workload: Workload,
    *,
    offsets: Iterable[float] | None = None,
    limits: Mapping[str, float] | None = None,
    requests: int | None = None,
) -> Served:
    """The workload on a server that has just started; the arguments are those of `predict`."""
    run = _Run(server, settings, workload, iter(offsets) if offsets else _poisson(workload), requests)
    run.simulate()
    return run.served(limits or {})


def _poisson(workload: Workload) -> Iterator[float]:
    rng, rate = random.Random(f"{workload.seed}:arrivals"), workload.request_rate or inf
    return itertools.accumulate(rng.expovariate(rate) for _ in itertools.count())


@dataclass(slots=True)
class _Sent:
    """A request on its way, and what came of it."""

    user: int
    at_s: float
    ask: Ask
    first_s: float = 0.0
    ended_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Edge:
    """An end of the window: when, how many requests were sent and ended before, and the server's counters."""

    time_s: float
    sent: int
    ended: int
    tokens: int
    preemptions: int
    gpu_s: float
    host_s: float
    front_s: float


class _Run:
    """One load on one server."""

    def __init__(
        self,
        server: Server | Copies,
        settings: Settings,
        workload: Workload,
        offsets: Iterator[float],
        requests: int | None,
    ) -> None:
        self._server, self._workload, self._offsets = server, workload, offsets
        self._caches = settings.enable_prefix_caching
        users = workload.users or 0
        self._needed = requests or max(_REQUESTS, _REQUESTS_A_USER * users)
        self._warm_up = max(int(_WARM_UP_A_USER * users), min(100, self._needed // 4))
        self._thoughts = random.Random(f"{workload.seed}:thoughts")
        self._asks: dict[int, Iterator[Ask]] = {}
        self._sends: list[tuple[float, int]] = []  # when which user sends next
        self._sent: list[_Sent] = []
        self._ended = self._open = 0
        self._edges: list[_Edge] = []
        self._samples: list[tuple[int, int, float]] = []

    def simulate(self) -> None:
        """Send and take in until the window's requests have ended, or are too many to ever end."""
        if self._workload.users is None:
            self._arrive(0)
        else:
            self._sends = [(user * _APART_S, user) for user in range(self._workload.users)]
        while not self._is_over():
            wake_s = self._server.next_s
            if self._sends and (wake_s is None or self._sends[0][0] <= wake_s):
                self._send(*heapq.heappop(self._sends))
            elif (event := self._server.next_event(self._sends[0][0] if self._sends else inf)) is not None:
                self._take(event)
            elif not self._sends:
                return

    def _arrive(self, user: int) -> None:
        if (offset_s := next(self._offsets, None)) is not None:
            heapq.heappush(self._sends, (offset_s, user))

    def _send(self, at_s: float, user: int) -> None:
        ask = next(self._asks.setdefault(user, conversations(self._workload, user)))
        cached = ask.cached_tokens if self._caches else 0
        self._server.submit(len(self._sent), ask.input_tokens, ask.output_tokens, at_s, cached_tokens=cached)
        self._sent.append(_Sent(user, at_s, ask))
        if self._workload.users is None:
            self._arrive(user + 1)

    def _take(self, event: Event) -> None:
        sent = self._sent[event.number]
        sent.first_s = sent.first_s or event.time_s
        if not event.finished:
            return
        sent.ended_s = event.time_s
        self._ended += 1
        if self._workload.users is not None:
            think_s = self._workload.think_time_s
            thought_s = self._thoughts.expovariate(1 / think_s) if think_s else 0.0
            heapq.heappush(self._sends, (event.time_s + thought_s, sent.user))
        if len(self._edges) == 2:
            self._open -= event.number < self._edges[1].sent
        elif self._ended in (self._warm_up, self._warm_up + self._needed):
            self._edge(event.time_s)
        elif self._edges and self._ended % max(1, self._needed // _SAMPLES) == 0:
            self._samples.append((self._server.running, self._server.waiting, self._server.kv_cache_usage))

    def _edge(self, time_s: float) -> None:
        server, self._open = self._server, len(self._sent) - self._ended
        counters = (server.generation_tokens, server.preemptions, server.gpu_s, server.host_s, server.front_s)
        self._edges.append(_Edge(time_s, len(self._sent), self._ended, *counters))

    def _is_over(self) -> bool:
        """All that was sent in the window has ended; or so much waits that nothing ends it."""
        if len(self._edges) == 2:
            return self._open == 0
        users = self._workload.users or 0
        is_flooded = len(self._sent) - self._ended > _MOST_WAITING * (self._needed + users)
        return is_flooded and self._ended >= _LEAST_ENDED

    def served(self, limits: Mapping[str, float]) -> Served:
        """Of the window, as a client sees it."""
        while len(self._edges) < 2:  # overrun: what there was
            self._edge(self._server.now_s)
        start, end = self._edges
        window_s = max(end.time_s - start.time_s, 1e-9)
        sent = [one for one in self._sent[start.sent : end.sent] if one.ended_s] or [s for s in self._sent if s.ended_s]
        running, waiting, usage = zip(*self._samples, strict=True) if self._samples else ((0,), (0,), (0.0,))
        busy = (getattr(end, name) - getattr(start, name) for name in ("gpu_s", "host_s", "front_s"))
        gpu_busy, host_busy, front_busy = (min(1.0, seconds / window_s) for seconds in busy)
        return Served(
            load=_load(sent, start, end, window_s, limits),
            running_mean=fmean(running),
            waiting_mean=fmean(waiting),
            kv_cache_usage_mean=fmean(usage),
            preemptions=end.preemptions - start.preemptions,
            gpu_busy=gpu_busy,
            host_busy=host_busy,
            front_busy=front_busy,
        )


def _load(sent: Sequence[_Sent], start: _Edge, end: _Edge, window_s: float, limits: Mapping[str, float]) -> LoadMetrics:
    """Throughputs over the window, latencies over what was sent in it, as `tuner.measure.metrics` has them."""
    completed, tokens = end.ended - start.ended, end.tokens - start.tokens
    ttft_s = [one.first_s - one.at_s for one in sent]
    e2el_s = [one.ended_s - one.at_s for one in sent]
    tpot_s = [(one.ended_s - one.first_s) / (n - 1) for one in sent if (n := one.ask.output_tokens) > 1]
    good = sum(_is_good(one, limits) for one in sent)
    return LoadMetrics(
        window_s=window_s,
        completed=completed,
        failed=0,
        request_throughput=completed / window_s,
        output_throughput=tokens / window_s,
        output_throughput_ci95=None,
        total_token_throughput=(tokens + fmean(one.ask.input_tokens for one in sent) * completed) / window_s,
        ttft_s=_distribution(ttft_s),
        tpot_s=_distribution(tpot_s) if tpot_s else None,
        itl_s=None,
        e2el_s=_distribution(e2el_s),
        goodput=good / len(sent) * completed / window_s if limits else None,
    )


def _is_good(one: _Sent, limits: Mapping[str, float]) -> bool:
    """Whether it meets every limit (goodput as in `vllm bench serve`)."""
    tokens = one.ask.output_tokens
    found = {"ttft": one.first_s - one.at_s, "e2el": one.ended_s - one.at_s}
    found["tpot"] = (one.ended_s - one.first_s) / (tokens - 1) if tokens > 1 else 0.0
    return all(found[name] <= limit_s for name, limit_s in limits.items())


def _distribution(values: Sequence[float]) -> Distribution:
    cuts = quantiles(values, n=100, method="inclusive") if len(values) > 1 else [values[0]] * 99
    return Distribution(
        count=len(values),
        mean=fmean(values),
        p50=cuts[49],
        p90=cuts[89],
        p95=cuts[94],
        p99=cuts[98],
        std=stdev(values) if len(values) > 1 else 0.0,
    )
