"""A whole simulated study with two launches at once, whose defaults seem to be slower beside another."""

import json
from pathlib import Path

import commands
import pytest
from simulating import rows

from tuner.decide.neighbours import Disturbance, Told
from tuner.study import neighbours

ASKED = ("--engine", "sim", "--gpu", "t4", "--study", "s", "--trials", "5", "--parallel", "2", "--verify", "0")
LOAD = ("--users", "4", "--warmup", "5", "--window", "20", "--precision", "0.2", "--stop", "never")


def test_the_server_of_the_defaults_is_loaded_again_once_and_then_one_load_runs_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slower = Disturbance(told=Told.DISTURBED, slower=0.2, low=0.1, high=0.3, launches=1)
    monkeypatch.setattr(neighbours, "is_fit", lambda alone: True)
    monkeypatch.setattr(neighbours, "disturbance", lambda *_: slower)
    monkeypatch.setattr(neighbours, "_LEAST_LOADED", 0.0)
    done = commands.tuner(tmp_path, "optimize", *ASKED, *LOAD)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert told.count("launches at once disturb one another: vLLM's defaults, loaded again once beside others") == 1
    logs = sorted(path.name for path in (tmp_path / "tuner-logs" / "s").glob("trial-0*.log"))
    assert logs == ["trial-0.log"]
    assert rows(tmp_path, "SELECT count(*) FROM tuner_launch WHERE log LIKE '%trial-0%'") == [
        (1,)
    ]  # one server, two loads
    trials = "SELECT number, is_default, attempts FROM tuner_trial WHERE attempts > 0 ORDER BY number"
    assert [row[1:] for row in rows(tmp_path, trials)] == [(1, 1), *[(0, 1)] * 4]
    marked = "SELECT number FROM tuner_trial WHERE json_extract(outcome, '$.marks') LIKE '%neighbours%'"
    assert rows(tmp_path, marked) in ([], [(1,)])  # what ran beside the check
    (kept,) = rows(tmp_path, "SELECT neighbours FROM tuner_study")[0]
    assert json.loads(kept)["found"]["told"] == "disturbed"
    again = commands.tuner(tmp_path, "optimize", *ASKED, *LOAD)
    assert again.returncode == 0, again.stderr
    assert "launches at once disturb one another" in " ".join(again.stderr.split())
    assert len(logs) == len([*(tmp_path / "tuner-logs" / "s").glob("trial-0*.log")])
