"""One launch whose processes are in the database while they live, so that whatever kills tuner, they are found again.

In: a setup and a trial's command. Out: the trial's outcome; no process left, or RunError.
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tuner import interrupts
from tuner.decide.early import Outdo
from tuner.errors import RunError, StorageError
from tuner.launch.caches import COLD
from tuner.launch.effective import effective_settings
from tuner.launch.engine import Engine
from tuner.launch.job import Again, Job, Probe, Turns, at_once
from tuner.launch.processes import end_session
from tuner.launch.vllm import Launch, Seen
from tuner.measure.visible import VISIBLE
from tuner.record.store import Store
from tuner.space.parallel import gpus_of
from tuner.study.clock import Clock, SystemClock
from tuner.study.lease import abandoned, me
from tuner.study.setup import Setup
from tuner.study.watch import Watch
from tuner.types import Command, Measured, Outcome, Params, ProcessId

#: Launches that begin at once on a cold host wait for the one that fills its caches.
_FIRST_START = threading.Lock()


class _Recorder:
    """Writes the launches of one trial into the database as they are seen."""

    def __init__(self, store: Store, study: str, number: int, clock: Clock, tell: Seen) -> None:
        self._tell = tell
        self._store, self._study, self._number, self._clock = store, study, number, clock
        self._rows: dict[ProcessId, tuple[int, frozenset[ProcessId]]] = {}

    def seen(self, launch: Launch) -> None:
        """What runs on another host is seen to there. Raises StorageError."""
        self._tell(launch)
        if launch.host is not None:
            return
        if launch.leader in self._rows:
            row, known = self._rows[launch.leader]
            self._store.record_processes(row, launch.processes - known)
        else:
            row = self._store.record_launch(
                self._study,
                self._number,
                tuner=me(),
                leader=launch.leader,
                processes=launch.processes,
                start=launch.start,
                port=launch.port,
                log=launch.log,
                started_at=self._clock.now(),
            )
        self._rows[launch.leader] = row, launch.processes

    def end(self) -> None:
        """Raises RunError when a process of a server cannot be killed: its launch stays open in the database, as it does where
        the database refuses. Then the next run sees that nothing of it is left, and what was measured is not lost here."""
        for leader, (_, processes) in self._rows.items():
            end_session(leader, processes)
        with suppress(StorageError):
            for row, _ in self._rows.values():
                self._store.end_launch(row, self._clock.now())


def run_recorded(
    setup: Setup,
    store: Store,
    watch: Watch,
    number: int,
    command: Command,
    params: Params,
    *,
    engine: Engine | None = None,
    outdo: Outdo | None = None,
    label: str = "",
    is_short: bool = False,
    probe: Probe | None = None,
    turns: Turns = at_once,
    again: Again | None = None,
    seen: Seen = lambda launch: None,
) -> Outcome:
    """Run `command`, which has `params`, as trial `number`, forked by `engine` if there is one; `label` tells further
    launches of the same trial apart in the names of the logs. The first start on a host is run twice; only the second counts.
    Its window ends once it cannot become as good as `outdo`. With `is_short` it is asked whether it starts and serves, not how
    well. `probe` asks the server questions after its load, which is in a turn of `turns`, and `again` may load it again. `seen`
    is told of its server.

    Raises RunError when the log cannot be written, or when a process of the server cannot be killed: nothing else is started
    on the GPU that it may hold.
    """
    log = _log_of(setup, number, label)
    make_log_folder(log.parent)
    gpus = gpus_of(command.settings) if setup.space.gpu.names else None
    job = Job(
        launcher=replace(setup.launcher, caches=_seeing(setup.launcher.caches, gpus)),
        command=command,
        params=params,
        workload=setup.workload,
        gpus=setup.gpus[:gpus],
        gpu_count=gpus,
        log=log,
        salt=number,
        slos=setup.slos,
        objectives=setup.objectives,
        outdo=None if outdo is None else outdo.on(gpus),
        engine=engine,
        timeout_s=setup.trial_timeout_s,
        wait_for_gpu_s=setup.wait_for_gpu_s,
        underway=watch.underway,
        probe=probe,
        turns=turns,
        again=again,
    )
    if is_short:
        return _run(setup, job.discarded(), store, watch, number, seen)
    with _FIRST_START:
        if setup.caches.is_cold():
            watch.note(COLD)
            outcome = _run(setup, job.discarded(), store, watch, number, seen)
            if not isinstance(outcome, Measured):
                return outcome
            setup.caches.mark_warm()
    return _run(setup, job, store, watch, number, seen)


def _seeing(variables: Mapping[str, str], gpus: int | None) -> Mapping[str, str]:
    """The variables of a launch, which of the GPUs that they show it show the first so many."""
    if gpus is None or VISIBLE not in variables:
        return variables
    return {**variables, VISIBLE: ",".join(variables[VISIBLE].split(",")[:gpus])}


def started_with(setup: Setup, number: int, resolved: Params) -> Params:
    """What of `resolved` became another value when the trial's server started, as its log says; nothing where there is none."""
    try:
        log = _log_of(setup, number).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return effective_settings(log, resolved)


def _log_of(setup: Setup, number: int, label: str = "") -> Path:
    return setup.logs / setup.study / f"trial-{number}{label}.log"


def make_log_folder(folder: Path) -> None:
    """Raises RunError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be made for the servers' logs: {error.strerror}: see --log-dir") from error


def _run(setup: Setup, job: Job, store: Store, watch: Watch, number: int, seen: Seen) -> Outcome:
    recorder = _Recorder(store, setup.study, number, setup.clock, seen)
    try:
        return interrupts.run(setup.run(job, recorder.seen, watch.phase, watch.note))
    finally:
        recorder.end()


def sweep_leftovers(store: Store) -> list[str]:
    """Kill what dead tuners left running, by the recorded processes alone; a sentence for each launch that had any.

    Raises RunError for a process that does not go: its launch stays open.
    """
    told = []
    for launch in abandoned(store):
        if killed := _end(store, launch.id, launch.leader, launch.processes, SystemClock()):
            pids = ", ".join(str(pid) for pid in killed)
            told.append(f"stopped a server that a killed tuner left behind (trial {launch.number}, pid {pids})")
    return told


def _end(store: Store, row: int, leader: ProcessId, processes: frozenset[ProcessId], clock: Clock) -> list[int]:
    killed = end_session(leader, processes)
    store.end_launch(row, clock.now())
    return killed
