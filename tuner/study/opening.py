"""A search space with its groups, finished trials and what a sampler still promises in; which parameters wait, which group is
searched next, and why, out. Pure.

The groups that a space opens by itself are searched first; of the others, one by one, those that move what limits the best
settings so far: by its measurement, else by its prediction. A group that moves nothing that limits waits for ever. It does not
know how points are chosen.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tuner.decide.objective import Objective
from tuner.decide.rank import best, defaults_of
from tuner.predict.advise.limits import Bottleneck
from tuner.space.parameters import meeting
from tuner.space.search_space import SearchSpace
from tuner.space.speculation import is_of_speculation
from tuner.types import GpuMetrics, Measured, Params, Trial

#: Below this promise what is open is searched through.
ENOUGH = 0.01
#: Launches that say little of what limits: the defaults and a design. So many are due to each group before another is opened
#: for what limits alone.
_DESIGN, _EACH = 4, 3
#: What a measurement says: a KV cache that is full, a queue, a card whose multiprocessors stand still (by NVML's share of time
#: where GPM does not tell), one that reads memory, one that multiplies; few sequences at once, prompts that return.
_FULL, _QUEUE, _IDLE_SM, _IDLE, _READS, _COMPUTES, _FEW, _RETURN = 0.95, 0.5, 0.5, 0.8, 0.5, 0.5, 32, 0.05

#: What moves a bottleneck, by the names of parameters as they begin, the likeliest first.
_MOVED_BY: Mapping[Bottleneck, Sequence[str]] = {
    Bottleneck.WEIGHTS: ("quantization",),
    Bottleneck.MEMORY: ("gpu_memory_utilization", "enforce_eager", "max_num_batched_tokens"),
    Bottleneck.KV_CACHE: ("kv_cache_dtype", "gpu_memory_utilization", "kv_offloading_size", "quantization"),
    Bottleneck.BATCH: ("max_num_seqs",),
    Bottleneck.PREFILL: (
        *("attention_backend", "max_num_batched_tokens", "quantization", "moe_backend", "linear_backend"),
        *("long_prefill_token_threshold", "block_size", "attention_config"),
    ),
    Bottleneck.DECODE: (
        "quantization",
        "speculative_config",
        "kv_cache_dtype",
        "attention_backend",
        "attention_config",
    ),
    Bottleneck.OVERHEAD: (
        *("compilation_config", "max_cudagraph_capture_size", "cudagraph", "enforce_eager", "speculative_config"),
        *("attention_backend", "moe_backend", "linear_backend"),
    ),
    Bottleneck.HOST: (
        *("compilation_config", "max_cudagraph_capture_size", "cudagraph", "enforce_eager", "stream_interval"),
        *("api_server_count",),
    ),
    Bottleneck.API_SERVER: ("stream_interval", "api_server_count"),
}

#: What is predicted to limit settings, and the numbers that say so; None where nothing is.
Limits = Callable[[Params], tuple[Bottleneck, str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """`why` is a sentence for who watches."""

    group: str
    why: str


class Opening:
    """Of one run of a study, over the space as the user chose its groups."""

    def __init__(self, space: SearchSpace, objective: Objective, limits: Limits = lambda params: None) -> None:
        self._space, self._objective, self._limits = space, objective, limits
        groups = dict.fromkeys(parameter.group for parameter in space.parameters.values() if parameter.group)
        closed = [name for name in groups if name in space.groups and not space.groups[name].open]
        self._closed = closed if len(closed) < len({parameter.group for parameter in space.parameters.values()}) else []
        self._since = 0

    @property
    def frozen(self) -> frozenset[str]:
        """The parameters that stay at the defaults for now."""
        return frozenset(name for group in self._closed for name in self._of(group))

    def first(self, finished: Sequence[Trial] = ()) -> frozenset[str]:
        """Those that are frozen when a study begins, or goes on after these trials: a group that was searched stays open."""
        usual = defaults_of(finished)
        enqueued = [dict(point) for point in self._space.enqueue]
        for trial in finished:
            if usual is None or trial.is_default or any(point.items() <= trial.params.items() for point in enqueued):
                continue
            moved = {name for name, value in trial.params.items() if usual.params.get(name, value) != value}
            self._closed = [group for group in self._closed if not moved.intersection(self._of(group))]
        self._since = sum(trial.attempts > 0 for trial in finished)
        return self.frozen

    def next(self, finished: Sequence[Trial], promise: float | None) -> Opened | None:
        """The group that is opened now; None where what is open is not searched through, or no other would help."""
        launched = sum(trial.attempts > 0 for trial in finished)
        incumbent = best(finished, self._objective)
        if not self._closed or incumbent is None or launched < _DESIGN:
            return None
        exhausted = promise is not None and promise < ENOUGH
        if not exhausted and launched - self._since < _EACH:
            return None
        for bottleneck, evidence in self._held_back(incumbent):
            for group in self._moving(bottleneck, incumbent):
                self._closed.remove(group)
                self._since = launched
                about = self._space.groups[group].about
                told = f"what holds trial {incumbent.number} back is the {bottleneck}: {evidence}"
                return Opened(group=group, why=f"{group} ({about}) is searched from here on; {told}")
        return None

    def _held_back(self, incumbent: Trial) -> list[tuple[Bottleneck, str]]:
        """What limits it, as measured, then as predicted."""
        assert isinstance(incumbent.outcome, Measured)
        found = dict(limits_seen(incumbent.outcome))
        if (predicted := self._limits(incumbent.params)) is not None:
            found.setdefault(predicted[0], f"predicted: {predicted[1]}")
        return list(found.items())

    def _moving(self, bottleneck: Bottleneck, incumbent: Trial) -> Iterator[str]:
        """The closed groups that move it, the likeliest first."""
        for beginning in _MOVED_BY.get(bottleneck, ()):
            for group in self._closed:
                if any(name.startswith(beginning) and self._counts(name, incumbent) for name in self._of(group)):
                    yield group

    def _counts(self, name: str, incumbent: Trial) -> bool:
        """Whether it can do something beside the settings that are best, for the load that there is."""
        assert isinstance(incumbent.outcome, Measured)
        server, point = incumbent.outcome.server, {**self._space.fixed, **incumbent.params}
        if is_of_speculation(name):
            return server is not None and server.running_mean is not None and server.running_mean <= _FEW
        if name == "kv_offloading_size":
            queries, hits = (server.prefix_cache_queries, server.prefix_cache_hits) if server else (None, None)
            return queries is not None and hits is not None and hits >= max(_RETURN * queries, 1)
        when = self._space.parameters[name].when
        return all(point.get(other) in meeting(value) for other, value in when.items())

    def _of(self, group: str) -> Collection[str]:
        return [name for name, parameter in self._space.parameters.items() if parameter.group == group]


def limits_seen(outcome: Measured) -> Iterator[tuple[Bottleneck, str]]:
    """What a measurement shows, the surest first."""
    if (server := outcome.server) is not None:
        usage, waiting = server.kv_cache_usage_max or 0.0, server.waiting_mean or 0.0
        if server.preemptions or (usage >= _FULL and waiting >= _QUEUE):
            yield (
                Bottleneck.KV_CACHE,
                f"{usage:.0%} of the KV cache was taken, {server.preemptions:,.0f} preemptions, {waiting:,.0f} requests waited",
            )
    if (gpu := outcome.gpu) is not None:
        yield from _of_the_gpu(gpu)


def _of_the_gpu(gpu: GpuMetrics) -> Iterator[tuple[Bottleneck, str]]:
    busy, idle = (gpu.utilization, _IDLE) if gpu.sm_activity is None else (gpu.sm_activity, _IDLE_SM)
    if busy is not None and busy < idle:
        told = "the GPU worked" if gpu.sm_activity is None else "the GPU's multiprocessors worked"
        yield Bottleneck.HOST, f"{told} for {busy:.0%} of the time"
        return
    if (gpu.dram_activity or 0.0) >= _READS:
        yield Bottleneck.DECODE, f"the GPU's memory was busy for {gpu.dram_activity:.0%} of the time"
    if (gpu.tensor_activity or 0.0) >= _COMPUTES:
        yield Bottleneck.PREFILL, f"its tensor cores were busy for {gpu.tensor_activity:.0%} of the time"
