"""`tuner doctor`, with and without an engine."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tuner.cli.doctor import speed_words
from tuner.predict.host import REFERENCE


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
    assert re.search(
        r"^host: .*the host that predictions are fitted on \(Python work [\d.]+ ms", done.stdout, re.MULTILINE
    )


def test_doctor_says_what_is_missing(tmp_path: Path) -> None:
    done = doctor(tmp_path, PATH="/usr/bin:/bin")
    assert done.returncode == 1
    assert "engine: no vLLM was found: install it with `tuner install-engine`" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("factor", "said"),
    [(1.0, "as fast as the host"), (1.09, "as fast as"), (1.8, "1.8 times as slow as"), (0.5, "2.0 times as fast as")],
)
def test_doctor_tells_a_host_by_the_one_of_the_constants(factor: float, said: str) -> None:
    speed = replace(REFERENCE, python_s=factor * REFERENCE.python_s, text_s=factor * REFERENCE.text_s)
    (line,) = speed_words(speed)
    assert line.startswith(said)


def test_doctor_warns_of_a_processor_that_is_not_ours_alone() -> None:
    assert len(speed_words(replace(REFERENCE, spread=1.5))) == 1
    _, warning = speed_words(replace(REFERENCE, spread=2.04))
    assert warning.startswith("the same work takes up to 2.0 times as long")
