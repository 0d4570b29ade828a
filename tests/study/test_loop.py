"""A study whose trials fail for real: each failure has its kind, no number, and no part in the decision."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tuner.decide.verdict import Answer
from tuner.propose.storage import storage
from tuner.record.store import Store
from tuner.study.decided import study_decision
from tuner.types import Failed, FailureKind, Measured

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

#: On the CPU engine a KV cache of 1 MiB cannot hold one request of 2048 tokens, and 1 GiB can. `max_model_len` longer than
#: the model is refused by vLLM before any launch.
SPACE = """
gpu: {names: []}
environment: {VLLM_ENABLE_V1_MULTIPROCESSING: "0", OMP_NUM_THREADS: "1"}
fixed: {enforce_eager: true, gpu_memory_utilization: 1.0}
parameters:
  kv_cache_memory_bytes: {type: categorical, choices: [1048576, 1073741824]}
  max_model_len: {type: categorical, choices: [2048, 1000000]}
enqueue:
  - {kv_cache_memory_bytes: 1048576, max_model_len: 1000000}
  - {kv_cache_memory_bytes: 1048576, max_model_len: 2048}
  - {kv_cache_memory_bytes: 1073741824, max_model_len: 2048}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, engine_python: Path, demo_model: Path) -> Path:
    """Three launches: the defaults take all memory, then a KV cache too small, then one that runs. One more is refused."""
    found = tmp_path_factory.mktemp("failing")
    (found / "space.yaml").write_text(SPACE)
    command = [sys.executable, "-m", "tuner", "optimize", "--space", "space.yaml", "--model", str(demo_model)]
    command += ["--study", "f", "--storage", "sqlite:///x.db", "--trials", "3", "--vllm-python", str(engine_python)]
    command += ["--users", "4", "--warmup", "2", "--window", "3", "--precision", "0.5"]
    environment = {**os.environ, "HF_TOKEN": "hf_" + "s3cr3t" * 5}
    done = subprocess.run(command, cwd=found, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found / "stderr.txt").write_text(done.stderr)
    (found / "command.txt").write_text("\n".join(command))
    (found / "stdout.txt").write_text(done.stdout)
    return found


def test_each_failure_has_its_kind_and_its_sentence(folder: Path) -> None:
    store = Store.open(f"sqlite:///{folder / 'x.db'}", read_only=True)
    defaults, _, small, runs = store.trials("f")
    store.close()
    assert isinstance(defaults.outcome, Failed)
    assert defaults.outcome.kind is FailureKind.OUT_OF_MEMORY
    assert defaults.params["kv_cache_memory_bytes"] == "none"
    assert isinstance(small.outcome, Failed)
    assert small.outcome.kind is FailureKind.KV_CACHE_TOO_SMALL
    assert "To serve at least one request" in small.outcome.message
    assert small.outcome.log_tail
    assert isinstance(runs.outcome, Measured)


def test_what_vllm_refuses_is_a_trial_without_a_launch_and_does_not_count(folder: Path) -> None:
    store = Store.open(f"sqlite:///{folder / 'x.db'}", read_only=True)
    refused = store.trials("f")[1]
    store.close()
    assert isinstance(refused.outcome, Failed)
    assert refused.outcome.kind is FailureKind.REJECTED
    assert "User-specified max_model_len (1000000) is greater than" in refused.outcome.message
    assert refused.attempts == 0
    assert not list(folder.glob("tuner-logs/f/trial-1*.log"))
    with closing(sqlite3.connect(folder / "x.db")) as database:
        launched = database.execute(
            "SELECT DISTINCT t.number FROM tuner_launch l JOIN tuner_trial t ON t.id = l.trial_id ORDER BY 1"
        ).fetchall()
    assert launched == [(0,), (2,), (3,)]


def test_a_failed_trial_has_no_number_anywhere(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "x.db")) as database:
        rows = database.execute(
            "SELECT t.number, count(m.name) FROM tuner_trial t LEFT JOIN tuner_metric m ON m.trial_id = t.id GROUP BY t.id"
        ).fetchall()
        values = database.execute(
            "SELECT t.number, t.state, v.value FROM trials t LEFT JOIN trial_values v ON v.trial_id = t.trial_id ORDER BY 1"
        ).fetchall()
    assert [count > 0 for _, count in sorted(rows)] == [False, False, False, True]
    assert [(state, value is None) for _, state, value in values] == [
        ("PRUNED", True),
        ("PRUNED", True),
        ("PRUNED", True),
        ("COMPLETE", False),
    ]
    shown = storage(f"sqlite:///{folder / 'x.db'}")
    (study,) = shown.get_all_studies()
    launches = [trial.constraints["launch"] for trial in shown.get_all_trials(study._study_id)]
    shown.remove_session()
    shown.engine.dispose()
    assert launches == [1.0, 1.0, 1.0, -1.0]


def test_the_measured_trial_is_chosen_and_the_reason_is_told(folder: Path) -> None:
    store = Store.open(f"sqlite:///{folder / 'x.db'}", read_only=True)
    found = study_decision(store, "f")
    store.close()
    assert found.chosen is not None
    assert found.chosen.number == 3
    assert (found.verdict.answer, found.verdict.launches) == (Answer.ALONE, 2)
    said = "Deploy trial 3: it was verified on its own, in 2 launches, because the defaults could not be measured."
    assert said in (folder / "stdout.txt").read_text()


def test_no_secret_is_stored_or_shown(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            assert b"s3cr3t" not in file.read_bytes(), file


def test_a_trial_that_would_not_end_within_the_hours_is_not_begun(folder: Path, engine_python: Path) -> None:
    """The longest trial so far says how long the next may take."""
    command = (folder / "command.txt").read_text().split("\n")
    more = [*command, "--trials", "4", "--max-hours", "0.001"]
    done = subprocess.run(more, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the search ends here: another trial and the verification would not end within --max-hours" in done.stderr
    with closing(sqlite3.connect(folder / "x.db")) as database:
        assert database.execute("SELECT count(*) FROM tuner_trial").fetchall() == [(4,)]
