"""The leader of a session: starts one command in it, and leaves nothing of the session behind when that ends or tuner dies.

In: file descriptors. `control` is a socket whose other end tuner holds: a byte means SIGTERM for the command, end of file means
that tuner is gone, even by SIGKILL. When the command ends, its exit code is written to `control`. Standard library only: it
is run as a file with `python -I -S`, and by the host in a fork of itself.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys


def guard(engine: int, control: int, *lifelines: int) -> int:
    """Wait for the child `engine`; its exit code as a shell tells it (137: SIGKILL). End of file on a lifeline kills all.

    One thread: the child's end arrives as a byte on a pipe, so its pid is never used after it was given back.
    """
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        ended, status = os.waitpid(engine, os.WNOHANG)
        if ended:
            kill_others()
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        readable, _, _ = select.select([wake, control, *lifelines], [], [])
        if wake in readable:
            os.read(wake, 4096)
        if any(lifeline in readable for lifeline in lifelines) or (control in readable and not os.read(control, 64)):
            kill_others()
            os.kill(os.getpid(), signal.SIGKILL)
        if control in readable:
            os.kill(engine, signal.SIGTERM)


def kill_others() -> None:
    """SIGKILL every other process of this session, also those that have their own process group."""
    session, myself = os.getsid(0), os.getpid()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (pid := int(entry.name)) != myself:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getsid(pid) == session:
                    os.kill(pid, signal.SIGKILL)


def report(control: int, code: int) -> None:
    """Tell tuner the exit code, if it is still there."""
    with contextlib.suppress(OSError):
        os.write(control, str(code).encode())


if __name__ == "__main__":
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, close_fds=False)
    exit_code = guard(child.pid, 0)
    report(0, exit_code)
    os._exit(exit_code)
