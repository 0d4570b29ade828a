"""The benchmark of searches on a small surface: its JSON has every figure, and says what is true of it."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY

SPACE = """\
gpu: {names: [Tesla T4], compute_capability: "7.5", memory_gib: 14.6, bandwidth_gb_per_s: 320.0, tflops: {fp16: 65.0}}
parameters:
  max_num_seqs: {type: int, low: 16, high: 256, log: true}
  max_num_batched_tokens: {type: int, low: 512, high: 4096, log: true}
"""
STRATEGIES = ("ours", "tpe", "gp", "random", "ours-prior")
LISTS = {
    *("launches", "failed_launches", "failures_of_one_cause", "optimism", "reported_gain", "recommended_over_defaults"),
    *("stopped_near_best", "kept_defaults", "prior_dropped", "proposal_s"),
}


def surface(folder: Path, **header: Any) -> tuple[str, ...]:
    """20 points, of which the best has twice the defaults' throughput and two fail; what it is for the command line."""
    lines: list[dict[str, Any]] = [
        {"surface": {"defaults": {"max_num_seqs": 16, "max_num_batched_tokens": 512}, **header}}
    ]
    for i, seqs in enumerate((16, 32, 64, 128, 256)):
        for j, tokens in enumerate((512, 1024, 2048, 4096)):
            params = {"max_num_seqs": seqs, "max_num_batched_tokens": tokens}
            if (i, j) in ((4, 3), (4, 2)):
                lines.append({"params": params, "failure": {"kind": "out of memory", "message": "of 14.6 GiB"}})
            else:
                lines.append({"params": params, "metrics": {"output_throughput": 100.0 * (1 + (i + j) / 6)}})
    (folder / "pool.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "space.yaml").write_text(SPACE)
    return "--surface", str(folder / "pool.jsonl"), "--space", str(folder / "space.yaml")


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "search"), "--jobs", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    folder = tmp_path_factory.mktemp("search")
    load = {"users": 32, "input_tokens": [64, 448], "output_tokens": [32, 224]}
    asked = surface(folder, model="Qwen2.5-3B-Instruct", **load)
    how = ("--strategies", ",".join(STRATEGIES), "--trials", "20", "--seeds", "2", "--json", str(folder / "out.json"))
    done = bench(*asked, *how)
    assert done.returncode == 0, done.stderr
    assert "launches to within 2 % of the best" in done.stdout
    told: Mapping[str, Any] = json.loads((folder / "out.json").read_text())
    return told


def test_every_strategy_has_every_figure_once_a_seed(found: Mapping[str, Any]) -> None:
    assert set(found["strategies"]) == set(STRATEGIES)
    assert found["prior"], found["why_no_prior"]
    for told in found["strategies"].values():
        assert set(told["launches_to_within"]) == {"1%", "2%", "5%"}
        assert set(told["best_ratio_after"]) == {"5", "10", "20", "40"}
        assert set(told["virtual_gpu_minutes"]) == {"to_within_2%", "search", "with_verification"}
        assert set(told) == {"launches_to_within", "best_ratio_after", "virtual_gpu_minutes", *LISTS}
        series = [told[name] for name in LISTS]
        for of in ("launches_to_within", "best_ratio_after", "virtual_gpu_minutes"):
            series += told[of].values()
        assert all(len(values) == 2 for values in series)


def test_what_is_said_of_a_pool_is_true(found: Mapping[str, Any]) -> None:
    """Every point is launched in the end, so the best is found, both failures are met, and the gain is that of the best."""
    assert (found["points"], found["best"], found["defaults"]) == (20, 200.0, 100.0)
    for told in found["strategies"].values():
        assert told["launches"] == [20, 20]
        assert told["failed_launches"] == told["failures_of_one_cause"] == [2, 2]
        assert told["best_ratio_after"]["40"] == [1.0, 1.0]
        assert all(2 <= launch <= 20 for launch in told["launches_to_within"]["1%"])
        assert told["recommended_over_defaults"] == pytest.approx([1.0, 1.0])
        assert told["optimism"] == pytest.approx([0.0, 0.0])
        assert told["kept_defaults"] == [False, False]


def test_the_docs_name_every_figure(found: Mapping[str, Any]) -> None:
    text = (REPOSITORY / "docs" / "search.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", text.split("## The JSON")[1].split("## ")[0], re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(found["strategies"]["ours"])


def test_without_a_model_nothing_is_predicted_and_that_is_said(tmp_path: Path) -> None:
    done = bench(*surface(tmp_path), "--strategies", "ours", "--trials", "3", "--seeds", "1")
    assert done.returncode == 0, done.stderr
    assert "nothing is predicted: its header does not name its model: give --model" in done.stderr


def test_ablations_have_fewer_seeds(tmp_path: Path) -> None:
    how = ("--trials", "3", "--seeds", "2", "--ablation-seeds", "1", "--json", str(tmp_path / "out.json"))
    done = bench("ppas-5090-1", *how)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "out.json").read_text())["surfaces"][0]["strategies"]
    seeds = {name: len(one["launches"]) for name, one in told.items()}
    assert seeds.pop("ours") == seeds.pop("tpe") == seeds.pop("gp") == seeds.pop("random") == 2
    assert seeds
    assert set(seeds.values()) == {1}
    assert "1 seeds of 1 surfaces" in " ".join(done.stdout.split())


def test_what_was_interrupted_goes_on_after_the_last_surface(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    how = ("--strategies", "random", "--trials", "3", "--seeds", "2", "--json", str(out), "--resume")
    assert bench("ppas-5090-1", *how).returncode == 0
    first = json.loads(out.read_text())["surfaces"]
    both = bench("ppas-5090-1.4", "ppas-5090-1", *how)
    assert both.returncode == 0, both.stderr
    assert "ppas-5090-1.4: " in both.stderr
    assert "ppas-5090-1: " not in both.stderr
    found = json.loads(out.read_text())["surfaces"]
    assert [one["name"] for one in found] == ["ppas-5090-1.4", "ppas-5090-1"]
    assert found[1:] == first
    more = bench("ppas-5090-1", *how, "--seeds", "3")
    assert "ppas-5090-1: " in more.stderr
    out.write_text("[")
    done = bench("ppas-5090-1", *how)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is not what --json has written" in done.stderr


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--strategies", "our"), "there is no strategy our"),
        (("--objective", "ttft_p99"), "ttft_p99_s is missing, which --objective ttft_p99 needs"),
        (("--resume",), "--resume needs the --json OUT that was written before"),
        (("--seeds", "0"), "--trials, --seeds and --jobs are at least 1"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, more: tuple[str, ...], why: str) -> None:
    done = bench(*surface(tmp_path), *more)
    assert done.returncode == 2
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
