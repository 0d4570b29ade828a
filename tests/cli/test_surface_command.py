"""A study is written as a surface and replayed: the same settings have the same numbers, in no time."""

import json
import subprocess
import sys
from pathlib import Path

from tuner.record.store import Store
from tuner.types import Measured


def tuner(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tuner", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_study_can_be_replayed(tmp_path: Path) -> None:
    load = ("--users", "8", "--trials", "3", "--verify", "0", "--sampler", "tpe")  # nothing is predicted in a replay
    done = tuner(tmp_path, "optimize", "--engine", "sim", "--gpu", "t4", "--study", "first", *load)
    assert done.returncode == 0, done.stderr
    written = tuner(tmp_path, "export", "first", "--format", "surface", "--output", "surface.jsonl")
    assert (written.returncode, written.stdout) == (0, "")
    assert "SIMULATED 3 trials" in written.stderr
    lines = [json.loads(line) for line in (tmp_path / "surface.jsonl").read_text().splitlines()]
    assert lines[0]["surface"]["gpu"] == "SIMULATED Tesla T4"
    assert len(lines) == 4
    again = tuner(tmp_path, "optimize", "--engine", "replay", "--surface", "surface.jsonl", "--study", "again", *load)
    assert again.returncode == 0, again.stderr
    assert "REPLAYED" in again.stdout
    store = Store.open(f"sqlite:///{tmp_path / 'tuner.db'}", read_only=True)
    measured, replayed = store.trials("first"), store.trials("again")
    store.close()
    for trial in replayed:
        same = next(other for other in measured if other.params == trial.params)
        assert isinstance(trial.outcome, Measured)
        assert isinstance(same.outcome, Measured)
        assert trial.outcome.load.output_throughput == same.outcome.load.output_throughput
    on_screen = tuner(tmp_path, "export", "again", "--format", "surface")
    assert on_screen.stdout.splitlines()[0].startswith('{"surface": {"gpu": "REPLAYED')
