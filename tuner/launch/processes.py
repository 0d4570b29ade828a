"""Which process is meant, now and after a crash: by pid and start time, never by name. Knows nothing of launches."""

import os
import signal
from collections.abc import Iterable

import psutil

from tuner.errors import RunError
from tuner.types import ProcessId

#: psutil reckons a start time from the wall clock, which may have been set since; a pid does not come round in 2 s.
_SAME_START_S = 2.0


def identity(pid: int) -> ProcessId:
    """Who has that pid now. Raises psutil.NoSuchProcess."""
    return ProcessId(pid, psutil.Process(pid).create_time())


def is_alive(known: ProcessId) -> bool:
    """Whether the process of that pid is still this one; a zombie is dead."""
    try:
        process = psutil.Process(known.pid)
        same = abs(process.create_time() - known.started_s) < _SAME_START_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def members(session: int) -> list[psutil.Process]:
    """The living processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            continue
    return found


def identities(processes: Iterable[psutil.Process]) -> frozenset[ProcessId]:
    """Who they are, less those that ended meanwhile."""
    found = set()
    for process in processes:
        try:
            found.add(ProcessId(process.pid, process.create_time()))
        except psutil.NoSuchProcess:
            continue
    return frozenset(found)


def kill_session(session: int) -> None:
    """SIGKILL every process of a session, also those that have their own process group."""
    _kill(members(session))


def sweep(session: int, recorded: Iterable[ProcessId], deadline_s: float = 10.0) -> tuple[list[int], list[int]]:
    """Kill what a dead tuner left of a launch; the pids that were killed, and those that did not go within the deadline.

    Killed are the recorded processes that are still themselves, and what else is in the session as long as a recorded one is:
    while it lives, the session's id cannot have been given away. A session without any of ours is somebody else's.
    """
    ours = [psutil.Process(known.pid) for known in recorded if is_alive(known)]
    if any(_session(process) == session for process in ours):
        ours += [process for process in members(session) if process not in ours]
    _kill(ours)
    _, left = psutil.wait_procs(ours, timeout=deadline_s)
    stuck = [process.pid for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    return [process.pid for process in ours], stuck


def end_session(leader: ProcessId, recorded: Iterable[ProcessId]) -> list[int]:
    """Sweep the session of a launch; the pids that were killed. Raises RunError for a process that does not go."""
    killed, stuck = sweep(leader.pid, recorded)
    if stuck:
        raise RunError(f"process {stuck[0]} of a server cannot be killed: the host has to be looked at")
    return killed


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None
