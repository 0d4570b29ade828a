"""The ruler of a host, in real interpreters; and what is said where it fails."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from waiting import in_a_calm_moment

from tuner.errors import EngineError
from tuner.launch.host_speed import measure_host
from tuner.types import HostSpeed

PYTHON = Path(sys.executable)


def fake(folder: Path, script: str) -> Path:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def check(speed: HostSpeed) -> None:
    seconds = {name: value for name, value in asdict(speed).items() if name.endswith("_s")}
    assert seconds.keys() == {"python_s", "text_s", "memory_s", "wake_s"}
    assert all(1e-4 < value < 10 for value in seconds.values())
    assert 1 <= speed.spread < 1000


def test_this_host_in_our_interpreter() -> None:
    speed = measure_host(PYTHON)
    check(speed)
    assert speed.python_version == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert speed.slowness(speed) == pytest.approx(1.0)


def test_this_host_in_vllms_interpreter(engine_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not the standard library')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    check(measure_host(engine_python))


def test_a_slower_host_is_one_in_both_kinds_of_work() -> None:
    one = HostSpeed(python_s=0.01, text_s=0.004, memory_s=1.0, wake_s=1.0, spread=1.0, python_version="3.12")
    other = HostSpeed(python_s=0.04, text_s=0.004, memory_s=9.0, wake_s=9.0, spread=9.0, python_version="3.11")
    assert other.slowness(one) == pytest.approx(2.0)
    assert one.slowness(other) == pytest.approx(0.5)


@pytest.mark.long
@in_a_calm_moment
def test_the_ruler_is_repeatable_and_follows_a_core_that_others_use(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})  # children have it, too
    try:
        alone = [measure_host(PYTHON) for _ in range(5)]
        with busy(3):
            shared = measure_host(PYTHON)
    finally:
        os.sched_setaffinity(0, before)
    free = min(alone, key=lambda speed: speed.python_s)
    assert sorted(speed.slowness(free) for speed in alone)[2] < 1.25  # a machine of tests is never quite idle
    assert shared.slowness(free) > 1.5


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """That many loops on the cores that we may use."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for loop in running:
            loop.kill()
            loop.wait()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'Traceback' >&2; echo 'ModuleNotFoundError: json' >&2; exit 1", "could not measure .*: ModuleNotFound"),
        ("exit 3", "could not measure this host: exit code 3"),
        ("kill -9 $$", "could not measure this host: exit code -9"),
        ("true", "did not say how fast it is: ''"),
        ("echo hello", "did not say"),
        ("echo [1]", "did not say"),
        ("echo '{}'", "did not say"),
        ("printf '\\377\\376'", "did not say"),
        ('echo \'{"python": [], "text": [1, 1], "memory": [1], "wake": [1], "python_version": "3"}\'', "did not"),
        ('echo \'{"python": 5, "text": [1, 1], "memory": [1], "wake": [1], "python_version": "3"}\'', "did not"),
        ('echo \'{"python": [0, 1], "text": [1, 1], "memory": [1], "wake": [1], "python_version": "3"}\'', "did not"),
        ('echo \'{"python": [NaN, 1], "text": [1, 1], "memory": [1], "wake": [1], "python_version": "3"}\'', "did"),
        ('echo \'{"python": [1, 1], "text": [1, 1], "memory": [1], "wake": [1]}\'', "did not say"),
        ("exec sleep 60", r"did not measure this host within 0\.5 s"),
    ],
)
def test_a_ruler_that_fails_is_told_in_a_sentence(script: str, why: str, tmp_path: Path) -> None:
    python = fake(tmp_path, script)
    with pytest.raises(EngineError, match=f"^{python} .*{why}"):
        measure_host(python, deadline_s=0.5 if "sleep" in script else 30.0)


def test_an_interpreter_that_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be run to measure this host: No such file"):
        measure_host(tmp_path / "none")
    (tmp_path / "python").write_text("")
    with pytest.raises(EngineError, match="cannot be run to measure this host: Permission denied"):
        measure_host(tmp_path / "python")
