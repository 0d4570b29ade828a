"""Whole studies with the user's own settings; recorded surfaces answer, so that the truth is known."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import product
from pathlib import Path

import commands
import pytest
from replay_samples import metrics, optimized, shown

SPACE = """
gpu: {names: [Tesla T4], memory_gib: 14.6, compute_capability: "7.5", bandwidth_gb_per_s: 320, tflops: {fp16: 65}}
fixed: {dtype: half}
parameters:
  max_num_seqs: {type: int, low: 16, high: 128, log: true}
  enforce_eager: {type: categorical, choices: [false, true]}
"""
DEFAULTS = {"max_num_seqs": 64, "enforce_eager": False}


def study(folder: Path, *more: str, slower: float = 0.02, trials: int = 3) -> commands.Done:
    """512 sequences, which the space has not, serve the most; three recordings each, that differ by 1 %."""
    (folder / "space.yaml").write_text(SPACE)
    lines = []
    for seqs, eager, noise in product((16, 64, 128, 512), (False, True), (0.99, 1.0, 1.01)):
        served = 10.0 * seqs**0.5 * (1 - slower * eager) * noise
        point = {"max_num_seqs": seqs, "enforce_eager": eager}
        lines.append({"params": point, "metrics": metrics(output_throughput=served), "is_default": point == DEFAULTS})
    return optimized(folder, lines, "--trials", str(trials), *more)


def roles(folder: Path) -> Sequence[tuple[str, int]]:
    with closing(sqlite3.connect(folder / "tuner.db")) as database:
        return database.execute("SELECT role, trial_number FROM tuner_verification ORDER BY id").fetchall()


def said(done: commands.Done) -> str:
    return " ".join(done.stdout.split())


def test_hand_settings_are_launched_after_the_defaults_and_as_often_and_win_if_they_are_best(tmp_path: Path) -> None:
    done = study(tmp_path, "--baseline", "--max-num-seqs 512")
    assert done.returncode == 0, done.stderr
    assert "trial 1: hand settings: --max-num-seqs 512" in done.stderr
    found = shown(tmp_path)
    assert (found["answer"], found["recommended"]) == ("better", 1)
    assert [one["baseline"] for one in found["list"]] == [None, "--max-num-seqs 512", None, None]  # on top of --trials
    assert found["list"][1]["changes"] == {"max_num_seqs": {"value": 512, "default": 64}}
    again = [role for role, _ in roles(tmp_path)]
    assert again.count("baseline") == again.count("defaults") >= 2
    assert "trial 1 (hand settings)" in done.stdout
    command = commands.tuner(tmp_path, "export", "s").stdout
    assert "--max-num-seqs 512" in command
    assert "eager" not in command  # what was not said by hand is not passed


def test_hand_settings_that_are_behind_are_launched_to_the_end_and_stand_beside_the_best(tmp_path: Path) -> None:
    done = study(tmp_path, "--baseline", "--max-num-seqs 16 --enforce-eager", "--baseline", "--max-num-seqs 128")
    assert done.returncode == 0, done.stderr
    found = shown(tmp_path)
    launched = [number for _, number in roles(tmp_path)]
    assert launched.count(1) == launched.count(0) >= 2
    assert found["recommended"] == 2
    assert "against trial 2 (hand settings)" in said(done)
    assert f"hand settings (trial 1), {launched.count(1)} new launches" in said(done)
    report = json.loads(commands.tuner(tmp_path, "report", "s", "--format", "json").stdout)
    beside = report["before_after"]
    assert [one["trial"] for one in beside["hand_settings"]] == [1]
    assert len(beside["metrics"]["ttft_mean_s"]["hand_settings"][0]) == launched.count(1)


def test_what_vllm_refuses_or_does_not_know_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    done = study(
        tmp_path,
        *("--baseline", "--max-num-seq 512", "--baseline", "--max-num-seqs lots", "--baseline", "--enforce-eager"),
    )
    assert done.returncode == 0, done.stderr
    assert "--baseline '--max-num-seq 512' is refused: there is no argument max_num_seq" in done.stderr
    assert "--baseline '--max-num-seqs lots' is refused: " in done.stderr
    found = shown(tmp_path)
    assert [one["failure"] is None for one in found["list"][:4]] == [True, False, False, True]
    assert [one["attempts"] for one in found["list"]].count(0) == 2


def test_hand_settings_that_are_the_defaults_or_each_other_are_launched_once(tmp_path: Path) -> None:
    twice = ("--baseline", "--max-num-seqs 512 --no-enforce-eager", "--baseline", "--max-num-seqs=512")
    done = study(tmp_path, "--baseline", "--max-num-seqs 64", *twice)
    assert done.returncode == 0, done.stderr
    found = shown(tmp_path)
    assert [one["equals"] for one in found["list"][:4]] == [None, 0, None, 2]
    assert [role for role, _ in roles(tmp_path)].count("baseline") == [role for role, _ in roles(tmp_path)].count(
        "defaults"
    )


def test_hand_settings_may_come_later_and_a_study_goes_on_without_them(tmp_path: Path) -> None:
    assert study(tmp_path).returncode == 0
    before = len(roles(tmp_path))
    assert study(tmp_path, "--baseline", "--max-num-seqs 512").returncode == 0
    found = shown(tmp_path)
    assert (found["list"][3]["baseline"], found["recommended"]) == ("--max-num-seqs 512", 3)
    now = roles(tmp_path)
    assert [role for role, _ in now[before:]].count("baseline") >= 2  # a contest of its own, with new launches of all
    assert study(tmp_path).returncode == 0
    assert roles(tmp_path) == now
    assert shown(tmp_path)["recommended"] == 3


def test_settings_by_hand_are_verified_where_nothing_is_better_than_the_defaults(tmp_path: Path) -> None:
    done = study(tmp_path, "--baseline", "--max-num-seqs 16", slower=0.5, trials=1)
    assert done.returncode == 0, done.stderr
    found = shown(tmp_path)
    assert (found["answer"], found["recommended"]) == ("worse", 0)
    assert "against trial 1 (hand settings), mean of" in said(done)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "--baseline is empty"),
        ("nofile.yaml", "--baseline nofile.yaml: there is no such file"),
        ("--max-num-seqs 'lots", "the quotation marks do not match"),
        ("--max-num-seqs 512 and more", None),
        ("--port 80", "it has no setting that differs"),
        ("--api-key 12345", "api_key is a secret"),
        ("vllm serve another/model --max-num-seqs 3", "it is for model another/model"),
        ("-tp 2", "tensor_parallel_size is 2 and that of all trials is 1"),
        (".", "cannot be read"),
        ("--max-num-seqs $SEQS", "a variable of a shell is not known"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_launched(tmp_path: Path, given: str, why: str | None) -> None:
    done = study(tmp_path, "--baseline", given)
    if why is None:  # several words are a list, which vLLM is asked about
        assert "is refused: " in done.stderr
        return
    assert done.returncode == 2, done.stderr
    assert why in " ".join(done.stderr.split())
    assert "12345" not in done.stderr
    assert "trial 0" not in done.stderr


def test_no_secret_of_hand_settings_is_shown_or_stored(tmp_path: Path) -> None:
    done = study(tmp_path, "--baseline", "HF_TOKEN=hunter2hunter2 vllm serve --max-num-seqs 16", trials=1)
    assert done.returncode == 0, done.stderr
    assert "HF_TOKEN=*** vllm serve --max-num-seqs 16" in " ".join(done.stderr.split())
    assert "hunter2" not in done.stderr + done.stdout
    assert b"hunter2" not in (tmp_path / "tuner.db").read_bytes()


def test_the_price_is_told_though_the_cost_is_no_objective(tmp_path: Path) -> None:
    done = study(tmp_path, "--baseline", "--max-num-seqs 512", "--price", "2")
    assert "Cost of 1M output tokens" in done.stdout


@pytest.mark.parametrize("name", ["exported.yaml", "exported.sh"])
def test_what_tuner_exports_is_read_again(tmp_path: Path, name: str) -> None:
    assert study(tmp_path, "--baseline", "--max-num-seqs 512").returncode == 0
    kind = "yaml" if name.endswith("yaml") else "command"
    exported = commands.tuner(tmp_path, "export", "s", "--format", kind, "--output", str(tmp_path / name))
    assert exported.returncode == 0, exported.stderr
    done = study(tmp_path, "--study", "t", "--baseline", name)
    assert done.returncode == 0, done.stderr
    assert "trial 1: hand settings: --dtype half --max-num-seqs 512" in done.stderr
    assert "not heeded, for tuner itself gives these to each server: host, port" in " ".join(done.stderr.split())
