"""One launch whose processes are in the database while they live, so that whatever kills tuner, they are found again.

In: a plan and a trial's command. Out: the trial's outcome; no process left, or RunError.
"""

import asyncio
from datetime import UTC, datetime

from tuner.errors import RunError
from tuner.launch.process import ProcessId, members, sweep
from tuner.launch.vllm import Launch
from tuner.plan import Plan
from tuner.record import Store
from tuner.trial import Job, run_trial
from tuner.types import Command, Outcome
from tuner.watch import Watch


def run_recorded(plan: Plan, store: Store, watch: Watch, number: int, command: Command, label: str = "") -> Outcome:
    """Run `command` as trial `number`; `label` tells further launches of the same trial apart in the names of the logs.

    Raises RunError when the log cannot be written, or when a process of the server cannot be killed: its launch then stays
    open in the database, and nothing else is started on the GPU that it may hold.
    """
    launches: dict[int, ProcessId] = {}

    def started(launch: Launch) -> None:
        process, now = launch.process, datetime.now(UTC)
        row = store.record_launch(
            plan.study,
            number,
            pid=process.pid,
            pgid=process.pid,
            process_started_s=process.started,
            port=launch.port,
            log=launch.log,
            started_at=now,
        )
        launches[row] = process

    log = plan.logs / plan.study / f"trial-{number}{label}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{log.parent} cannot be made for the servers' logs: {error.strerror}: see --log-dir") from error
    job = Job(engine=plan.engine, command=command, workload=plan.workload, gpus=plan.gpus, log=log, salt=number)
    try:
        return asyncio.run(run_trial(job, started, watch.phase))
    finally:
        for row, process in launches.items():
            if left := members(process.pid):
                raise RunError(
                    f"process {left[0].pid} of trial {number}'s server cannot be killed: the host has to be looked at"
                )
            store.end_launch(row, datetime.now(UTC))


def sweep_leftovers(store: Store, watch: Watch) -> None:
    """Kill what dead tuners left running, by the recorded process ids alone."""
    for launch in store.open_launches():
        if sweep(ProcessId(launch.pid, launch.process_started_s)):
            watch.note(f"stopped a server that a killed tuner left behind (pid {launch.pid}, trial {launch.number})")
        store.end_launch(launch.id, datetime.now(UTC))
