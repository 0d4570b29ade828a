"""Servers whose limit is known: what is named first. The set is data, tests/diagnose/situations.yaml."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY

from tuner.diagnose.causes import Cause
from tuner.diagnose.diagnosing import diagnose
from tuner.diagnose.diagnosis import Diagnosis
from tuner.diagnose.evidence import Evidence, evidence_of
from tuner.diagnose.table import table_path
from tuner.replay.metrics import measured_of
from tuner.types import Lengths, Params, Workload

SITUATIONS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "situations.yaml").read_text())
PROVOKED = [
    line
    for path in sorted((REPOSITORY / "benchmarks" / "data").glob("provoked-*.jsonl"))
    for line in path.read_text().splitlines()
]
SEEN: dict[str, dict[str, float]] = {line["name"]: line["seen"] for line in map(json.loads, PROVOKED)}
NO_FAULT = {Cause.HEALTHY, Cause.NO_LOAD, Cause.DECODE, Cause.COMPUTE}


def recorded(file: str, users: int, line: int | None = None, **wanted: str | int) -> tuple[Evidence, Params]:
    """Of a line, or of the first line of these users, this model and this max_num_seqs."""
    defaults: dict[str, Any] = {}
    for number, text in enumerate((REPOSITORY / "benchmarks" / "data" / file).read_text().splitlines(), start=1):
        point = json.loads(text)
        if number == 2:
            defaults = point["params"]
        if number == line or (line is None and _is(point, users, wanted)):
            params = {**(defaults if line else {}), **point.get("resolved", {}), **point["params"]}
            workload = Workload(
                name="recorded", api="completions", users=users, input_tokens=Lengths(low=64, high=448),
                output_tokens=Lengths(low=32, high=224),
            )  # fmt: skip
            return evidence_of(measured_of(point["metrics"]), params, workload), params
    raise AssertionError(f"{file} has no such line")


def _is(point: Mapping[str, Any], users: int, wanted: Mapping[str, str | int]) -> bool:
    is_one = point["model"] == wanted["model"] and point["params"].get("max_num_seqs") == wanted["max_num_seqs"]
    return is_one and point.get("load", {}).get("users") == users and "gpu_utilization" in point.get("metrics", {})


def diagnosed(situation: Mapping[str, Any]) -> Diagnosis:
    if "recorded" in situation:
        seen, settings = recorded(**situation["recorded"])
        return diagnose(seen, settings)
    return diagnose(Evidence(**(SEEN[situation["seen"]] if "seen" in situation else situation["evidence"])), {})


def told(found: Diagnosis) -> str:
    return "\n".join(f"{one.strength:.2f} {one.cause}: {'; '.join(one.evidence)}" for one in found.findings)


@pytest.mark.parametrize("situation", SITUATIONS, ids=[one["name"] for one in SITUATIONS])
def test_the_true_cause_is_named_first(situation: dict[str, Any]) -> None:
    found = diagnosed(situation)
    if "cause" in situation:
        assert found.first.cause == Cause(situation["cause"]), told(found)
    else:
        assert found.first.cause in NO_FAULT, told(found)


def test_the_set_is_large_enough() -> None:
    named = [Cause(one["cause"]) for one in SITUATIONS if "cause" in one]
    assert len(named) >= 16
    assert set(named) >= set(Cause) - {Cause.HEALTHY, Cause.WEIGHTS, Cause.MEMORY}
    assert sum(bool(one.get("healthy")) for one in SITUATIONS) >= 10


def test_the_page_says_how_many_there_are() -> None:
    said = " ".join(table_path().read_text().split("## How well it does")[1].split("## Thresholds")[0].split())
    known, right = ([one for one in SITUATIONS if name in one] for name in ("cause", "healthy"))
    measured = [sum("recorded" in one or "seen" in one for one in group) for group in (known, right)]
    assert f"has {len(known)} servers whose limit is known, {measured[0]} of them measured" in said
    assert f"and {len(right)} that are as they should be ({measured[1]} measured)" in said


def test_of_graphs_that_are_far_too_small_larger_ones_are_tried_first() -> None:
    """On an H200 FULL graphs of 8 tokens lost 5 % there."""
    first = diagnose(Evidence(**SEEN["small graphs"]), {"max_cudagraph_capture_size": 8}).first.remedies[0]
    assert (first.name, first.value) == ("max_cudagraph_capture_size", 2048)
    usual = diagnose(Evidence(**SEEN["defaults"]), {"max_cudagraph_capture_size": 512}).first.remedies
    assert "max_cudagraph_capture_size" not in [usual[0].name, usual[1].name]
