"""One launch: start the engine, measure it under load, stop it. A command in, an Outcome out; a failed launch is a value."""

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tuner.errors import LaunchError
from tuner.launch.job import Job, Tell
from tuner.launch.process import ProcessGroup
from tuner.launch.vllm import Seen, failure_of
from tuner.load.limits import machine_limits, too_much
from tuner.load.workers import Workers, workers_for
from tuner.measure.gpu import memory_used_bytes, processes
from tuner.study.measurement import Watched, measure
from tuner.types import DetectedGpu, Endpoint, Failed, FailureKind, Measured, Outcome

_MEMORY_BACK_DEADLINE_S = 60.0
#: From the death of EngineCore, which fails all requests, until the API server has ended, too.
_DYING_S = 5.0
#: A disk with less is full: the server's next line did not fit.
_FULL_BYTES = 4096
#: What the driver may keep of a process that is gone.
_MEMORY_SLACK_BYTES = 512 * 1024**2


async def run_trial(job: Job, seen: Seen, phase: Tell, note: Tell) -> Outcome:
    """Launch, measure, stop; once more where the failure may be nobody's settings' doing. `seen` is called before anything
    depends on the server, `phase` with a word for each step. Cancelling it stops the server first. Nothing is launched where
    this machine cannot make the load (CLIENT_BOUND)."""
    if why := too_much(job.workload, workers_for(job.workload), machine_limits()):
        return Failed(kind=FailureKind.CLIENT_BOUND, message=why)
    before = [memory_used_bytes(gpu.index) for gpu in job.gpus]
    outcome, ready = await _attempt(job, seen, phase)
    if isinstance(outcome, Failed) and (again := _again(job, outcome, ready)):
        note(f"once more: {outcome.kind.value}: {outcome.message}")
        outcome, _ = await _attempt(again, seen, phase)
    return await _memory_held(job.gpus, before) or outcome


def _again(job: Job, failed: Failed, ready: bool) -> Job | None:
    """What to try instead of believing a failure: the same where it is transient or the fork server had died, a plain start
    where a forked server crashed while it started."""
    if failed.kind.is_transient:
        return job
    if job.engine and failed.kind is FailureKind.CRASHED:
        if not job.engine.is_alive:
            return job
        return None if ready else replace(job, engine=None)
    return None


async def _attempt(job: Job, seen: Seen, phase: Tell) -> tuple[Outcome, bool]:
    """The outcome, and whether the server had become ready."""
    ready = False
    phase("starting vLLM")
    try:
        async with (
            asyncio.timeout(job.timeout_s) as clock,
            Workers(workers_for(job.workload)) as workers,
            job.launcher.launch(job.command, job.log, seen, job.engine) as (endpoint, group),
        ):
            ready = True
            try:
                return await _measure(job, endpoint, group, workers, phase), ready
            except LaunchError as error:
                raise LaunchError(await _crash_or(error.failed, group, job.log)) from error
            finally:
                phase("stopping vLLM")
    except LaunchError as error:
        return _with_log(error.failed, job.log), ready
    except TimeoutError:
        if not clock.expired():
            raise
        what = "the server was ready" if ready else "the server was still starting"
        message = f"not done within {job.timeout_s:g} s (--trial-timeout); {what}"
        return _with_log(Failed(kind=FailureKind.TRIAL_TIMEOUT, message=message), job.log), ready


async def _measure(job: Job, endpoint: Endpoint, group: ProcessGroup, workers: Workers, phase: Tell) -> Measured:
    watched = Watched(
        gpus=[gpu.index for gpu in job.gpus],
        pgid=endpoint.pgid if endpoint.speed is None else None,
        alive=lambda: group.exit_code() is None,
        speed=endpoint.speed,
    )
    found = await measure(
        endpoint,
        job.workload,
        slos=job.slos,
        objective=job.objective,
        salt=job.salt,
        phase=phase,
        watched=watched,
        workers=workers,
        underway=job.underway,
    )
    return replace(found, startup_s=endpoint.startup_s, start=endpoint.start)


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
            pids = ", ".join(f"pid {process.pid} (not ours)" for process in processes(gpu.index))
            message = (
                f"GPU memory held by {pids or 'a process that NVML does not list'}: GPU {gpu.index} has "
                f"{bytes_held / 1024**3:.1f} GiB less than before the launch, {_MEMORY_BACK_DEADLINE_S:.0f} s after its end"
            )
            return Failed(kind=FailureKind.GPU_MEMORY_HELD, message=message)
        await asyncio.sleep(0.5)


async def _crash_or(failed: Failed, group: ProcessGroup, log: Path) -> Failed:
    """Why the server ended under load, where it did: then that is why its requests failed. Else the failure as it is."""
    clock = asyncio.get_running_loop().time
    end = clock() + (_DYING_S if failed.kind is FailureKind.LOAD_FAILED else 0)
    while (code := group.exit_code()) is None and clock() < end:
        await asyncio.sleep(0.1)
    if code is None or not log.exists():
        return failed
    logged = failure_of(log, code)
    message = f"the server's process ended while it was under load; {logged.message}"
    return Failed(kind=FailureKind.CRASHED, message=message, log_tail=logged.log_tail)


def _with_log(failed: Failed, log: Path) -> Failed:
    """A failure under load has its reason in the server's log, if the server wrote any, and could."""
    if failed.kind is FailureKind.CRASHED and log.exists() and shutil.disk_usage(log.parent).free < _FULL_BYTES:
        message = f"the disk of {log.parent} is full, so the server cannot write its log: free some, or see --log-dir"
        return replace(failed, kind=FailureKind.DISK_FULL, message=message)
    if failed.log_tail or not log.exists():
        return failed
    return replace(failed, log_tail=failure_of(log, 0).log_tail)
