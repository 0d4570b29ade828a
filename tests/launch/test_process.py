"""Process groups with real processes: started, stopped, found again; also those that do not want to go."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from waiting import wait_for

from tuner.errors import LaunchError
from tuner.launch.process import ProcessGroup
from tuner.launch.processes import identities, identity, members, sweep
from tuner.launch.vllm import VllmLauncher
from tuner.types import ProcessId

#: Ignores SIGTERM, and starts a child that does too and outlives it.
STUBBORN = (
    "import signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "subprocess.Popen([sys.executable, '-c', 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print(1, flush=True); time.sleep(600)'])\n"
    "print(1, flush=True)\n"
    "time.sleep(600)\n"
)


def start(tmp_path: Path, code: str) -> ProcessGroup:
    with (tmp_path / "log").open("wb") as log:
        return ProcessGroup.spawn((sys.executable, "-c", code), os.environ, log, tmp_path)


def lines(tmp_path: Path, count: int) -> Callable[[], bool]:
    return lambda: len((tmp_path / "log").read_text().splitlines()) >= count


def test_output_goes_to_the_log_and_the_exit_code_comes_back(tmp_path: Path) -> None:
    group = start(tmp_path, "print('hello'); raise SystemExit(3)")
    wait_for(lambda: group.exit_code() is not None)
    assert group.exit_code() == 3
    assert (tmp_path / "log").read_text() == "hello\n"
    asyncio.run(group.stop(15))


def test_a_polite_process_is_asked_to_end(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "def bye(*_): print('bye', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, bye)\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    group = start(tmp_path, code)
    wait_for(lines(tmp_path, 1))
    asyncio.run(group.stop(15))
    assert (tmp_path / "log").read_text() == "up\nbye\n"
    assert members(group.session) == []


def test_a_process_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    group = start(tmp_path, STUBBORN)
    wait_for(lines(tmp_path, 2))
    assert len(members(group.session)) == 3  # guard, process, child
    asyncio.run(group.stop(deadline_s=0.5))
    assert members(group.session) == []


def test_what_a_dead_server_leaves_is_stopped_at_once(tmp_path: Path) -> None:
    """vLLM's API server killed by SIGKILL leaves its EngineCore behind, with the GPU's memory: the guard does not wait."""
    group = start(tmp_path, STUBBORN)
    wait_for(lines(tmp_path, 2))
    next(p for p in members(group.session) if STUBBORN in p.cmdline()[2:3]).kill()
    wait_for(lambda: members(group.session) == [])
    assert group.exit_code() == 137
    asyncio.run(group.stop(15))


def test_what_a_dead_guard_leaves_is_stopped_too(tmp_path: Path) -> None:
    group = start(tmp_path, STUBBORN)
    wait_for(lines(tmp_path, 2))
    psutil.Process(group.session).kill()
    wait_for(lambda: group.exit_code() is not None)
    assert len(members(group.session)) == 2
    asyncio.run(group.stop(15))
    assert members(group.session) == []


def test_a_tuner_killed_by_sigkill_takes_its_server_along(tmp_path: Path) -> None:
    program = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from tuner.launch.process import ProcessGroup\n"
        f"group = ProcessGroup.spawn((sys.executable, '-c', {STUBBORN!r}), os.environ, open('log', 'wb'), Path('.'))\n"
        "print(group.session, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as tuner:
        assert tuner.stdout is not None
        session = int(tuner.stdout.readline())
        wait_for(lines(tmp_path, 2))
        tuner.send_signal(signal.SIGKILL)
    wait_for(lambda: members(session) == [])


def test_sweep_kills_what_the_record_names_and_nothing_else(tmp_path: Path) -> None:
    """The guard itself was killed, so only the sweep of the next command can find the rest."""
    group = start(tmp_path, STUBBORN)
    wait_for(lines(tmp_path, 2))
    recorded = identities(members(group.session))
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True) as stranger:
        given_away = ProcessId(stranger.pid, identity(stranger.pid).started_s - 100)
        assert sweep(stranger.pid, [given_away]) == ([], [])
        psutil.Process(group.session).kill()
        wait_for(lambda: group.exit_code() is not None)
        killed, stuck = sweep(group.session, recorded)
        assert len(killed) == 2
        assert stuck == []
        assert members(group.session) == []
        assert sweep(group.session, recorded) == ([], [])
        assert stranger.poll() is None
        stranger.kill()
    asyncio.run(group.stop(15))


def test_sweep_takes_along_what_was_not_recorded_yet_but_no_session_without_a_recorded_process(tmp_path: Path) -> None:
    group = start(tmp_path, STUBBORN)
    wait_for(lines(tmp_path, 2))
    (leader,) = [known for known in identities(members(group.session)) if known.pid == group.session]
    assert sweep(group.session, [ProcessId(leader.pid, leader.started_s + 1000)]) == ([], [])
    assert len(members(group.session)) == 3
    killed, _ = sweep(group.session, [leader])
    assert len(killed) == 3
    asyncio.run(group.stop(15))


def test_only_our_own_listener_counts(tmp_path: Path) -> None:
    code = (
        "import socket, time\n"
        "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
        "print(s.getsockname()[1], flush=True); time.sleep(600)\n"
    )
    other = tmp_path / "other"
    other.mkdir()
    ours = start(tmp_path, code)
    theirs = start(other, code)
    wait_for(lines(tmp_path, 1))
    wait_for(lines(other, 1))
    port, stale = int((tmp_path / "log").read_text()), int((other / "log").read_text())
    assert ours.owns_port(port)
    assert not ours.owns_port(stale)
    asyncio.run(ours.stop(15))
    asyncio.run(theirs.stop(15))


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    engine = VllmLauncher(python=Path("/no/python"), model="m")

    async def launch() -> None:
        async with engine.launch(engine.command({}), tmp_path / "missing" / "log", lambda _: None):
            pass

    with pytest.raises(LaunchError, match=r"cannot be started with its log in .*missing/log: No such file"):
        asyncio.run(launch())
