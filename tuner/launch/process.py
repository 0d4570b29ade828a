"""A command in, a process group out that can be watched and stopped for certain.

Every process of a launch lives in one session whose id is the guard's pid (standalone/guard.py). It knows nothing of vLLM.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import psutil

from tuner.launch.processes import identity, kill_session, members

_GUARD = Path(__file__).parent / "standalone" / "guard.py"
#: What a shell reports for SIGKILL.
KILLED = 137
_KILLED_S = 25.0
_POLL_S = 0.02


class ProcessGroup:
    """A running command in its own session. Made by `spawn`, or by a fork server that forked it."""

    def __init__(self, pid: int, control: socket.socket, popen: subprocess.Popen[bytes] | None = None) -> None:
        """`pid` is the guard's, `control` the socket to it."""
        self._control, self._popen = control, popen
        self._exit_code: int | None = None
        control.setblocking(False)
        self.id = identity(pid)

    @classmethod
    def spawn(
        cls,
        argv: tuple[str, ...],
        environment: Mapping[str, str],
        output: IO[bytes],
        cwd: Path,
        *,
        pass_fd: int | None = None,
    ) -> "ProcessGroup":
        """Start `argv` with its output going to `output`. `pass_fd` stays open in it. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            popen = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), *argv],
                env=dict(environment),
                cwd=cwd,
                stdin=theirs.fileno(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=() if pass_fd is None else (pass_fd,),
            )
        return cls(popen.pid, ours, popen)

    @property
    def session(self) -> int:
        return self.id.pid

    def exit_code(self) -> int | None:
        """As a shell tells it; None while the command runs."""
        if self._exit_code is None:
            try:
                self._exit_code = int(self._control.recv(64) or KILLED)  # nothing: the guard itself was killed
            except BlockingIOError:
                return None
            except OSError:
                self._exit_code = KILLED
            if self._popen:
                self._popen.wait()
        return self._exit_code

    def owns_port(self, port: int) -> bool:
        """Whether a process of this group listens on `port`: a server that is not ours is never taken for ready."""
        return any(
            connection.laddr.port == port
            for process in members(self.session)
            for connection in _listening(process)
            if connection.laddr
        )

    async def stop(self, deadline_s: float) -> None:
        """SIGTERM to the command, SIGKILL to the group at the deadline, and return when no process of it is left."""
        self._ask(b"T")
        end = time.monotonic() + deadline_s
        while not self._is_gone() and time.monotonic() < end:
            await asyncio.sleep(_POLL_S)
        self.kill()

    def kill(self) -> None:
        """SIGKILL what is left of the group, and wait until it is gone; at most 25 s, for what the kernel does not let go. The
        guard does it, who finds also what made a session of its own; where it cannot, this process."""
        self._ask(b"K")
        end = time.monotonic() + _KILLED_S
        while not self._is_gone() and time.monotonic() < end:
            time.sleep(_POLL_S)
        kill_session(self.session)
        self._control.close()

    def _ask(self, what: bytes) -> None:
        if self.exit_code() is None:
            with contextlib.suppress(OSError):  # the guard was killed just now
                self._control.send(what)

    def _is_gone(self) -> bool:
        if self.exit_code() is None:
            return False
        if left := members(self.session):  # nobody else stops the rest of the group any more
            kill_session(self.session)
        return not left


def _listening(process: psutil.Process) -> "list[psutil._ntuples.pconn]":
    try:
        return [c for c in process.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
