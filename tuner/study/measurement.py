"""A server that runs and a workload in; what was measured of it out. It starts and stops no server.

One way for everyone: a trial's own server, any OpenAI-compatible one (`tuner bench`), and both sides of `tuner compare`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace

from tuner.decide.deciding import Deciding, deciding
from tuner.decide.objective import Objective
from tuner.decide.rate_search import RateSearch
from tuner.decide.slo import Slo, limits, violations
from tuner.errors import LaunchError, UsageError
from tuner.load.generate import generate_load, learn
from tuner.load.limits import machine_limits, too_much
from tuner.load.prompts import Recipe
from tuner.load.workers import Workers, most_workers, workers_for
from tuner.measure.cpu import CpuSampler
from tuner.measure.gpu import GpuSampler
from tuner.measure.marks import marks, unknown
from tuner.measure.metrics import load_metrics
from tuner.measure.server import ServerSampler, in_flight, is_vllm, kv_cache_tokens
from tuner.sim.scaled_time import faster, slower
from tuner.types import Failed, FailureKind, Mark, Measured, Target, Workload

Tell = Callable[[str], None]

#: How often a load is repeated with more workers when the load generator was the limit.
_MORE_WORKERS = 2
#: Numbers of requests that one load keeps to itself, so that no other with the same recipe repeats its prompts.
_REQUESTS_A_LOAD = 1 << 20
#: How often the rate that was found may be lowered when it does not hold for a whole window.
_STEPS_DOWN = 4
#: A rate that is too high shows within this time, or four windows: its queue need not be waited for.
_PROBE_STALL_S = 10.0
#: What a server that does not say how many requests it has is given to get rid of them.
_DRAIN_S = 3.0
_POLL_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What is known of a server that runs on this machine: its GPUs, the group of its processes, and whether it lives. `speed`
    is how many of a simulated server's seconds pass in a real one, None for a real server."""

    gpus: Sequence[int] = ()
    pgid: int | None = None
    alive: Callable[[], bool] = lambda: True
    speed: float | None = None


async def measure(
    target: Target,
    workload: Workload,
    *,
    slos: Sequence[Slo] = (),
    objective: Objective | None = None,
    gpus: Sequence[int] = (),
    salt: int = 0,
    phase: Tell = lambda text: None,
    watched: Watched | None = None,
    workers: Workers | None = None,
) -> Measured:
    """Load the server and measure it until what decides is known: the `objective` and the SLOs (tuner/decide/deciding.py).
    `salt` is a number that no other measurement on its prefix cache has used.

    When the load generator was the limit, the load is repeated with more workers, as far as there are cores for them; a
    measurement that is marked CLIENT_BOUND says what the server did at least. With `workload.find_rate` it is that of the
    highest rate that meets the SLOs, or of the lowest rate tried where none does. Workload, SLOs and measurement of a simulated
    server are in its seconds.

    Raises LaunchError as `generate_load` does, CLIENT_BOUND at once where this machine cannot make the load, and LOAD_FAILED
    when vLLM's /metrics cannot be read; UsageError when the workload cannot be made for this model.
    """
    if workload.find_rate and not slos:
        raise UsageError(
            f"workload {workload.name} looks for the highest request rate that meets the SLOs: give some (--slo)"
        )
    if why := too_much(workload, workers_for(workload), machine_limits()):
        raise LaunchError(Failed(kind=FailureKind.CLIENT_BOUND, message=why))
    watched = watched or Watched(gpus=gpus)
    speed = watched.speed or 1.0
    workload, slos = faster(workload, speed), [replace(slo, limit_s=slo.limit_s / speed) for slo in slos]
    async with AsyncExitStack() as stack:
        if workers is None:
            workers = await stack.enter_async_context(Workers(workers_for(workload)))
        phase("asking for the tokenizer")
        recipe = await learn(target, workload, salt=salt)
        rule, has_metrics = deciding(workload, objective, slos), await is_vllm(target.base_url)
        bench = _Bench(target, recipe, slos, rule, watched, workers, phase, has_metrics)
        found = await (bench.find_rate() if workload.find_rate else bench.measure(workload))
    return found if watched.speed is None else slower(found, speed)


