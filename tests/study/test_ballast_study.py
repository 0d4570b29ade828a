"""A whole study whose last launch is its best without ballast; a recorded surface answers, so that the truth is known."""

import json
import sqlite3
from contextlib import closing
from itertools import product
from pathlib import Path

import commands
import pytest
from replay_samples import metrics, written

SPACE = """
gpu: {names: [Tesla T4], memory_gib: 14.6, compute_capability: "7.5", bandwidth_gb_per_s: 320, tflops: {fp16: 65}}
fixed: {dtype: half}
parameters:
  max_num_seqs: {type: int, low: 16, high: 256, log: true}
  enable_prefix_caching: {type: categorical, choices: [true, false]}
  enforce_eager: {type: categorical, choices: [false, true]}
enqueue:
  - {max_num_seqs: 256, enable_prefix_caching: false, enforce_eager: true}
  - {max_num_seqs: 16, enable_prefix_caching: false}
  - {max_num_seqs: 32, enforce_eager: true}
  - {max_num_seqs: 128, enable_prefix_caching: false}
  - {max_num_seqs: 64, enforce_eager: true}
"""
DEFAULTS = {"max_num_seqs": 64, "enable_prefix_caching": True, "enforce_eager": False}


def study(folder: Path, *, eager_brings: float, trials: int = 8) -> commands.Done:
    """Sequences bring throughput, `enforce_eager` this share, and the prefix cache's end nothing that is worth it (0.2 %)."""
    (folder / "space.yaml").write_text(SPACE)
    lines = []
    for seqs, cached, eager in product((16, 32, 64, 128, 256), (True, False), (False, True)):
        served = 10.0 * seqs**0.5 * (1 + eager_brings * eager) * (1 if cached else 1.002)
        point = {"max_num_seqs": seqs, "enable_prefix_caching": cached, "enforce_eager": eager}
        lines.append({"params": point, "metrics": metrics(output_throughput=served), "is_default": point == DEFAULTS})
    surface = written(folder, {"surface": {"answer": "nearest"}}, *lines)
    return commands.tuner(
        folder,
        *("optimize", "--engine", "replay", "--surface", str(surface), "--space", "space.yaml", "--study", "s"),
        *(
            "--trials",
            str(trials),
            "--verify",
            "3",
            "--sampler",
            "tpe",
            "--stop",
            "never",
        ),  # which launches what is enqueued in its order
    )


@pytest.mark.parametrize(
    ("eager_brings", "left_out"), [(0.0, {"enable_prefix_caching", "enforce_eager"}), (0.2, {"enable_prefix_caching"})]
)
def test_what_brings_nothing_is_left_out_and_verified_and_told(
    tmp_path: Path, eager_brings: float, left_out: set[str]
) -> None:
    done = study(tmp_path, eager_brings=eager_brings)
    assert done.returncode == 0, done.stderr
    assert "trial 7 is trial 1 without what seems to bring nothing: " in done.stderr
    with closing(sqlite3.connect(tmp_path / "tuner.db")) as database:
        count, last = database.execute("SELECT count(*), max(number) FROM tuner_trial").fetchone()
    assert (count, last) == (8, 7)  # --trials stays the bound
    shown = json.loads(commands.tuner(tmp_path, "show", "s", "--json", "-").stdout)
    assert (shown["answer"], shown["recommended"]) == ("better", 7)
    assert set(shown["ballast"]) == left_out
    assert set(shown["changes"]) == set(DEFAULTS) - left_out
    said = " ".join(done.stdout.split())
    assert f"Trial 7 is trial 1 with {', '.join(shown['ballast'])} as vLLM has it: that brought nothing." in said


def test_a_study_of_few_trials_guesses_nothing(tmp_path: Path) -> None:
    done = study(tmp_path, eager_brings=0.0, trials=4)
    assert done.returncode == 0, done.stderr
    assert "without what seems to bring nothing" not in done.stderr
    assert json.loads(commands.tuner(tmp_path, "show", "s", "--json", "-").stdout)["ballast"] == []
