"""A server that runs and a workload in; what was measured of it out. It starts and stops no server.

One way for everyone: a trial's own server, any OpenAI-compatible one (`tuner bench`), and both sides of `tuner compare`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace

from tuner.decide.deciding import Deciding, deciding
from tuner.decide.early import Outdo
from tuner.decide.objective import Objective
from tuner.decide.overload import Overload
from tuner.decide.slo import Slo, limits
from tuner.errors import LaunchError, UsageError
from tuner.load.generate import generate_load, learn
from tuner.load.limits import machine_limits, too_much
from tuner.load.prompts import Recipe
from tuner.load.workers import Workers, most_workers, workers_for
from tuner.measure.cpu import CpuSampler
from tuner.measure.gpu import GpuSampler
from tuner.measure.marks import marks, unknown
from tuner.measure.metrics import load_metrics
from tuner.measure.server import ServerSampler, is_vllm, kv_cache_tokens
from tuner.measure.timeline import timeline
from tuner.sim.scaled_time import faster, slower
from tuner.study.find_rate import drain, find_rate
from tuner.types import Failed, FailureKind, Mark, Measured, Target, Underway, Workload

Tell = Callable[[str], None]

#: How often a load is repeated with more workers when the load generator was the limit.
_MORE_WORKERS = 2
#: Numbers of requests that one load keeps to itself, so that no other with the same recipe repeats its prompts.
_REQUESTS_A_LOAD = 1 << 20
#: With these a server, or what it was asked for, may not be what was measured.
_MAY_DO_BETTER = frozenset((Mark.CLIENT_BOUND, Mark.THROTTLED, Mark.GPU_SHARED, Mark.OTHER_LENGTHS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What is known of a server that runs on this machine: its GPUs, its processes (those of `sessions`, or `pids` and
    what these have started), and whether it lives. `speed` is how many of a simulated server's seconds pass in a real one, None
    for a real server."""

    gpus: Sequence[int] = ()
    sessions: Sequence[int] = ()
    pids: Sequence[int] = ()
    alive: Callable[[], bool] = lambda: True
    speed: float | None = None


