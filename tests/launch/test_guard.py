"""No survivor: servers that fork without end, or whose children make sessions of their own, when tuner or they end."""

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from waiting import wait_for

from tuner.launch import process
from tuner.launch.process import ProcessGroup
from tuner.launch.processes import end_session, identities, identity, is_alive, members, place
from tuner.launch.scratch import scratch, variables
from tuner.types import ProcessId

#: Whoever is left of it holds this lock: forks share it. A process that lives for 4 ms is not seen by looking.
_LOCKED = "import fcntl, os, sys, time\nfcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_SH)\n"
#: Forks every 0.5 ms; what it forks stays.
FORKS = (
    _LOCKED + "for _ in range(1200):\n"
    "    if os.fork() == 0: time.sleep(60); os._exit(0)\n"
    "    time.sleep(.0005)\n"
    "time.sleep(60)"
)
#: Each process is replaced by its child, in a session of its own, some hundred times a second.
FLEES = (
    _LOCKED + "if os.fork(): time.sleep(60)\n"
    "while True:\n"
    "    if os.fork(): os._exit(0)\n"
    "    os.setsid(); time.sleep(.004)\n"
)
#: A daemon by the book: its own session, no parent; and a child that only has a session.
DAEMON = (
    _LOCKED + "import subprocess\n"
    "if os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n    time.sleep(60)\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', *sys.argv[1:]], start_new_session=True)\n"
    "time.sleep(60)"
)
KINDS = {"forks": FORKS, "flees": FLEES, "daemon": DAEMON}


def survivors(mark: str) -> list[int]:
    """By their command line, which forks inherit, and by the lock of that name."""
    found = psutil.process_iter(["cmdline", "status"])
    seen = [p.pid for p in found if mark in (p.info["cmdline"] or []) and p.info["status"] != psutil.STATUS_ZOMBIE]
    return seen or [-1] * is_locked(Path(mark))


def is_locked(path: Path) -> bool:
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def guarded(code: str, mark: str) -> tuple["subprocess.Popen[bytes]", socket.socket]:
    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-I", "-S", str(process._GUARD), sys.executable, "-c", code, mark]
    with theirs:
        popen = subprocess.Popen(argv, stdin=theirs.fileno(), start_new_session=True)
    return popen, ours


@pytest.mark.parametrize("code", KINDS.values(), ids=KINDS)
def test_nothing_survives_the_end_of_tuner(tmp_path: Path, code: str) -> None:
    for number in range(5):
        mark = str(tmp_path / f"survives-{number}")
        guard, control = guarded(code, mark)
        time.sleep(0.15 + 0.05 * number)
        assert survivors(mark)
        control.close()  # as the kernel does when tuner is killed
        assert guard.wait(20) == -signal.SIGKILL
        assert survivors(mark) == []


@pytest.mark.parametrize("code", KINDS.values(), ids=KINDS)
def test_nothing_survives_a_stop(tmp_path: Path, code: str) -> None:
    mark = str(tmp_path / "stopped")
    with (tmp_path / "log").open("wb") as log:
        group = ProcessGroup.spawn((sys.executable, "-c", code, mark), os.environ, log, tmp_path)
    time.sleep(0.4)
    asyncio.run(group.stop(0.2))
    assert survivors(mark) == []


@pytest.mark.parametrize("code", [KINDS["daemon"]])
def test_what_was_seen_of_a_server_is_found_after_tuner_and_guard_were_killed(tmp_path: Path, code: str) -> None:
    mark = str(tmp_path / "swept")
    guard, control = guarded(code, mark)
    leader = identity(guard.pid)
    wait_for(lambda: len(survivors(mark)) >= 3)
    time.sleep(0.2)
    seen = identities(members(guard.pid))
    guard.kill()
    guard.wait()
    control.close()
    assert survivors(mark)
    assert end_session(leader, seen)
    assert survivors(mark) == []


def test_the_guard_leaves_neither_files_nor_shared_memory_of_a_killed_server(tmp_path: Path) -> None:
    """Python's own tracker removes what was registered, because the guard lets it."""
    code = (
        "import multiprocessing.shared_memory as m, os, signal, tempfile\n"
        "memory = m.SharedMemory(create=True, size=4096); open(tempfile.mkstemp()[1] + '.sock', 'w').close()\n"
        "print(memory.name, flush=True); signal.pause()\n"
    )
    with scratch() as folder, (tmp_path / "log").open("wb") as log:
        group = ProcessGroup.spawn((sys.executable, "-c", code), {**os.environ, **variables(folder)}, log, tmp_path)
        wait_for(lambda: (tmp_path / "log").read_text().endswith("\n"))
        shared = Path("/dev/shm") / (tmp_path / "log").read_text().strip()
        assert shared.exists()
        assert len(list(folder.iterdir())) == 2
        group.kill()
        assert not shared.exists()
        assert not folder.exists()


def test_the_folder_of_a_tuner_that_was_killed_with_its_guard_goes_with_the_next(tmp_path: Path) -> None:
    program = "from tuner.launch.scratch import scratch\nwith scratch() as f: print(f, flush=True); import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        left = Path(other.stdout.readline().strip())
        with scratch():
            assert left.is_dir()  # its tuner lives
        other.kill()
        other.wait()
    with scratch() as mine:
        assert not left.exists()
        assert len(str(mine)) + len("/pymp-xxxxxxxx/listener-xxxxxxxx") < 107
    assert not mine.exists()


@pytest.mark.parametrize("step_s", [-3600.0, 2.5, 3600.0])
def test_a_process_stays_itself_when_the_wall_clock_is_set(monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        known = identity(child.pid)
        real: Callable[[], float] = psutil._pslinux.boot_time
        monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: real() + step_s)
        assert is_alive(known)
        child.kill()
    assert not is_alive(known)


def test_a_pid_of_another_boot_or_container_is_not_ours() -> None:
    me = identity(os.getpid())
    assert is_alive(me)
    assert me.place == place()
    for elsewhere in (f"{place()}0", "another boot/pid:[1]"):
        assert not is_alive(ProcessId(me.pid, me.started_s, elsewhere))


def test_what_an_older_tuner_stored_is_still_found() -> None:
    old = ProcessId(os.getpid(), psutil.Process().create_time())
    assert is_alive(old)
    assert not is_alive(ProcessId(os.getpid(), old.started_s - 100))
