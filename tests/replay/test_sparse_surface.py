"""A public pool may have one number a launch: the whole product works with that, and takes nothing that is absent for 0."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from commands import tuner
from replay_samples import written

SPACE = """\
name: small
gpu:
  names: [Tesla T4]
  compute_capability: "7.5"
parameters:
  max_num_seqs: {type: int, low: 16, high: 256, log: true}
  max_num_batched_tokens: {type: int, low: 512, high: 8192, log: true}
"""
#: What is measured, more is better; and the settings that do it.
GAINS = {(16, 512): 0.5, (64, 512): 1.5, (64, 2048): 1.6, (256, 2048): 1.0, (256, 8192): 1.1, (16, 8192): 0.4}


def surface(folder: Path, metrics: Mapping[str, float], *, falling: bool = False) -> Path:
    """Each metric of a line is that of `metrics` times (or by) its gain."""
    (folder / "space.yaml").write_text(SPACE)
    lines: list[dict[str, Any]] = [{"surface": {"gpu": "Tesla T4", "model": "demo"}}]
    for (seqs, tokens), gain in GAINS.items():
        found = {name: value / gain if falling else value * gain for name, value in metrics.items()}
        params = {"max_num_seqs": seqs, "max_num_batched_tokens": tokens}
        lines.append({"params": params, "metrics": found, "is_default": gain == 1.0})
    return written(folder, *lines)


def optimize(folder: Path, *more: str) -> Any:
    where = ("--engine", "replay", "--surface", "surface.jsonl", "--space", "space.yaml", "--study", "s")
    return tuner(folder, "optimize", *where, "--trials", "6", "--storage", "x.db", *more)


def own(metrics: Iterable[str]) -> set[str]:
    """Beside how many GPUs the card's server has, and what follows from that."""
    return {name for name in metrics if name != "gpus" and not name.endswith("_per_gpu")}


@pytest.mark.parametrize(
    ("metrics", "asked"),
    [
        ({"output_throughput": 100.0}, ()),
        ({"request_throughput": 2.0}, ("--objective", "requests")),
        ({"ttft_p95_s": 0.2}, ("--objective", "ttft_p95")),
        ({"e2el_mean_s": 2.0}, ("--objective", "e2e_mean", "--slo", "e2e_mean=10s")),
    ],
)
def test_one_number_a_launch_is_a_study(tmp_path: Path, metrics: Mapping[str, float], asked: tuple[str, ...]) -> None:
    surface(tmp_path, metrics, falling="--objective" in asked and "requests" not in asked)
    ran = optimize(tmp_path, *asked)
    assert ran.returncode == 0, ran.stderr
    (name,) = metrics
    for arguments in (("studies",), ("trials", "s"), ("show", "s"), ("show", "s", "0")):
        shown = tuner(tmp_path, *arguments, "--storage", "x.db")
        assert shown.returncode == 0, (arguments, shown.stderr)
    told = json.loads(tuner(tmp_path, "show", "s", "--json", "-", "--storage", "x.db").stdout)
    assert told["recommended"] is not None
    assert [own(trial["metrics"]) for trial in told["list"]] == [{name}] * len(told["list"])
    for format in ("command", "yaml", "json", "surface"):
        exported = tuner(tmp_path, "export", "s", "--format", format, "--storage", "x.db")
        assert exported.returncode == 0, (format, exported.stderr)
    lines = [json.loads(line) for line in exported.stdout.splitlines()[1:]]
    assert [own(line["metrics"]) for line in lines] == [{name}] * len(lines)


def test_a_line_without_what_the_study_is_about_is_refused(tmp_path: Path) -> None:
    surface(tmp_path, {"ttft_p95_s": 0.2})
    for asked, why in (
        ((), "metrics: output_throughput is missing, which --objective throughput needs"),
        (("--objective", "ttft_p95", "--slo", "tpot_p99=20ms"), "tpot_p99_s is missing, which --slo tpot_p99 needs"),
    ):
        ran = optimize(tmp_path, *asked)
        assert ran.returncode == 2
        assert "surface.jsonl:2: " in ran.stderr
        assert why in " ".join(ran.stderr.split())
