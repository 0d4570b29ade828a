"""What ends or suspends `tuner optimize` from outside: its exit code, and what becomes of the measurement."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from simulating import simulated
from waiting import wait_for

OPTIMIZE = (
    "optimize",
    "--engine",
    "sim",
    "--gpu",
    "t4",
    "--study",
    "s",
    "--verify",
    "0",
    "--trials",
    "1",
    "--window",
    "300",
)


def begun(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tuner", *OPTIMIZE]
    tuner = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    log = folder / "tuner-logs" / "s" / "trial-0.log"
    wait_for(lambda: log.is_file() and log.stat().st_size > 0)
    time.sleep(1)
    return tuner


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_exit_code_tells_the_signal(tmp_path: Path, number: int, code: int) -> None:
    with begun(tmp_path) as tuner:
        tuner.send_signal(number)
        _, said = tuner.communicate(timeout=60)
    assert tuner.returncode == code
    assert "Interrupted: the server is stopped and every finished trial is kept" in said


def test_what_was_measured_while_tuner_was_suspended_is_measured_again(tmp_path: Path) -> None:
    with begun(tmp_path) as tuner:
        tuner.send_signal(signal.SIGSTOP)
        time.sleep(1)
        tuner.send_signal(signal.SIGCONT)
        _, said = tuner.communicate(timeout=120)
    assert tuner.returncode == 0
    assert "once more: client bound: tuner was suspended while it measured" in said


def test_a_bench_that_was_suspended_has_measured_nothing(tmp_path: Path) -> None:
    with simulated(speed=1.0) as client:
        options = ("--users", "4", "--warmup", "1", "--window", "15", "--precision", "0.5")
        command = [sys.executable, "-m", "tuner", "bench", client.url, *options]
        tuner = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        time.sleep(6)
        tuner.send_signal(signal.SIGSTOP)
        time.sleep(1)
        tuner.send_signal(signal.SIGCONT)
        shown, said = tuner.communicate(timeout=120)
    assert tuner.returncode == 1
    assert "tuner was suspended while it measured" in said
    assert shown == ""