async def measure(
    target: Target,
    workload: Workload,
    *,
    slos: Sequence[Slo] = (),
    objectives: Sequence[Objective] = (),
    outdo: Outdo | None = None,
    salt: int = 0,
    phase: Tell = lambda text: None,
    watched: Watched | None = None,
    workers: Workers | None = None,
    underway: Callable[[Underway], None] = lambda state: None,
) -> Measured:
    """Load the server and measure it until what decides is known: the `objectives` and the SLOs (tuner/decide/deciding.py).
    `salt` is a number that no other measurement on its prefix cache has used. What cannot become as good as `outdo` is stopped
    early, unless something else than the server may be why.

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
    watched = watched or Watched()
    speed = watched.speed or 1.0
    outdo = None if outdo is None else outdo.faster(speed)
    workload, slos = faster(workload, speed), [replace(slo, limit_s=slo.limit_s / speed) for slo in slos]
    async with AsyncExitStack() as stack:
        if workers is None:
            workers = await stack.enter_async_context(Workers(workers_for(workload)))
        phase("asking for the tokenizer")
        recipe = await learn(target, workload, salt=salt)
        rule, has_metrics = deciding(workload, objectives, slos), await is_vllm(target.base_url, target.api_key)
        bench = _Bench(target, recipe, slos, rule, watched, workers, phase, has_metrics, underway, outdo)
        if workload.find_rate:
            found = await find_rate(bench.measure, workload, slos, drained=bench.drained, phase=phase, speed=speed)
        else:
            found = await bench.measure(workload)
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
        underway: Callable[[Underway], None],
        outdo: Outdo | None,
    ) -> None:
        self._target, self._recipe, self._slos, self._watched = target, recipe, slos, watched
        self._rule, self._workers, self._phase, self._has_metrics = rule, workers, phase, has_metrics
        self._speed = watched.speed or 1.0
        self._loads, self._tell, self._outdo = 0, underway, outdo

    async def measure(self, workload: Workload, overloads: Sequence[Overload] = ()) -> Measured:
        """One measurement, to its end where it was stopped early and the server may be better than it seemed."""
        found = await self._with_enough_workers(workload, overloads)
        if Mark.STOPPED_EARLY in found.marks and _MAY_DO_BETTER & {*found.marks}:
            self._outdo = None
            self._phase("not the server alone was slow: once more, to the end")
            found = await self._with_enough_workers(workload, overloads)
        return found

    async def _with_enough_workers(self, workload: Workload, overloads: Sequence[Overload]) -> Measured:
        """By as many workers as it needs and the machine has."""
        for _ in range(_MORE_WORKERS):
            found = await self._once(workload, overloads)
            if Mark.CLIENT_BOUND not in found.marks or self._workers.count >= most_workers():
                return found
            self._phase("the load generator was the limit: once more, with more workers")
            await self._workers.grow(min(2 * self._workers.count, most_workers()))
        return await self._once(workload, overloads)

    async def drained(self) -> None:
        await drain(self._target if self._has_metrics else None, self._watched.alive, self._recipe.workload.stall_s)

    async def _once(self, workload: Workload, overloads: Sequence[Overload]) -> Measured:
        base_url, key = self._target.base_url, self._target.api_key
        server = ServerSampler(base_url, self._speed, key) if self._has_metrics else None
        gpu, warming = GpuSampler(self._watched.gpus, self._watched.sessions), GpuSampler(self._watched.gpus)
        is_seen = bool(self._watched.sessions or self._watched.pids)
        cpu = CpuSampler(self._watched.sessions, self._watched.pids) if is_seen else None
        warm_up = ExitStack()
        first_index = self._loads * _REQUESTS_A_LOAD
        self._loads += 1  # one that fails has sent its prompts, too

        @asynccontextmanager
        async def observe() -> AsyncIterator[None]:
            self._phase("measuring")
            warm_up.close()
            async with server or nullcontext():
                with gpu, cpu or nullcontext():
                    yield
            self._phase("last requests")

        self._phase("warm-up")
        async with server.watching() if server else nullcontext():
            with warm_up:
                warm_up.enter_context(warming)
                result = await generate_load(
                    self._target,
                    replace(self._recipe, workload=workload),
                    self._workers,
                    first_index=first_index,
                    observe=observe,
                    server_alive=self._watched.alive,
                    rule=self._rule,
                    outdo=self._outdo,
                    overloads=overloads,
                    tell=self._phase,
                    underway=lambda state: self._tell(_in_its_time(state, self._speed)),
                )
        load = replace(load_metrics(result, limits(self._slos)), request_rate=workload.request_rate)
        if self._speed > 1:  # what is far apart in the server's time comes together in ours
            load = replace(load, bunched=None, first_chunk_tokens=None)
        cores = cpu.cores() if cpu else None
        api_servers = (cores and cores.api_servers) or 1
        told = server.metrics(result, api_servers) if server else None
        used = gpu.metrics(load.output_tokens)
        utilization = [*warming.utilization(), *gpu.utilization()]
        return Measured(
            load=load,
            server=told,
            gpu=used,
            server_cpu_cores=cpu.mean_cores() if cpu else None,
            startup_s=None,
            kv_cache_tokens=await kv_cache_tokens(base_url, key) if server else None,
            client=result.client,
            warmup_s=result.warmup_s,
            marks=marks(workload, result, load, told, used, self._rule, gpu.others_bytes()),
            unknown=unknown(self._rule, load, result.undecided, workload.users) if result.at_best is None else (),
            at_best=result.at_best,
            timeline=timeline(
                result,
                server.gauges() if server else (),
                utilization,
                cpu.seconds() if cpu else (),
                step_counts=api_servers if told and told.steps is not None else None,
                sample_s=1 / self._speed,
            ),
            cores=cores,
        )


def _in_its_time(state: Underway, speed: float) -> Underway:
    """In a simulated server's seconds."""
    if speed == 1:
        return state
    least, most, rate = state.least_s, state.most_s, state.tokens_per_s
    return Underway(
        past_s=speed * state.past_s,
        least_s=None if least is None else speed * least,
        most_s=None if most is None else speed * most,
        tokens_per_s=None if rate is None else rate / speed,
    )
