"""The queue and what runs it in; studies that run, one a card, and their end noted, out. One `step` does what is due.

A job is run by one service: whoever takes it over when that is gone finds the process that runs it, by its pid or by who holds
the study, and waits for it, or queues the job again. Nothing is lost by that: a study goes on where it was. It knows no HTTP.
"""

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from tuner.errors import TunerError
from tuner.launch.processes import is_alive
from tuner.record.listing import records
from tuner.record.queue import CANCELLED, FAILED, FINISHED, PAUSED, QUEUED, RUNNING, Job, Queue
from tuner.record.store import Store
from tuner.retune.studies import proposed_workload
from tuner.serve.allowed import Allowed, Asked
from tuner.serve.asked import StudyAsked
from tuner.serve.child import Child, Places, ending, last_line, start
from tuner.study.events import End
from tuner.study.lease import BEAT_S, WATCHED_S, is_seen, lives, me
from tuner.types import ProcessId

#: A study whose process is killed so often, and that nobody stopped, is not begun once more.
_DEATHS = 3
#: A process that does not end is interrupted again.
_AGAIN_S = 120.0
_ENDED_BY_SIGNAL = (128 + signal.SIGINT, 128 + signal.SIGTERM, -signal.SIGINT, -signal.SIGTERM)
STOPPED = "the service was stopped: it goes on when that starts again"


