"""A whole study whose last launch is its best without ballast; a recorded surface answers, so that the truth is known."""

import json
import sqlite3
from contextlib import closing
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import commands
import pytest
from replay_samples import metrics, written
from samples import measured, trial

from tuner.decide.objective import parse_objective
from tuner.space.parameters import Categorical
from tuner.study.ending import Ending
from tuner.types import Params, Value

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
DEFAULTS: Params = {"max_num_seqs": 64, "enable_prefix_caching": True, "enforce_eager": False}
BEST: Params = {"max_num_seqs": 64, "enable_prefix_caching": False, "enforce_eager": True}


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


@pytest.mark.parametrize(
    ("seqs", "caching", "left_out"),
    [
        ((32, 64, 128), (False, True), {"enable_prefix_caching", "max_num_seqs"}),
        ((32, 64), (False, True), {"enable_prefix_caching"}),
        ((32, 64, 128), (False,), {"max_num_seqs"}),
        ((32, 64), (False,), set()),
        (("none", 32, 64), (False, True), {"enable_prefix_caching", "max_num_seqs"}),  # which is vLLM's own
    ],
)
def test_a_setting_whose_default_the_space_does_not_have_is_no_ballast(
    seqs: tuple[Value, ...], caching: tuple[bool, ...], left_out: set[str]
) -> None:
    """The best without it would have vLLM's default again, which is no point of the space; once a study launched the fewest
    sequences of its space instead. Here `enforce_eager` alone brings something, and 64 sequences no more than others."""
    parameters = {
        "max_num_seqs": Categorical(type="categorical", choices=seqs),
        "enable_prefix_caching": Categorical(type="categorical", choices=caching),
        "enforce_eager": Categorical(type="categorical", choices=(False, True)),
    }
    found = [trial(0, measured(output_throughput=100.0), params={**DEFAULTS, "max_num_seqs": 128}, is_default=True)]
    for number, values in enumerate(product(seqs, caching, (False, True)), start=1):
        params = dict(zip(parameters, values, strict=True))
        value = (120.0 if params["enforce_eager"] else 100.0) + (params == BEST) / 10
        found.append(trial(number, measured(output_throughput=value), params=params))
    space = SimpleNamespace(parameters=parameters)
    setup: Any = SimpleNamespace(trials=len(found) + 1, objective=parse_objective("throughput"), beside=(), space=space)
    winner, names = Ending(setup, lambda text: None).last(found)
    assert set(names) == left_out
    assert (winner.params if winner else None) == (BEST if left_out else None)