class _Bench:
    """Loads of one recipe, one after another."""

    def __init__(
        self,
        target: Target,
        recipe: Recipe,
        slos: Sequence[Slo],
        rule: Deciding,
        watched: Watched,
        workers: Workers,
        phase: Tell,
        has_metrics: bool,
    ) -> None:
        self._target, self._recipe, self._slos, self._watched = target, recipe, slos, watched
        self._rule, self._workers, self._phase, self._has_metrics = rule, workers, phase, has_metrics
        self._speed = watched.speed or 1.0
        self._loads = 0

    async def measure(self, workload: Workload) -> Measured:
        """One measurement, by as many workers as it needs and the machine has."""
        for _ in range(_MORE_WORKERS):
            found = await self._once(workload)
            if Mark.CLIENT_BOUND not in found.marks or self._workers.count >= most_workers():
                return found
            self._phase("the load generator was the limit: once more, with more workers")
            await self._workers.grow(min(2 * self._workers.count, most_workers()))
        return await self._once(workload)

    async def find_rate(self) -> Measured:
        """The measurement at the highest rate that meets the SLOs."""
        workload = self._recipe.workload
        assert workload.request_rate is not None
        search, lowest = RateSearch(workload.request_rate), None
        while (rate := search.next()) is not None:
            stall_s = min(workload.stall_s, max(_PROBE_STALL_S, 4 * workload.window_s))
            probe = replace(workload, request_rate=rate, max_window_s=workload.window_s, stall_s=stall_s)
            lowest = await self._probe(search, probe) or lowest
        if search.highest_met is None:
            if lowest is None:
                return await self.measure(replace(workload, request_rate=search.lowest_missed))
            return lowest
        rate = search.highest_met
        for _ in range(_STEPS_DOWN):
            self._phase(f"{self._shown(rate)}, for the whole window")
            found = await self.measure(replace(workload, request_rate=rate))
            if self._meets(found):
                break
            rate /= 1 + search.resolution
        return found

    async def _probe(self, search: RateSearch, probe: Workload) -> Measured | None:
        """Tell the search what comes of a rate; its measurement, if there is one."""
        assert probe.request_rate is not None
        try:
            found = await self.measure(probe)
        except LaunchError as error:
            if error.failed.kind not in (FailureKind.LOAD_FAILED, FailureKind.STALLED):
                raise
            self._phase(f"{self._shown(probe.request_rate)} are too many: {error}")
            search.tell(probe.request_rate, met=False)
            await self._drained()
            return None
        met = self._meets(found)
        self._phase(f"{self._shown(probe.request_rate)} {'meet' if met else 'miss'} the SLOs")
        search.tell(probe.request_rate, met=met)
        if not met:
            await self._drained()
        return found

    async def _drained(self) -> None:
        """Wait until the server has done with what was too much for it, so that the next rate does not pay for this one."""
        if not self._has_metrics:
            await asyncio.sleep(_DRAIN_S)
            return
        for _ in range(int(self._recipe.workload.stall_s / _POLL_S)):
            if not self._watched.alive() or await in_flight(self._target.base_url) == 0:
                return
            await asyncio.sleep(_POLL_S)

    def _shown(self, rate: float) -> str:
        return f"{rate / self._speed:,.2f} requests/s"

    def _meets(self, found: Measured) -> bool:
        return Mark.SATURATED not in found.marks and all(v <= 0 for v in violations(found.load, self._slos).values())

    async def _once(self, workload: Workload) -> Measured:
        server = ServerSampler(self._target.base_url, self._speed) if self._has_metrics else None
        gpu = GpuSampler(self._watched.gpus)
        cpu = CpuSampler(self._watched.pgid) if self._watched.pgid is not None else None

        @asynccontextmanager
        async def observe() -> AsyncIterator[None]:
            self._phase("measuring")
            async with server or nullcontext():
                with gpu, cpu or nullcontext():
                    yield
            self._phase("last requests")

        self._phase("warm-up")
        result = await generate_load(
            self._target,
            replace(self._recipe, workload=workload),
            self._workers,
            first_index=self._loads * _REQUESTS_A_LOAD,
            observe=observe,
            server_alive=self._watched.alive,
            rule=self._rule,
        )
        self._loads += 1
        load = replace(load_metrics(result, limits(self._slos)), request_rate=workload.request_rate)
        told = server.metrics(result) if server else None
        used = gpu.metrics(load.output_tokens)
        return Measured(
            load=load,
            server=told,
            gpu=used,
            server_cpu_cores=cpu.mean_cores() if cpu else None,
            startup_s=None,
            kv_cache_tokens=await kv_cache_tokens(self._target.base_url) if server else None,
            client=result.client,
            warmup_s=result.warmup_s,
            marks=marks(workload, result, load, told, used, self._rule),
            unknown=unknown(self._rule, load, result.undecided, workload.users),
        )
