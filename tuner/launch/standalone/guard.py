"""The leader of a session: starts one command in it, and leaves nothing of it behind when that ends or tuner dies.

In: file descriptors. `control` is a socket whose other end tuner holds: T means SIGTERM for the command, K the end of all, end
of file that tuner is gone, even by SIGKILL. When the command ends, its exit code is written to `control`, once nothing of it is
left: no process, also none that made a session of its own, for its orphans become the guard's children; and no file in the
folder that TUNER_SCRATCH names. Standard library only: it is run as a file with `python -I -S`, and by the host in a fork.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

#: Names the folder of files that go with the command.
SCRATCH = "TUNER_SCRATCH"
#: <linux/prctl.h>: who orphans go to, and the name of a process.
_PR_SET_NAME, _PR_GET_NAME, _PR_SET_CHILD_SUBREAPER = 15, 16, 36
_NAME = b"tuner-guard"
#: What ends by itself once its parent is gone, and cleans up first: other guards, and Python's resource trackers, which remove
#: shared memory and semaphores of killed processes.
_ORDERLY_S = 5.0
_TRACKER = b"multiprocessing.resource_tracker"
#: For what the kernel does not let go: so long after the last process that was not seen before.
_STUCK_S = 10.0
#: Passes of killing one by one; whoever still has new processes then is killed by process groups, which no fork escapes.
_SINGLY = 3
_BETWEEN_S = 0.005
_QUICKLY_S = 0.05


class _Process(NamedTuple):
    pid: int
    name: bytes
    state: bytes
    parent: int
    group: int
    session: int


class Guard:
    """Of the child `engine`. One thread: a child's end arrives as a byte on a pipe, so no pid is used once it is given back."""

    def __init__(self, engine: int, control: int, lifelines: tuple[int, ...], scratch: str | None) -> None:
        self._engine, self._control, self._lifelines, self._scratch = engine, control, lifelines, scratch
        self._status: int | None = None

    def wait(self) -> int:
        """The command's exit code as a shell tells it (137: SIGKILL). End of file on a lifeline ends all, the guard too."""
        wake, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            self._reap()
            if self._status is not None:
                self.end_all()
                code = os.waitstatus_to_exitcode(self._status)
                return code if code >= 0 else 128 - code
            readable, _, _ = select.select([wake, self._control, *self._lifelines], [], [])
            if wake in readable:
                os.read(wake, 4096)
            asked = self._asked() if self._control in readable else b"-"
            if not asked or any(lifeline in readable for lifeline in self._lifelines):
                self.end_all()
                os.kill(os.getpid(), signal.SIGKILL)
            if b"K" in asked:
                self.end_all()
            elif b"T" in asked and self._status is None:
                os.kill(self._engine, signal.SIGTERM)

    def _asked(self) -> bytes:
        """What tuner sent; nothing when it is gone."""
        try:
            return os.read(self._control, 64)
        except OSError:
            return b""

    def end_all(self) -> None:
        """SIGKILL every process of the session and every descendant, again until none is left; then remove the folder.

        That none is seen is no proof: who forks and ends at once is missed by a look at all processes. But whoever is left has
        an ancestor that is a child of this process, to which orphans come; the kernel says when it has none any more."""
        known: set[int] = set()
        began = last_new = time.monotonic()
        passes = 0
        while time.monotonic() < last_new + _STUCK_S:
            has_children = self._reap()
            everything = _everything()
            orderly = _orderly(everything) if time.monotonic() < began + _ORDERLY_S else set()
            ours = _ours(everything, orderly)
            left = [process for process in ours if process.pid not in orderly]
            if not ours and not has_children:
                break
            if {process.pid for process in left} - known:
                last_new = time.monotonic()
            known |= {process.pid for process in left}
            _kill(left, by_group=passes >= _SINGLY)
            passes += bool(left)
            self._kill_children(spared=orderly)
            time.sleep(_BETWEEN_S)
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _kill_children(self, spared: set[int]) -> None:
        """For a while, and quicker than by a look at all processes, which misses who forks and ends within milliseconds."""
        end = time.monotonic() + _QUICKLY_S
        while time.monotonic() < end:
            for pid in _children():
                if pid not in spared:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
            if not self._reap():
                return

    def _reap(self) -> bool:
        """Whoever of the children ended: the command, and orphans. Whether there are others."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return True
                if pid == self._engine:
                    self._status = status
        except ChildProcessError:
            return False


def guard(engine: int, control: int, *lifelines: int, scratch: str | None = None) -> int:
    """Wait for the child `engine`, and leave nothing of it; its exit code as a shell tells it (137: SIGKILL)."""
    return Guard(engine, control, lifelines, scratch).wait()


def adopt() -> bytes:
    """Take in the orphans of this process' descendants, from now on, under a guard's name. The answer is the name before: a
    fork of a guard takes it back (`rename`), or it would be spared as guards are."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = ctypes.create_string_buffer(16)
    libc.prctl(_PR_GET_NAME, before, 0, 0, 0)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    rename(_NAME)
    return before.value


