"""Which process is meant, now and after a crash: by pid and start, never by name. Knows nothing of launches.

A start is counted in clock ticks since the host booted, and a pid belongs to one boot and one PID namespace: nothing here
depends on the wall clock, which may be set meanwhile. Linux only (https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html).
"""

import functools
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from tuner.errors import RunError
from tuner.types import ProcessId

_PROC = Path("/proc")
#: What an older tuner stored was psutil's wall clock, which may have been set since; a pid does not come round in 2 s.
_SAME_START_S = 2.0
#: Fields of /proc/PID/stat behind the name: state, and start in ticks.
_STATE, _START = 0, 19


@functools.cache
def place() -> str:
    """Where a pid means what it means here: this boot of this host, and this PID namespace."""
    boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{(_PROC / 'self/ns/pid').readlink()}"


def identity(pid: int) -> ProcessId:
    """Who has that pid now. Raises psutil.NoSuchProcess."""
    return ProcessId(pid, _started_s(_stat(pid)), place())


def is_here(known: ProcessId) -> bool:
    """Whether it can be seen from here whether it lives."""
    return known.place in (None, place())


def is_alive(known: ProcessId) -> bool:
    """Whether the process of that pid is still this one; a zombie is dead, and so is one of another boot or container."""
    try:
        if known.place is None:
            process = psutil.Process(known.pid)
            same = abs(process.create_time() - known.started_s) < _SAME_START_S
            return same and process.status() != psutil.STATUS_ZOMBIE
        stat = _stat(known.pid)
        return known.place == place() and _started_s(stat) == known.started_s and stat[_STATE] not in (b"Z", b"X")
    except psutil.NoSuchProcess:
        return False


def members(session: int) -> list[psutil.Process]:
    """The living processes of a session, and what they or its leader started that has made a session of its own."""
    found = {}
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = process
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            continue
    for process in [*found.values()]:
        found |= {child.pid: child for child in _descendants(process)}
    return [*found.values()]


def identities(processes: Iterable[psutil.Process]) -> frozenset[ProcessId]:
    """Who they are, less those that ended meanwhile."""
    found = set()
    for process in processes:
        try:
            found.add(identity(process.pid))
        except psutil.NoSuchProcess:
            continue
    return frozenset(found)


def kill_session(session: int) -> None:
    """SIGKILL every process of a session, also those that have their own process group or have made their own session."""
    _kill(members(session))


def sweep(session: int, recorded: Iterable[ProcessId], deadline_s: float = 10.0) -> tuple[list[int], list[int]]:
    """Kill what a dead tuner left of a launch; the pids that were killed, and those that did not go within the deadline.

    Killed are the recorded processes that are still themselves, their descendants, and what else is in the session as long as a
    recorded one is: while it lives, the session's id cannot have been given away. A session without any of ours is somebody
    else's. Again until none is left: a server may go on starting processes while it is killed.
    """
    known, killed = [*recorded], []
    end = time.monotonic() + deadline_s
    while ours := _left(session, known):
        killed += [pid for pid in ours if pid not in killed]
        known = [*identities(ours.values()), *known]
        _kill(ours.values())
        psutil.wait_procs(ours.values(), timeout=max(0.01, min(0.5, end - time.monotonic())))
        if time.monotonic() > end:
            return killed, [pid for pid in ours if _lives(ours[pid])]
    return killed, []


def end_session(leader: ProcessId, recorded: Iterable[ProcessId]) -> list[int]:
    """Sweep the session of a launch; the pids that were killed. Raises RunError for a process that does not go."""
    killed, stuck = sweep(leader.pid, recorded)
    if stuck:
        raise RunError(f"process {stuck[0]} of a server cannot be killed: the host has to be looked at")
    return killed


def _left(session: int, known: Iterable[ProcessId]) -> dict[int, psutil.Process]:
    """Recorded processes that live, their descendants, and the rest of their session."""
    found = {}
    for each in known:
        if is_alive(each):
            try:
                found[each.pid] = psutil.Process(each.pid)
            except psutil.NoSuchProcess:
                continue
    if any(_session(process) == session for process in found.values()):
        found |= {process.pid: process for process in members(session)}
    for process in [*found.values()]:
        found |= {child.pid: child for child in _descendants(process)}
    return found


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [child for child in process.children(recursive=True) if _lives(child)]
    except psutil.NoSuchProcess:
        return []


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat behind the name, which may hold anything. Raises psutil.NoSuchProcess."""
    try:
        return (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise psutil.NoSuchProcess(pid) from error


def _started_s(stat: list[bytes]) -> float:
    return int(stat[_START]) / os.sysconf("SC_CLK_TCK")
