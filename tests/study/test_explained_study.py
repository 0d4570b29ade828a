"""Whole studies that say what each setting of their winner brings; a recorded surface answers, so that the truth is known."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import commands
import pytest
from replay_samples import failure, metrics, optimized, shown

from tuner.study.launches import run_recorded

SPACE = """
gpu: {names: [Tesla T4], memory_gib: 14.6, compute_capability: "7.5", bandwidth_gb_per_s: 320, tflops: {fp16: 65}}
fixed: {dtype: half}
parameters:
  max_num_seqs: {type: int, low: 64, high: 256, log: true}
  enforce_eager: {type: categorical, choices: [false, true]}
  enable_prefix_caching: {type: categorical, choices: [true, false]}
enqueue:
  - {max_num_seqs: 256, enforce_eager: true, enable_prefix_caching: false}
"""
DEFAULTS = {"max_num_seqs": 64, "enforce_eager": False, "enable_prefix_caching": True}


def study(folder: Path, *more: str, eager: float = 0.0, fails: bool = False, space: str = SPACE) -> commands.Done:
    """256 sequences bring 40 %, no prefix cache 12 %, `enforce_eager` that share; launches differ by 1 %. With `fails` 256
    sequences do not start with the prefix cache."""
    (folder / "space.yaml").write_text(space)
    lines = []
    for seqs, is_eager, cached, noise in product(
        (64, 256), (False, True), (True, False), (0.99, 0.995, 1.0, 1.005, 1.01)
    ):
        point = {"max_num_seqs": seqs, "enforce_eager": is_eager, "enable_prefix_caching": cached}
        served = 100 * (1.4 if seqs == 256 else 1) * (1 + eager * is_eager) * (1 if cached else 1.12) * noise
        if fails and seqs == 256 and cached:
            lines.append(failure(point))
        else:
            lines.append(
                {"params": point, "metrics": metrics(output_throughput=served), "is_default": point == DEFAULTS}
            )
    return optimized(folder, lines, "--trials", "2", *more)


def explained(folder: Path) -> Sequence[tuple[int, int]]:
    """The trials of the explanation, with how often they were begun, and its further launches, by trial."""
    with closing(sqlite3.connect(folder / "tuner.db")) as database:
        own = database.execute("SELECT number, attempts FROM tuner_trial WHERE explains IS NOT NULL").fetchall()
        again = "SELECT trial_number, count(*) FROM tuner_verification WHERE role = 'explain' GROUP BY 1 ORDER BY 1"
        return [*own, *database.execute(again).fetchall()]


def said(text: str) -> str:
    return " ".join(text.split())


def test_each_setting_has_its_gain_and_what_brings_nothing_is_left_out_and_launched(tmp_path: Path) -> None:
    done = study(tmp_path, "--explain", "12")
    assert done.returncode == 0, done.stderr
    found = shown(tmp_path)
    told = found["attribution"]
    worths = {one["reset"][0]: one for one in told["worths"]}
    assert {name: one["brings"] for name, one in worths.items()} == {
        "max_num_seqs": "brings",
        "enable_prefix_caching": "brings",
        "enforce_eager": "nothing seen",
    }
    assert worths["max_num_seqs"]["low"] < 0.4 < worths["max_num_seqs"]["high"]
    assert worths["enable_prefix_caching"]["low"] < 0.12 < worths["enable_prefix_caching"]["high"]
    assert all(one["launches"] >= 2 for one in worths.values())
    assert (told["of"], told["left_out"], told["is_recommended"]) == (1, ["enforce_eager"], True)
    assert (found["recommended"], found["ballast"], found["answer"]) == (told["trimmed"], ["enforce_eager"], "better")
    assert found["list"][told["trimmed"]]["explains"] == {"of": 1, "reset": ["enforce_eager"]}
    assert set(found["changes"]) == {"max_num_seqs", "enable_prefix_caching"}
    text = said(done.stdout)
    assert "What each setting of trial 1 brings in output throughput" in text
    assert "brings nothing that could be seen (less than" in text
    assert "Trial 4 is trial 1 with enforce_eager as vLLM has it: that brought nothing." in text or told["trimmed"] != 4
    assert "--no-enforce-eager" in commands.tuner(tmp_path, "export", "s").stdout
    assert sum(count for _, count in explained(tmp_path)) <= 12
    before = explained(tmp_path)
    assert study(tmp_path, "--explain", "12").returncode == 0
    assert explained(tmp_path) == before  # a finished launch is not repeated


def test_an_interrupted_explanation_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launches = list[int]()

    def killed(setup: Any, store: Any, watch: Any, number: int, *rest: Any, **how: Any) -> Any:
        if len(launches) == 2:
            raise KeyboardInterrupt
        launches.append(number)
        return run_recorded(setup, store, watch, number, *rest, **how)

    with monkeypatch.context() as patched:
        patched.setattr("tuner.study.explaining.run_recorded", killed)
        assert study(tmp_path, "--explain", "12").returncode == 130
    begun = explained(tmp_path)
    assert [count for _, count in begun] == [1, 1, 1]  # two are finished, the third was begun
    assert shown(tmp_path)["recommended"] == 1
    assert study(tmp_path, "--explain", "12", "--trials", "3").returncode == 0  # another trial has another number
    with closing(sqlite3.connect(tmp_path / "tuner.db")) as database:
        again = "SELECT number FROM tuner_trial WHERE explains IS NULL AND baseline IS NULL"
        assert {number for (number,) in database.execute(again)}.isdisjoint(number for number, _ in begun)
    assert len({number for number, _ in explained(tmp_path)}) == 4  # each without one setting, and the winner
    assert shown(tmp_path)["attribution"]["is_recommended"]


def test_what_brings_something_is_kept_and_few_launches_explain_the_most_influential(tmp_path: Path) -> None:
    done = study(tmp_path, "--explain", "4", eager=0.2)
    assert done.returncode == 0, done.stderr
    assert "not launched without" in done.stderr
    told = shown(tmp_path)["attribution"]
    assert sum(count for _, count in explained(tmp_path)) == 4
    assert [one["brings"] for one in told["worths"]].count("not launched") == 2
    assert (told["left_out"], shown(tmp_path)["recommended"]) == ([], 1)


def test_a_setting_is_explained_whose_default_the_space_does_not_have(tmp_path: Path) -> None:
    """It is vLLM's, and starts, whatever the search may choose."""
    done = study(tmp_path, "--explain", "12", space=SPACE.replace("choices: [true, false]", "choices: [false]"))
    assert done.returncode == 0, done.stderr
    worths = {one["reset"][0]: one for one in shown(tmp_path)["attribution"]["worths"]}
    assert worths["enable_prefix_caching"]["brings"] == "brings"
    assert worths["enable_prefix_caching"]["low"] < 0.12 < worths["enable_prefix_caching"]["high"]


def test_what_does_not_start_without_a_setting_needs_it(tmp_path: Path) -> None:
    done = study(tmp_path, "--explain", "8", fails=True)
    assert done.returncode == 0, done.stderr
    told = {one["reset"][0]: one["brings"] for one in shown(tmp_path)["attribution"]["worths"]}
    assert told["enable_prefix_caching"] == "fails without it"
    assert "is needed: without it the launch ends as: out of memory" in said(done.stdout)


def test_nothing_is_launched_without_the_option_or_a_winner(tmp_path: Path) -> None:
    assert study(tmp_path).returncode == 0
    assert explained(tmp_path) == []
    assert shown(tmp_path)["attribution"] is None
    done = study(tmp_path, "--explain", "4", "--verify", "0")
    assert done.returncode == 2
    assert "--explain goes on from the verification" in done.stderr