class Worker:
    """Of one service. Its methods are called by one thread at a time."""

    def __init__(
        self, queue: Queue, reading: Store, allowed: Allowed, places: Places, tell: Callable[[str], None]
    ) -> None:
        self._queue, self._looked, self._store = queue, Queue(reading), reading
        self._allowed, self._places, self._tell = allowed, places, tell
        self._jobs: dict[str, tuple[Job, Child]] = {}
        self._interrupted_s: dict[str, float] = {}
        self._beat_s, self._stopping = 0.0, False
        self._beats: dict[str, tuple[object, float]] = {}

    @property
    def running(self) -> int:
        """How many studies it runs."""
        return len(self._jobs)

    def step(self) -> None:
        """Raises StorageError; the next step goes on."""
        self._beat()
        self._see_to_mine()
        if self._stopping:
            return
        self._take_over()
        while (job := self._queue.claim(me(), datetime.now(UTC))) is not None:
            self._start(job)

    def stop(self, within_s: float) -> None:
        """Interrupt what runs, twice if need be, and queue it again. What does not end in time goes on, and is found again."""
        self._stopping = True
        for _ in range(2):
            for _, child in self._jobs.values():
                child.interrupt()
            end = time.monotonic() + within_s / 2
            while self._jobs and time.monotonic() < end:
                self._see_to_mine()
                time.sleep(0.1)

    def _beat(self) -> None:
        if time.monotonic() < self._beat_s + BEAT_S or not self._jobs:
            return
        self._beat_s = time.monotonic()
        held = {job.study for job in self._queue.beat([job for job, _ in self._jobs.values()])}
        for study in [study for study in self._jobs if study not in held]:
            self._tell(f"study {study!r} was taken over by another service")
            del self._jobs[study]

    def _see_to_mine(self) -> None:
        now = self._looked.jobs(list(self._jobs))
        for study, (job, child) in [*self._jobs.items()]:
            if not self._is_run(job, child):
                fresh = now.get(study, job)
                self._settle(replace(job, wish=fresh.wish, deaths=fresh.deaths), child)
            elif study in now and now[study].wish is not None:
                self._interrupt(study, child)

    def _interrupt(self, study: str, child: Child) -> None:
        if time.monotonic() > self._interrupted_s.get(study, -_AGAIN_S) + _AGAIN_S:
            self._interrupted_s[study] = time.monotonic()
            child.interrupt()

    def _is_run(self, job: Job, child: Child) -> bool:
        """One that cannot be seen from here has to be seen to beat."""
        if child.code is not None or is_seen(child.known, job.runner.host if job.runner else ""):
            return child.lives
        _, holder = records(self._store, [job.study]).get(job.study, (None, None))
        return holder is not None and holder.process == child.known and self._beats_on(job.study, holder.beat)

    def _start(self, job: Job) -> None:
        try:
            child = start(self._asked(job), self._places, job.token)
        except (TunerError, OSError, ValueError) as error:
            told = str(error) if isinstance(error, TunerError) else f"it cannot be started: {type(error).__name__}"
            self._queue.end(job, FAILED, told, datetime.now(UTC))
            self._tell(f"study {job.study!r} failed: {told}")
            return
        self._jobs[job.study] = (job, child)
        self._interrupted_s.pop(job.study, None)
        self._tell(f"study {job.study!r} begins, asked for by {job.asked_by} (process {child.known.pid})")
        self._queue.started(job, child.known)

    def _asked(self, job: Job) -> Asked:
        """What it is run with. The workload of a proposal is one that no request can name."""
        said, may = StudyAsked.model_validate(job.asked, strict=False), self._allowed
        if (path := proposed_workload(self._store, said.workload, self._places.folder)) is not None:
            may = replace(may, workloads={**may.workloads, said.workload: path})
        return may.options(said)

    def _settle(self, job: Job, child: Child) -> None:
        """Note how it ended; where another process runs the study, wait for that."""
        end = ending(self._places, job.token, child.known.pid)
        state, message, deaths = self._outcome(job, child, end)
        if state in (FAILED, QUEUED) and not self._stopping and (other := self._other(job, child)) is not None:
            self._tell(f"study {job.study!r} is run by process {other.pid} already, which is waited for")
            self._jobs[job.study] = (job, Child(other))
            self._queue.started(job, other)
            return
        if not self._queue.end(job, state, message, datetime.now(UTC), deaths):
            return  # somebody wishes something else meanwhile, or another service has it: see the next step
        del self._jobs[job.study]
        self._tell(f"study {job.study!r} is {state}" + (f": {message}" if message else ""))

    def _outcome(self, job: Job, child: Child, end: End | None) -> tuple[str, str | None, int]:
        """State, message, and how often it died in a row by now."""
        if end is not None and end.how == "finished":
            return FINISHED, None, 0
        if job.wish is not None:
            return (CANCELLED if job.wish == "cancel" else PAUSED), None, 0
        if end is not None and end.how == "failed":
            return FAILED, end.message, 0
        if (end is not None and end.how == "interrupted") or child.code in _ENDED_BY_SIGNAL:
            return QUEUED, STOPPED if self._stopping else "it was interrupted, and goes on", 0
        if child.code is not None and child.code > 0:
            return FAILED, last_line(self._places, job.token).removeprefix("Error: "), 0
        if job.deaths + 1 >= _DEATHS:
            return FAILED, f"its process was killed {_DEATHS} times in a row: see its log, and resume it", 0
        return QUEUED, "its process was killed, and it goes on", job.deaths + 1

    def _other(self, job: Job, child: Child) -> ProcessId | None:
        _, holder = records(self._store, [job.study]).get(job.study, (None, None))
        if holder is None or holder.process == child.known or not lives(holder):
            return None
        return holder.process

    def _take_over(self) -> None:
        """The jobs of services that are gone."""
        for job in self._looked.in_states(RUNNING):
            if job.study in self._jobs or job.runner is None or self._runner_lives(job):
                continue
            taken = self._queue.take_over(job, me())
            if taken is None:
                continue
            found = taken.child if taken.child is not None and is_alive(taken.child) else None
            child = Child(found or self._other(taken, Child(_NOBODY)) or taken.child or _NOBODY)
            self._jobs[job.study] = (taken, child)
            self._queue.started(taken, child.known)
            self._tell(f"study {job.study!r} is taken over from a service that is gone")

    def _runner_lives(self, job: Job) -> bool:
        assert job.runner is not None
        if is_seen(job.runner.process, job.runner.host):
            return is_alive(job.runner.process) and job.runner.process != me()
        return self._beats_on(job.token, (job.runner.lease, job.runner.beat))

    def _beats_on(self, of: str, beat: object) -> bool:
        known = self._beats.get(of)
        if known is None or known[0] != beat:
            self._beats[of] = (beat, time.monotonic())
            return True
        return time.monotonic() < known[1] + WATCHED_S


#: A process that is never there.
_NOBODY = ProcessId(0, -1.0, None)
