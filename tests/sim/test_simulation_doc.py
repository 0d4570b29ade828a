"""docs/simulation.md: its commands are run, its numbers are those of the code."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from simulating import MODEL
from waiting import answers, free_port, wait_for

from tuner.predict.shape import read_shape
from tuner.sim import __main__ as program
from tuner.sim import requests, server, startup, tokens
from tuner.sim import speed as pacing
from tuner.space.files import load_space
from tuner.workload.presets import PRESETS

TEXT = (REPOSITORY / "docs" / "simulation.md").read_text()
COMMANDS = re.findall(r"^\$ (.+)$", TEXT, re.MULTILINE)


def run(arguments: list[str], folder: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER_")}
    command = [sys.executable, "-m", "tuner", *arguments]
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.long
def test_the_study_runs_as_written(tmp_path: Path) -> None:
    """With three trials instead of 40, which another test runs."""
    for line in COMMANDS[:6]:
        words = shlex.split(line.replace("--trials 40", "--trials 3 --verify 0"))
        assert words[0] == "tuner"
        assert "SIMULATED" in run(words[1:], tmp_path), line
    assert (tmp_path / "simulated.yaml").read_text().startswith("# SIMULATED: ")


@pytest.mark.long
def test_the_server_runs_by_hand_as_written(tmp_path: Path) -> None:
    serve, bench = COMMANDS[6:]
    port = str(free_port())
    words = [sys.executable, *shlex.split(serve.replace("8000", port))[1:]]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}/health"), 60)
            told = run(shlex.split(bench.replace("8000", port))[1:], tmp_path)
        finally:
            process.terminate()
    assert "Output throughput" in told


def says(*texts: str) -> None:
    flat = re.sub(r"\s+", " ", TEXT)
    for text in texts:
        assert text in flat, text


def test_its_numbers_are_those_of_the_code() -> None:
    says(f"the warm-up is {pacing.WARMUP:g} times and the window {pacing.WINDOW:g} times")
    says(f"`--precision` {pacing.PRECISION:g}, and `--max-window` {pacing.MAX_WINDOW:g} times the window")
    says(f"At most {pacing.REQUESTS_PER_S:,.0f} requests a second", f"at least {pacing.REQUEST_S * 1e3:g} ms of it")
    says(
        f"differ by {program.LAUNCH_SIGMA:.0%}".replace("%", " %"),
        f"steps by {program.STEP_SIGMA:.0%}".replace("%", " %"),
    )
    says(f"groups of {server._LEAST_TOKENS} or more", f"ends after {requests._SPEECH_TOKENS} tokens")
    says(f"Words `w{tokens._FIRST_WORD}` to `w{tokens._WORDS - 1}` are one token each")
    weights = f"{startup._MODEL_S:g} s and the weights at {startup._BYTES_PER_S / 1e9:g} GB/s"
    compiled = f"{startup._COMPILED_S:g} s for compiled code, {startup._GRAPH_S:g} s a CUDA graph"
    says(f"{startup._PROCESSES_S:g} s for the processes, {weights}, {compiled}")


@pytest.mark.parametrize(
    ("gpu", "text", "speed"), [("t4", "about 50 times on a T4", 50), ("h200", "10 times on an H200", 10)]
)
def test_its_speeds_are_those_of_the_default_study(gpu: str, text: str, speed: float) -> None:
    says(text)
    found = pacing.pace_of(read_shape(MODEL), load_space(gpu), PRESETS["chat"]).speed
    assert speed / 1.5 < found < speed * 1.5
