"""One launch: start the engine, measure it under load, stop it. A command in, an Outcome out; a failed launch is a value."""

import asyncio
import itertools
import shutil
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tuner.errors import LaunchError
from tuner.launch.host_memory import oom_kills
from tuner.launch.job import Job, Reload, Tell, Turns
from tuner.launch.together import Together
from tuner.launch.vllm import Seen, failure_of
from tuner.load.limits import machine_limits, too_much
from tuner.load.workers import Workers, workers_for
from tuner.study.cards import free_cards, judged
from tuner.study.measurement import Watched, measure
from tuner.study.suspension import never_suspended
from tuner.types import Endpoint, Failed, FailureKind, Mark, Measured, Outcome
from tuner.types.failure import Whose

#: From the death of EngineCore, which fails all requests, until the API server has ended, too: where they fail by vLLM's own
#: word for it (vllm/v1/engine/exceptions.py), however busy the machine is, and else.
_DEAD, _DYING_S, _MAYBE_DYING_S = "EngineCore encountered an issue", 60.0, 5.0
#: A disk with less is full: the server's next line did not fit.
_FULL_BYTES = 4096
#: What tells the prompts of later loads of a launch from those of its trial, and of all others.
_LATER = 1 << 20
#: What a forked server may fail by although a plain one starts.
_MAY_BE_THE_FORKS = (FailureKind.CRASHED, FailureKind.HOST_MEMORY, FailureKind.HOST, FailureKind.ENVIRONMENT)
#: What a server may end with that cannot write its log.
_MAY_BE_THE_LOGS = (FailureKind.CRASHED, FailureKind.DISK_FULL, FailureKind.HOST)


async def run_trial(job: Job, seen: Seen, phase: Tell, note: Tell) -> Outcome:
    """Launch, measure, stop; once more where the failure may be nobody's settings' doing. `seen` is called before anything
    depends on the server, `phase` with a word for each step. Cancelling it stops the server first. Nothing is launched where
    this machine cannot make the load (CLIENT_BOUND), or while others hold the memory of its cards (GPU_MEMORY_HELD)."""
    if why := too_much(job.workload, workers_for(job.workload), machine_limits()):
        return Failed(kind=FailureKind.CLIENT_BOUND, message=why)
    cards = await free_cards(job.gpus, job.command, job.wait_for_gpu_s, phase)
    if isinstance(cards, Failed):
        return cards
    outcome, ready = await _attempt(job, seen, phase)
    if isinstance(outcome, Failed) and (again := _again(job, outcome, ready)):
        note(f"once more: {outcome.kind.value}: {outcome.message}")
        if isinstance(cards := await free_cards(job.gpus, job.command, job.wait_for_gpu_s, phase), Failed):
            return cards
        outcome, _ = await _attempt(again, seen, phase)
    return await judged(outcome, cards)


def _again(job: Job, failed: Failed, ready: bool) -> Job | None:
    """What to try instead of believing a failure: the same where it is transient or the fork server had died, a plain start
    where a forked server crashed while it started."""
    if job.engine and not ready and failed.kind in _MAY_BE_THE_FORKS:
        return replace(job, engine=None) if job.engine.is_alive else job
    if failed.kind is FailureKind.GPU_MEMORY_HELD and job.gpus:
        return job
    if failed.kind.is_transient or (job.engine and failed.kind is FailureKind.CRASHED and not job.engine.is_alive):
        return job
    return None


async def _attempt(job: Job, seen: Seen, phase: Tell) -> tuple[Outcome, bool]:
    """The outcome, and whether the server had become ready."""
    ready, kills = False, oom_kills()
    phase("starting vLLM")
    try:
        with never_suspended():
            async with (
                asyncio.timeout(job.timeout_s) as clock,
                Workers(workers_for(job.workload)) as workers,
                job.launcher.launch(job.command, job.log, seen, job.engine) as (endpoint, server),
            ):
                ready = True
                try:
                    found = await _in_turn(job, clock, partial(_measure, job, endpoint, server, workers, phase), phase)
                    clock.reschedule(None)  # the load is what --trial-timeout is for
                    if job.again is not None:
                        await job.again(found, _reload(job, endpoint, server, workers, phase), phase)
                    if job.probe is not None:
                        found = replace(found, quality=await job.probe(endpoint, phase))
                    return found, ready
                except LaunchError as error:
                    raise LaunchError(await _crash_or(error.failed, server, job.log, kills)) from error
                finally:
                    phase("stopping vLLM")
    except LaunchError as error:
        return replace(_with_log(error.failed, job.log), starting=not ready), ready
    except TimeoutError:
        if not clock.expired():
            raise
        what = "the server was ready" if ready else "the server was still starting"
        message = f"not done within {job.timeout_s:g} s (--trial-timeout); {what}"
        return _with_log(Failed(kind=FailureKind.TRIAL_TIMEOUT, message=message), job.log), ready


