"""A command in, a process group out that can be watched, stopped for certain, and found again after a crash.

Every process of a launch lives in one session whose id is the guard's pid. It knows nothing of vLLM.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

#: psutil reckons a start time from the wall clock, which may have been set since; a pid does not come round in 2 s.
_SAME_START_S = 2.0
_GUARD = Path(__file__).with_name("guard.py")


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that cannot be confused with a later one of the same pid. `started` is psutil's create_time (epoch s)."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> "ProcessId":
        return cls(pid, psutil.Process(pid).create_time())


class ProcessGroup:
    """A running command in its own session, output going to `log`."""

    def __init__(self, argv: tuple[str, ...], environment: Mapping[str, str], log: Path, cwd: Path) -> None:
        """Start `argv`. Raises OSError when the log cannot be written."""
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), *argv],
                env=dict(environment),
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.id = ProcessId.of(self._popen.pid)

    @property
    def pgid(self) -> int:
        return self._popen.pid

    def exit_code(self) -> int | None:
        """None while the engine runs."""
        return self._popen.poll()

    def owns_port(self, port: int) -> bool:
        """Whether a process of this group listens on `port`: a server that is not ours is never taken for ready."""
        return any(
            connection.laddr.port == port
            for process in members(self.pgid)
            for connection in _listening(process)
            if connection.laddr
        )

    async def stop(self, deadline_s: float) -> None:
        """SIGTERM to the engine, SIGKILL to the group at the deadline, and return when no process of it is left."""
        if self.exit_code() is None:
            self._popen.terminate()
        if not await self._gone(deadline_s):
            kill_session(self.pgid)
            await self._gone(10.0)
        if self._popen.stdin:
            self._popen.stdin.close()

    async def _gone(self, deadline_s: float) -> bool:
        end = asyncio.get_running_loop().time() + deadline_s
        while True:
            leader_gone = self.exit_code() is not None
            if leader_gone and not members(self.pgid):
                return True
            if leader_gone:  # nobody stops the rest of the group any more
                kill_session(self.pgid)
            if asyncio.get_running_loop().time() > end:
                return False
            await asyncio.sleep(0.1)


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


def kill_session(session: int) -> None:
    """SIGKILL every process of a session, also those that have their own process group."""
    for process in members(session):
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def sweep(leader: ProcessId) -> bool:
    """Kill what a dead tuner left of the launch led by `leader`; whether there was anything.

    The session id cannot have been given away while a process of it lives; a leader of another age is somebody else's.
    """
    try:
        if abs(psutil.Process(leader.pid).create_time() - leader.started) >= _SAME_START_S:
            return False
    except psutil.NoSuchProcess:
        pass
    left = members(leader.pid)
    kill_session(leader.pid)
    return bool(left)


def _listening(process: psutil.Process) -> "list[psutil._ntuples.pconn]":
    try:
        return [c for c in process.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