def rename(name: bytes) -> None:
    """Give this process a name, of at most 15 bytes; its forks have it, too."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NAME, name, 0, 0, 0)


def _everything() -> dict[int, _Process]:
    """The processes that live, by pid."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{entry.name}/stat", "rb") as file:  # noqa: PTH123  thousands of them in a second
                    head, _, tail = file.read().rpartition(b")")
                state, parent, group, session = tail.split()[:4]
                if state not in (b"Z", b"X"):
                    pid = int(entry.name)
                    name = head.partition(b"(")[2]
                    found[pid] = _Process(pid, name, state, int(parent), int(group), int(session))
    return found


def _children() -> list[int]:
    """Of this process; none where the kernel does not tell (CONFIG_PROC_CHILDREN)."""
    try:
        return [int(pid) for pid in Path("/proc/thread-self/children").read_bytes().split()]
    except OSError:
        return []


def _ours(everything: dict[int, _Process], orderly: set[int]) -> list[_Process]:
    """Those of this session, and the descendants of this process, but for those of another guard that ends them itself."""
    myself, session = os.getpid(), os.getsid(0)
    children: dict[int, list[_Process]] = {}
    for process in everything.values():
        children.setdefault(process.parent, []).append(process)
    found = {process.pid: process for process in everything.values() if process.session == session}
    found.pop(myself, None)
    waiting = [*children.get(myself, []), *found.values()]
    seen = set()
    while waiting:
        process = waiting.pop()
        if process.pid in seen:
            continue
        seen.add(process.pid)
        found[process.pid] = process
        if process.pid not in orderly:
            waiting += children.get(process.pid, [])
    return list(found.values())


def _orderly(everything: dict[int, _Process]) -> set[int]:
    return {pid for pid, process in everything.items() if process.name == _NAME or _is_tracker(process)} - {os.getpid()}


def _is_tracker(process: _Process) -> bool:
    if not process.name.startswith((b"python", b"VLLM", b"vllm")):
        return False
    try:
        return _TRACKER in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:
        return False


def _kill(processes: list[_Process], *, by_group: bool) -> None:
    mine = os.getpgrp()
    for group in {process.group for process in processes} - {mine} if by_group else ():
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)
    for process in processes:
        with contextlib.suppress(OSError):
            os.kill(process.pid, signal.SIGKILL)


def report(control: int, code: int) -> None:
    """Tell tuner the exit code, if it is still there."""
    with contextlib.suppress(OSError):
        os.write(control, str(code).encode())


if __name__ == "__main__":
    adopt()
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, close_fds=False, process_group=0)
    exit_code = guard(child.pid, 0, scratch=os.environ.get(SCRATCH))
    report(0, exit_code)
    os._exit(exit_code)
