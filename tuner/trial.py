"""One launch: start the engine, load it, measure it, stop it. A command in, an Outcome out; a failed launch is a value."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tuner.errors import LaunchError
from tuner.launch.failures import classify
from tuner.launch.process import ProcessGroup
from tuner.launch.vllm import Launch, VllmEngine
from tuner.load.client import generate_load
from tuner.measure.cpu import CpuSampler
from tuner.measure.gpu import DetectedGpu, GpuSampler, memory_used_bytes, processes
from tuner.measure.metrics import load_metrics
from tuner.measure.server import ServerSampler, kv_cache_tokens
from tuner.types import Command, Endpoint, Failed, FailureKind, Measured, Outcome, Workload

#: Once more for what another process did to us; never for what the settings do.
_TRANSIENT = (FailureKind.PORT_IN_USE,)
_MEMORY_BACK_DEADLINE_S = 60.0
#: What the driver may keep of a process that is gone.
_MEMORY_SLACK_BYTES = 512 * 1024**2

Started = Callable[[Launch], None]
Phase = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one launch needs. `gpus` are those that it uses; `salt` makes its prompts differ from another launch's."""

    engine: VllmEngine
    command: Command
    workload: Workload
    gpus: tuple[DetectedGpu, ...]
    log: Path
    salt: int


async def run_trial(job: Job, started: Started, phase: Phase) -> Outcome:
    """Launch once (twice if only the port was taken), measure, stop. `started` is called before anything depends on the
    server, `phase` with a word for each step. Cancelling it stops the server first."""
    before = [memory_used_bytes(gpu.index) for gpu in job.gpus]
    outcome = await _attempt(job, started, phase)
    if isinstance(outcome, Failed) and outcome.kind in _TRANSIENT:
        outcome = await _attempt(job, started, phase)
    return await _memory_held(job.gpus, before) or outcome


async def _attempt(job: Job, started: Started, phase: Phase) -> Outcome:
    phase("starting vLLM")
    try:
        async with job.engine.launch(job.command, job.log, started) as (endpoint, group):
            phase("warm-up")
            try:
                return await _measure(job, endpoint, group, phase)
            finally:
                phase("stopping vLLM")
    except LaunchError as error:
        return _with_log(error.failed, job.log)


async def _measure(job: Job, endpoint: Endpoint, group: ProcessGroup, phase: Phase) -> Measured:
    server, gpu = ServerSampler(endpoint.base_url), GpuSampler([g.index for g in job.gpus])
    cpu = CpuSampler(endpoint.pgid)

    @asynccontextmanager
    async def observe() -> AsyncIterator[None]:
        phase("measuring")
        async with server:
            with gpu, cpu:
                yield
        phase("last requests")

    load = await generate_load(
        endpoint, job.workload, salt=job.salt, observe=observe, server_alive=lambda: group.exit_code() is None
    )
    return Measured(
        load=load_metrics(load),
        server=server.metrics(load),
        gpu=gpu.metrics(),
        server_cpu_cores=cpu.mean_cores(),
        startup_s=endpoint.startup_s,
        kv_cache_tokens=await kv_cache_tokens(endpoint.base_url),
    )


async def _memory_held(gpus: Sequence[DetectedGpu], before: Sequence[int | None]) -> Failed | None:
    """None once the GPUs' memory is back to what it was before the launch."""
    end = asyncio.get_running_loop().time() + _MEMORY_BACK_DEADLINE_S
    while True:
        more = [
            (gpu, now - then)
            for gpu, then in zip(gpus, before, strict=True)
            if then is not None
            and (now := memory_used_bytes(gpu.index)) is not None
            and now > then + _MEMORY_SLACK_BYTES
        ]
        if not more:
            return None
        if asyncio.get_running_loop().time() > end:
            gpu, bytes_held = more[0]
            pids = ", ".join(f"pid {process.pid}" for process in processes(gpu.index))
            message = (
                f"GPU {gpu.index} did not get its memory back: {bytes_held / 1024**3:.1f} GiB more than before the launch, "
                f"{_MEMORY_BACK_DEADLINE_S:.0f} s after the server ended, held by {pids or 'a process that NVML does not list'}"
            )
            return Failed(kind=FailureKind.GPU_MEMORY_HELD, message=message)
        await asyncio.sleep(0.5)


def _with_log(failed: Failed, log: Path) -> Failed:
    """A failure under load has its reason in the server's log, if the server wrote any."""
    if failed.log_tail or not log.exists():
        return failed
    logged = classify(log.read_text(encoding="utf-8", errors="replace"), 0)
    cause = f"{failed.message}; {logged.message}" if failed.kind is FailureKind.CRASHED else failed.message
    return Failed(kind=failed.kind, message=cause, log_tail=logged.log_tail)
