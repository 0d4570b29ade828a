"""The benchmark of searches on a small surface: its JSON has every figure, and says what is true of it."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
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
SMALL = """\
gpu: {names: []}
parameters:
  max_num_seqs: {type: int, low: 8, high: 64, step: 8}
rules:
  - require: max_num_seqs <= 40
    because: the test wants a rule
"""
STRATEGIES = ("ours", "tpe", "gp", "random", "ours-prior")
Asked = tuple[str, ...]
Lines = Sequence[tuple[dict[str, Any], float, dict[str, Any]]]
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
        (("--strategies", "ours,"), "--strategies ours,: one of the names is empty"),
        (("--objective", "cost"), "--objective cost needs the price of one GPU for an hour: give --price"),
        (("--price", "nan"), "--price is nan and must be a number above 0"),
        (("--workload", "nothere"), "there is no workload 'nothere'"),
        (("--model", "nowhere"), "nowhere is not a folder"),
        (("--json", "nowhere/out.json"), "--json nowhere/out.json cannot be written"),
        (("--json", "."), "--json . cannot be written"),
        (("--docs", "nowhere.md"), "--docs nowhere.md cannot be read: No such file or directory"),
        (("--docs", str(REPOSITORY / "README.md")), "README.md must have these two lines once"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, more: tuple[str, ...], why: str) -> None:
    done = bench(*surface(tmp_path), *more)
    assert done.returncode == 2
    assert why in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("load", "why"),
    [
        ({"workload": "10 users, 448-64 tokens in, 32-224 out"}, "input_tokens: 448 is above 64"),
        ({"workload": "0 users, 64 tokens in, 32 out"}, "users: Input should be greater than 0"),
        ({"workload": "0 requests/s, 64 tokens in, 32 out"}, "request_rate: Input should be greater than"),
        ({"workload": "5 users, 0 tokens in, 0 out"}, "input_tokens.0: Input should be greater than 0"),
        ({"workload": f"{'9' * 5000} users, 64 tokens in, 32 out"}, "users: "),
        ({"users": 5, "input_tokens": [448, 64], "output_tokens": [5, 5]}, "surface.input_tokens: 448 is above 64"),
        (
            {"request_rate": 1e-30, "input_tokens": [9, 9], "output_tokens": [5, 5]},
            "surface.request_rate: Input should",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_load_that_cannot_be_is_one_sentence(tmp_path: Path, load: dict[str, Any], why: str) -> None:
    done = bench(*surface(tmp_path, model="Qwen2.5-3B-Instruct", **load))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pool.jsonl" in done.stderr
    assert why in done.stderr


@pytest.mark.parametrize(
    ("load", "why"),
    [
        ({"workload": "10 users, , tokens in, 32-224 out"}, "its header does not say under which load"),
        (
            {"users": 100_000, "input_tokens": [9, 9], "output_tokens": [5, 5]},
            "its load has 100,000 users, and 10,000 are the most that are simulated",
        ),
    ],
)
def test_of_what_is_not_said_or_is_too_much_nothing_is_predicted(
    tmp_path: Path, load: dict[str, Any], why: str
) -> None:
    asked = surface(tmp_path, model="Qwen2.5-3B-Instruct", **load)
    done = bench(*asked, "--strategies", "random", "--trials", "3", "--seeds", "1")
    assert done.returncode == 0, done.stderr
    assert f"nothing is predicted: {why}" in done.stderr


def recorded(folder: Path, lines: Lines, **header: Any) -> Asked:
    """Params, throughput, which is the mean TTFT in seconds as well, and what else the line says; the first are the
    defaults."""
    written = [
        {"params": params, "metrics": {"output_throughput": value, "ttft_mean_s": value}, **more}
        for params, value, more in lines
    ]
    written[0]["is_default"] = True
    text = "".join(json.dumps(line) + "\n" for line in ({"surface": header}, *written))
    (folder / "pool.jsonl").write_text(text)
    (folder / "space.yaml").write_text(SMALL)
    return "--surface", str(folder / "pool.jsonl"), "--space", str(folder / "space.yaml")


def told(folder: Path, asked: Asked, *more: str) -> Mapping[str, Any]:
    out = folder / "out.json"
    done = bench(*asked, "--seeds", "2", "--json", str(out), *more)
    assert done.returncode == 0, done.stderr
    found: Mapping[str, Any] = json.loads(out.read_text())
    return found


def test_a_surface_whose_points_all_miss_the_slo_is_refused_before_the_search(tmp_path: Path) -> None:
    asked = recorded(tmp_path, [({"max_num_seqs": 8}, 0.2, {}), ({"max_num_seqs": 16}, 0.3, {})])
    done = bench(*asked, "--slo", "ttft_mean=100ms")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pool.jsonl: no recorded point meets --slo ttft_mean=100ms: loosen it" in done.stderr


def test_what_was_stopped_early_has_no_truth(tmp_path: Path) -> None:
    stopped = {"marks": ["stopped early"]}
    seqs = [{"max_num_seqs": count} for count in (8, 16, 24)]
    lines = [(seqs[0], 100.0, {}), (seqs[1], 120.0, stopped), (seqs[2], 500.0, stopped), (seqs[2], 90.0, {})]
    found = told(tmp_path, recorded(tmp_path, lines), "--strategies", "random")
    assert (found["best"], found["defaults"]) == (100.0, 100.0)
    done = bench(*recorded(tmp_path, [(seqs[0], 100.0, stopped)]))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no point that can be launched was measured to the end of its window" in done.stderr


def test_between_points_the_best_is_one_that_can_be_launched_and_every_point_is(tmp_path: Path) -> None:
    """The best two break the space's rule and its range. The 5 settings that are left are all launched by every strategy."""
    values = {8: 100.0, 32: 120.0, 48: 300.0, 72: 400.0}
    lines: Lines = [({"max_num_seqs": count}, value, {}) for count, value in values.items()]
    found = told(tmp_path, recorded(tmp_path, lines, answer="interpolate"), "--strategies", "tpe,random")
    assert found["best"] == 120.0
    for one in found["strategies"].values():
        assert one["launches"] == [5, 5]


def test_defaults_that_the_space_does_not_allow_can_be_the_best_between_points(tmp_path: Path) -> None:
    lines: Lines = [
        ({"max_num_seqs": 72}, 100.0, {}),
        ({"max_num_seqs": 8}, 90.0, {}),
        ({"max_num_seqs": 48}, 300.0, {}),
    ]
    found = told(tmp_path, recorded(tmp_path, lines, answer="interpolate"), "--strategies", "random", "--trials", "2")
    assert (found["best"], found["defaults_ratio"]) == (100.0, 1.0)


def test_a_cost_is_of_the_price(tmp_path: Path) -> None:
    """3.6 an hour are 0.001 a second, and a million tokens at 100 a second take 10,000 of them."""
    asked = recorded(tmp_path, [({"max_num_seqs": 8}, 100.0, {}), ({"max_num_seqs": 16}, 200.0, {})])
    found = told(tmp_path, asked, "--strategies", "random", "--objective", "cost", "--price", "3.6", "--jobs", "5000")
    assert (found["best"], found["defaults"]) == pytest.approx((5.0, 10.0))


def test_a_latency_of_nothing_that_is_the_best_is_found(tmp_path: Path) -> None:
    asked = recorded(tmp_path, [({"max_num_seqs": 8}, 1.0, {}), ({"max_num_seqs": 16}, 0.0, {})])
    found = told(tmp_path, asked, "--strategies", "random", "--objective", "ttft_mean")
    assert found["strategies"]["random"]["launches_to_within"]["1%"] == [2, 2]
