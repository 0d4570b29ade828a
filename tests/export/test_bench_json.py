"""The JSON of a measurement, beside a file that `vllm bench serve --save-result` wrote."""

import json
import math
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from samples import NOW, load_metrics, measured
from serving import paced

from tuner.bench.comparison import Comparison
from tuner.decide.objective import OBJECTIVES
from tuner.decide.slo import parse_slo
from tuner.export.bench_json import Asked, bench_json, comparison_json
from tuner.types import Lengths, Mark, Workload

WORKLOAD = Workload(
    name="w", api="chat", users=8, input_tokens=Lengths(low=64, high=64), output_tokens=Lengths(low=8, high=8)
)
ASKED = Asked(workload=WORKLOAD, yaml="api: chat\n")


def record(asked: Asked = ASKED, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        bench_json(replace(measured(), **changes), asked, server="http://x:1", model="m", at=NOW)
    )
    return found


def test_a_measurement_under_vllms_names_in_vllms_units() -> None:
    found = record()
    more = found.pop("tuner")
    assert found == {
        "date": "20261122-130000",
        "backend": "openai-chat",
        "endpoint_type": "openai-chat",
        "model_id": "m",
        "request_rate": "inf",
        "max_concurrency": 8,
        "duration": 10.0,
        "completed": 10,
        "failed": 0,
        "total_input_tokens": 1000,
        "total_output_tokens": 1000,
        "request_throughput": 1.0,
        "request_goodput": 1.0,
        "output_throughput": 100.0,
        "total_token_throughput": 200.0,
        **{f"{s}_ttft_ms": 100.0 for s in ("mean", "median", "p50", "p90", "p95", "p99")},
        **{f"{s}_tpot_ms": 10.0 for s in ("mean", "median", "p50", "p90", "p95", "p99")},
        **{f"{s}_itl_ms": 10.0 for s in ("mean", "median", "p50", "p90", "p95", "p99")},
        **{f"{s}_e2el_ms": 1000.0 for s in ("mean", "median", "p50", "p90", "p95", "p99")},
        **{f"std_{latency}_ms": 0.0 for latency in ("ttft", "tpot", "itl", "e2el")},
    }
    assert more["measured"] == "http://x:1"
    assert more["workload"] == "api: chat\n"
    assert more["client"]["cpu"] == 0.2
    assert more["gpu"] is None


def test_marks_limits_and_the_interval_are_tuners_own() -> None:
    slos = (parse_slo("ttft_p99=200ms"), parse_slo("tpot_p99=5ms"))
    load = replace(load_metrics(), output_throughput_ci95=2.5)
    more = record(replace(ASKED, slos=slos), load=load, marks=(Mark.CLIENT_BOUND,))["tuner"]
    assert more["marks"] == ["client bound"]
    assert more["output_throughput_ci95"] == 2.5
    assert more["slos"] == {
        "ttft_p99": {"limit_s": 0.2, "met": True},
        "tpot_p99": {"limit_s": pytest.approx(0.005), "met": False},
    }


def test_what_does_not_exist_is_left_out_or_null_never_zero() -> None:
    found = record(load=replace(load_metrics(), tpot_s=None, goodput=None), server=None, startup_s=None)
    assert not [name for name in found if "tpot" in name]
    assert found["request_goodput"] is None
    assert (found["tuner"]["server"], found["tuner"]["startup_s"]) == (None, None)


def test_the_open_loop_has_its_rate_and_no_concurrency() -> None:
    rate = replace(WORKLOAD, users=None, request_rate=5.0, burstiness=math.inf)
    found = record(replace(ASKED, workload=rate), load=replace(load_metrics(), request_rate=6.5))
    assert (found["request_rate"], found["burstiness"], found["max_concurrency"]) == (6.5, "inf", None)  # the one found


def test_a_comparison_has_every_measurement_and_the_test() -> None:
    a, b = (tuple(measured(output_throughput=v) for v in side) for side in ([100] * 6, [110, 111, 112, 110, 111, 112]))
    found, throughput = Comparison(a, b), OBJECTIVES["throughput"]
    text = comparison_json(
        a,
        b,
        ASKED,
        names=("http://a", "b.yaml"),
        models=("m", "m"),
        objective=throughput,
        paired=found.paired(throughput),
        at=NOW,
    )
    read = json.loads(text)
    assert (read["verdict"], read["pairs"], read["metric"]) == ("faster", 6, "output_throughput")
    assert 0.1 < read["low"] < read["effect"] < read["high"] < 0.12
    assert [m["output_throughput"] for m in read["b"]["measurements"]] == [110, 111, 112, 110, 111, 112]
    assert (read["a"]["name"], read["b"]["name"]) == ("http://a", "b.yaml")


def test_without_a_test_there_is_no_verdict() -> None:
    throughput = OBJECTIVES["throughput"]
    names = {"names": ("a", "b"), "models": ("m", "m")}
    alone = json.loads(comparison_json((measured(),), (), ASKED, objective=throughput, paired=None, at=NOW, **names))
    assert (alone["verdict"], alone["effect"], alone["pairs"]) == (None, None, 0)
    few = Comparison((measured(),), (measured(),)).paired(throughput)
    one = json.loads(
        comparison_json((measured(),), (measured(),), ASKED, objective=throughput, paired=few, at=NOW, **names)
    )
    assert (one["verdict"], one["pairs"]) == (None, 1)


@pytest.mark.engine
def test_vllms_own_file_has_these_names_with_values_of_the_same_kind(
    engine_python: Path, demo_model: Path, tmp_path: Path
) -> None:
    command = [str(engine_python.with_name("vllm")), "bench", "serve", "--backend", "openai-chat"]
    command += ["--endpoint", "/v1/chat/completions", "--model", "paced", "--tokenizer", str(demo_model)]
    command += [
        "--dataset-name",
        "random",
        "--random-input-len",
        "16",
        "--random-output-len",
        "8",
        "--num-prompts",
        "8",
    ]
    command += ["--max-concurrency", "8", "--temperature", "0", "--percentile-metrics", "ttft,tpot,itl,e2el"]
    command += ["--metric-percentiles", "50,90,95,99", "--goodput", "ttft:1000", "--save-result"]
    command += ["--result-dir", str(tmp_path), "--result-filename", "vllm.json"]
    with paced("--ttft", "0.02", "--itl", "0.005") as url:
        done = subprocess.run([*command, "--base-url", url], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = json.loads((tmp_path / "vllm.json").read_text())
    ours = record()
    del ours["tuner"]
    assert ours.keys() <= theirs.keys()
    kinds = {name: "number" if isinstance(theirs[name], int | float) else type(theirs[name]).__name__ for name in ours}
    assert kinds == {n: "number" if isinstance(v, int | float) else type(v).__name__ for n, v in ours.items()}
    same = ("backend", "endpoint_type", "request_rate", "max_concurrency")
    assert [theirs[name] for name in same] == [ours[name] for name in same]
