"""Several processes at once: what they say, what they end with, and that none is left, whatever ends whom."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from waiting import wait_for

from tuner.study.coordinators import run_all

SAYS = "import sys; print('out'); print('err', file=sys.stderr); sys.exit({})"
#: Ends by SIGTERM as a study does, after a while.
WAITS = (
    "import signal, sys, time; from pathlib import Path\n"
    "def end(*_):\n    time.sleep(0.5); print('stopped', flush=True); sys.exit(143)\n"
    "signal.signal(signal.SIGTERM, end)\n"
    "import os; Path(sys.argv[1]).write_text(str(os.getpid()))\n"
    "time.sleep(600)\n"
)
#: Runs two that wait; its own interrupts are those of a command.
PARENT = (
    "import sys; from tuner.interrupts import heed_signals, interrupted_code\n"
    "from tuner.study.coordinators import run_all\n"
    "import os\n"
    "heed_signals()\n"
    "commands = {name: [sys.executable, '-c', sys.argv[1], name] for name in 'ab'}\n"
    "try:\n"
    "    run_all(commands, {name: dict(os.environ) for name in 'ab'}, lambda *line: print(*line, flush=True), print)\n"
    "except KeyboardInterrupt:\n"
    "    sys.exit(interrupted_code())\n"
)


def test_lines_and_ends_are_told_by_name_and_one_that_fails_leaves_the_other_alone() -> None:
    lines, ends = list[tuple[str, str]](), list[tuple[str, int]]()
    late = "import time; time.sleep(1); " + SAYS.format(0)
    commands = {"a": [sys.executable, "-c", SAYS.format(3)], "b": [sys.executable, "-c", late]}
    codes = run_all(
        commands,
        {name: dict(os.environ) for name in "ab"},
        lambda *line: lines.append(line),
        lambda *end: ends.append(end),
    )
    assert codes == {"a": 3, "b": 0}
    assert ends == [("a", 3), ("b", 0)]
    assert sorted(lines) == [("a", "err"), ("a", "out"), ("b", "err"), ("b", "out")]


def pids(folder: Path) -> list[int]:
    wait_for(lambda: all((folder / name).exists() and (folder / name).read_text() for name in "ab"))
    return [int((folder / name).read_text()) for name in "ab"]


def parent(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", PARENT, WAITS], cwd=folder, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_all_in_order_and_waits_for_all(tmp_path: Path, number: int, code: int) -> None:
    with parent(tmp_path) as one:
        running = pids(tmp_path)
        one.send_signal(number)
        said, _ = one.communicate(timeout=60)
    assert one.returncode == code
    assert sorted(said.splitlines()) == ["a stopped", "b stopped"]
    assert not any(map(psutil.pid_exists, running))


def test_a_second_interrupt_waits_for_nobody(tmp_path: Path) -> None:
    with parent(tmp_path) as one:
        running = pids(tmp_path)
        one.send_signal(signal.SIGINT)
        time.sleep(0.1)
        one.send_signal(signal.SIGINT)
        one.communicate(timeout=60)
    assert one.returncode == 130
    assert not any(map(psutil.pid_exists, running))


def test_whatever_kills_the_parent_leaves_none(tmp_path: Path) -> None:
    with parent(tmp_path) as one:
        running = pids(tmp_path)
        one.kill()
        wait_for(lambda: not any(map(psutil.pid_exists, running)), 20)
