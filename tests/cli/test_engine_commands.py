"""`tuner doctor`, with and without an engine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def doctor(cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER_")} | environment
    command = [sys.executable, "-m", "tuner", "doctor"]
    return subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False)


@pytest.mark.engine
def test_doctor_names_the_engine(engine_python: Path, tmp_path: Path) -> None:
    done = doctor(tmp_path, TUNER_VLLM_PYTHON=str(engine_python))
    assert done.returncode == 0
    assert f"engine: vLLM 0.32.0 for cpu, {engine_python}" in done.stdout
    assert "GPU" in done.stdout


def test_doctor_says_what_is_missing(tmp_path: Path) -> None:
    done = doctor(tmp_path, PATH="/usr/bin:/bin")
    assert done.returncode == 1
    assert "engine: no vLLM was found: install it with `tuner install-engine`" in done.stdout
    assert done.stderr == ""