async def _in_turn(
    job: Job, clock: asyncio.Timeout, measuring: Callable[[], Coroutine[Any, Any, Measured]], phase: Tell
) -> Measured:
    """The measurement, once the load has its turn."""
    end_s, now = clock.when(), asyncio.get_running_loop().time
    clock.reschedule(None)
    began_s = now()
    async with job.turns(phase) as turn:
        clock.reschedule(None if end_s is None else end_s + now() - began_s)
        found = await measuring()
    return replace(found, marks=(*found.marks, Mark.NEIGHBOURS)) if turn.may_be_slowed else found


def _reload(job: Job, endpoint: Endpoint, server: Together, workers: Workers, phase: Tell) -> Reload:
    """What loads the server again, as it was loaded for the trial, with other prompts each time."""
    salts = itertools.count(job.salt + _LATER, _LATER)

    async def reload(turns: Turns) -> Measured:
        async with turns(phase):
            return await _measure(replace(job, salt=next(salts)), endpoint, server, workers, phase)

    return reload


async def _measure(job: Job, endpoint: Endpoint, server: Together, workers: Workers, phase: Tell) -> Measured:
    watched = Watched(
        gpus=[gpu.index for gpu in job.gpus],
        sessions=endpoint.sessions if endpoint.speed is None else (),
        alive=lambda: server.exit_code() is None,
        speed=endpoint.speed,
    )
    found = await measure(
        endpoint,
        job.workload,
        slos=job.slos,
        objectives=job.objectives,
        outdo=job.outdo,
        salt=job.salt,
        phase=phase,
        watched=watched,
        workers=workers,
        underway=job.underway,
    )
    if job.launcher.replayed(job.command):
        marks = (mark for mark in found.marks if mark is not Mark.RANDOM_TEXT)
        found = replace(found, marks=(*marks, Mark.REPLAYED_ACCEPTANCE))
    load = replace(found.load, gpus=job.gpu_count)
    return replace(found, load=load, startup_s=endpoint.startup_s, start=endpoint.start)


async def _crash_or(failed: Failed, server: Together, log: Path, kills: int | None) -> Failed:
    """Why the server ended under load, where it did: then that is why its requests failed. Else the failure as it is."""
    clock, patience_s = asyncio.get_running_loop().time, 0.0
    if failed.kind is FailureKind.LOAD_FAILED:
        patience_s = _DYING_S if _DEAD in failed.message else _MAYBE_DYING_S
    end = clock() + patience_s
    while (code := server.exit_code()) is None and clock() < end:
        await asyncio.sleep(0.1)
    if code is None or not log.exists():
        return failed
    logged = failure_of(log, code, kills)
    message = f"the server's process ended while it was under load; {logged.message}"
    # what was refused, unsupported or not found under load is none of that: the server had started
    of_load = not logged.kind.is_of_the_settings or logged.kind is FailureKind.OUT_OF_MEMORY
    kind = logged.kind if of_load and logged.kind.whose is not Whose.MODEL else FailureKind.CRASHED
    return Failed(kind=kind, message=message, log_tail=logged.log_tail)


def _with_log(failed: Failed, log: Path) -> Failed:
    """A failure under load has its reason in the server's log, if the server wrote any, and could."""
    if failed.kind in _MAY_BE_THE_LOGS and log.exists() and shutil.disk_usage(log.parent).free < _FULL_BYTES:
        message = f"the disk of {log.parent} is full, so the server cannot write its log: free some, or see --log-dir"
        return replace(failed, kind=FailureKind.DISK_FULL, message=message)
    if failed.log_tail or not log.exists():
        return failed
    return replace(failed, log_tail=failure_of(log, 0).log_tail)
