"""Studies of several objectives on a surface whose front is known: the real loop, sampler, verification and database."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from commands import tuner
from samples import measured

from tuner.propose.storage import storage

SIZES = (8, 16, 32, 64, 128, 256)
SPACE = """\
name: small
gpu:
  names: [Tesla T4]
  compute_capability: "7.5"
parameters:
  max_num_seqs: {type: categorical, choices: [8, 16, 32, 64, 128, 256]}
  enforce_eager: {type: categorical, choices: [false, true]}
"""


def truth(size: int, eager: bool) -> tuple[float, float]:
    """Throughput and TTFT rise with the batch, ever less and ever more; without CUDA graphs both are worse. 64 is the knee."""
    throughput, ttft_s = 1000 * (size / 256) ** 0.3, 0.05 * (size / 8) ** 0.7
    return throughput * (0.7 if eager else 1.0), ttft_s * (1.3 if eager else 1.0)


def lines(noise: float = 0.02) -> Iterator[dict[str, Any]]:
    """Six launches of each of the 12 points."""
    draw = random.Random(1)
    yield {"surface": {"gpu": "Tesla T4", "model": "some/model", "engine_version": "0.32.0"}}
    for size in SIZES:
        for eager in (False, True):
            for _ in range(6):
                throughput, ttft_s = truth(size, eager)
                throughput *= draw.lognormvariate(0, noise)
                found = measured(output_throughput=throughput, ttft_s=ttft_s * draw.lognormvariate(0, 2 * noise))
                params = {"max_num_seqs": size, "enforce_eager": eager}
                is_default = size == 256 and not eager
                yield {"params": params, "is_default": is_default, "metrics": found.metrics(), "duration_s": 20.0}


ENGINE = ("--engine", "replay", "--surface", "surface.jsonl", "--space", "space.yaml")
BOTH = ("--objective", "throughput", "--objective", "ttft_p99")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With one study of all 12 points."""
    made = tmp_path_factory.mktemp("front")
    (made / "surface.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines()))
    (made / "space.yaml").write_text(SPACE)
    done = tuner(made, "optimize", *ENGINE, *BOTH, "--trials", "12", "--study", "both")
    assert done.returncode == 0, done.stderr
    (made / "stdout").write_text(done.stdout)
    return made


def shown(folder: Path, study: str = "both") -> Any:
    return json.loads(tuner(folder, "show", study, "--json", "-").stdout)


def test_the_front_and_its_knee_are_the_right_ones(folder: Path) -> None:
    found = shown(folder)
    front = found["front"]
    assert all(not point["params"]["enforce_eager"] for point in front)
    assert [point["params"]["max_num_seqs"] for point in front] == sorted(SIZES, reverse=True)
    (knee,) = [point for point in front if point["is_knee"]]
    assert knee["params"]["max_num_seqs"] in (32, 64)
    assert found["recommended"] == knee["trial"]
    assert found["answer"] == "a trade-off"
    assert [one["direction"] for one in found["objectives"]] == ["maximize", "minimize"]


def test_values_and_gains_are_those_of_new_launches_and_hold_the_truth(folder: Path) -> None:
    front = shown(folder)["front"]
    verified = [point for point in front if point["is_verified"]]
    assert len(verified) == 5  # four and the defaults
    base, held = truth(256, False), []
    for point in verified:
        of_truth = truth(point["params"]["max_num_seqs"], False)
        for metric, value in zip(("output_throughput", "ttft_p99_s"), of_truth, strict=True):
            told = point["objectives"][metric]
            held.append(told["low"] < value < told["high"])
            if point["is_default"]:
                assert told["gain"] is None
                continue
            ratio = value / base[0] if metric == "output_throughput" else base[1] / value
            held.append(told["gain_low"] < ratio - 1 < told["gain_high"])
    assert held.count(True) >= 0.8 * len(held)  # of 95 % intervals
    rest = [point for point in front if not point["is_verified"]]
    assert all((point["launches"], point["objectives"]["ttft_p99_s"]["gain_low"]) == (0, None) for point in rest)


def test_it_is_said_on_the_screen(folder: Path) -> None:
    text = (folder / "stdout").read_text()
    assert "The search, one launch each, the best by throughput first:" in text
    assert "recommended, knee, " in text
    assert "not verified" in text
    assert "is the knee of the front, and a trade-off: launched again, its throughput is" in " ".join(text.split())
    assert tuner(folder, "show", "both").stdout.splitlines()[-1] == text.splitlines()[-1]
    assert "throughput -" in tuner(folder, "studies").stdout


def test_the_knee_is_exported_and_any_other_point_on_demand(folder: Path) -> None:
    front = shown(folder)["front"]
    knee = next(point for point in front if point["is_knee"])
    exported = json.loads(tuner(folder, "export", "both", "--format", "json").stdout)
    assert exported["trial"] == knee["trial"]
    assert exported["front"] == front
    assert f"--max-num-seqs {knee['params']['max_num_seqs']} " in tuner(folder, "export", "both").stdout
    other = next(p for p in front if p["is_verified"] and not p["is_knee"] and not p["is_default"])
    told = tuner(folder, "export", "both", "--trial", str(other["trial"])).stdout
    assert "NOT VERIFIED" not in told
    assert f"--max-num-seqs {other['params']['max_num_seqs']} " in told
    rest = next(point for point in front if not point["is_verified"])
    assert "NOT VERIFIED" in tuner(folder, "export", "both", "--trial", str(rest["trial"])).stdout


def test_optuna_s_study_has_both_directions(folder: Path) -> None:
    study = optuna.load_study(study_name="both", storage=storage(f"sqlite:///{folder / 'tuner.db'}"))
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["output_throughput", "ttft_p99_s"]
    assert all(len(trial.values) == 2 for trial in study.trials if trial.state.name == "COMPLETE")


def test_it_goes_on_with_the_same_objectives_only(folder: Path) -> None:
    again = tuner(folder, "optimize", *ENGINE, *BOTH, "--trials", "12", "--study", "both")
    assert again.returncode == 0, again.stderr
    assert "launching" not in again.stderr
    other = tuner(folder, "optimize", *ENGINE, "--trials", "12", "--study", "both")
    assert other.returncode == 2
    assert "objective: 'throughput,ttft_p99', now 'throughput'" in other.stderr


def test_the_cost_is_that_of_the_price_and_the_verdict_that_of_the_throughput(folder: Path) -> None:
    cost = ("--objective", "cost", "--price", "3.6", "--trials", "4", "--study", "cost")
    done = tuner(folder, "optimize", *ENGINE, *cost)
    assert done.returncode == 0, done.stderr
    found = shown(folder, "cost")
    best = next(trial for trial in found["list"] if trial["trial"] == found["recommended"])
    assert (found["objective"], found["metric"]) == ("cost", "cost_per_million_output_tokens")
    assert found["front"] == []
    again = [one["metrics"] for one in found["launched_again"] if one["trial"] == best["trial"]] or [best["metrics"]]
    costs = [3.6 / 3600 / metrics["output_throughput"] * 1e6 for metrics in again]
    assert found["value"] == pytest.approx(sum(costs) / len(costs))
    assert "Cost of 1M output tokens" in done.stdout
    dearer = tuner(folder, "optimize", *ENGINE, *cost[:2], "--price", "4", *cost[4:])
    assert dearer.returncode == 2
    assert "begun with GPUs of 3.6 an hour and not 4.0" in dearer.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("--objective energy", "gpu_energy_per_1k_tokens_j is missing, which --objective energy needs"),
        ("--objective cost", "--objective cost needs the price of one GPU for an hour: give --price"),
        ("--objective cost --price 0", "--price is 0 and must be a number above 0"),
        ("--objective ttft_p99 --objective ttft_p99", "--objective ttft_p99 is given twice"),
        ("--objective cost --objective throughput --price 1", "cost says nothing beside --objective throughput"),
        ("--objective throughput --objective speed", "unknown objective 'speed'"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(folder: Path, arguments: str, why: str) -> None:
    done = tuner(folder, "optimize", *ENGINE, *arguments.split(), "--study", "never")
    assert done.returncode == 2
    assert why in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2  # the surface's own line before it


def test_several_objectives_are_for_optimize_only(folder: Path) -> None:
    plan = tuner(folder, "plan", "--gpu", "t4", *BOTH)
    assert (plan.returncode, plan.stdout) == (2, "")
    assert "--objective is given 2 times, and `tuner plan` has one" in plan.stderr
    compare = tuner(folder, "compare", "http://127.0.0.1:1", "http://127.0.0.1:2", *BOTH)
    assert compare.returncode == 2
    assert "`tuner compare` has one" in compare.stderr
