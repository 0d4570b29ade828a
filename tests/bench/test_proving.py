"""The first remedy and its step, and what is said of it afterwards."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from tuner.bench import proving
from tuner.bench.proving import Proof, next_of, proof, proved
from tuner.decide.confidence import compare_paired
from tuner.decide.objective import parse_objective
from tuner.diagnose.causes import Cause
from tuner.diagnose.diagnosis import Diagnosis, Finding, Remedy
from tuner.space.files import load_space
from tuner.space.parameters import Categorical, Float, Int, Parameter
from tuner.study.options import Options
from tuner.types import Params, Value

DENSE = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
LADDER = Categorical(type="categorical", choices=(16, 64, 256))
LOG = Int(type="int", low=1, high=64, log=True)
EVEN = Float(type="float", low=0.5, high=0.9, step=0.1)


def remedy(direction: Any = "raise", value: Value | None = None, gain: float | None = None) -> Remedy:
    return Remedy(name="max_num_seqs", direction=direction, value=value, gain=gain)


@pytest.mark.parametrize(
    ("direction", "current", "parameter", "found"),
    [
        ("raise", 64, LADDER, 256),
        ("lower", 64, LADDER, 16),
        ("raise", 256, LADDER, None),
        ("raise", 8, LOG, 16),
        ("lower", 8, LOG, 4),
        ("raise", 64, LOG, None),
        ("lower", 0.7, EVEN, 0.6),
        ("set", 8, LOG, None),
        ("raise", None, LOG, None),
        ("raise", "auto", LADDER, None),
        ("raise", 8, None, None),
    ],
)
def test_without_a_value_it_is_one_step_in_its_direction(
    direction: str, current: Value | None, parameter: Parameter | None, found: Value | None
) -> None:
    assert next_of(remedy(direction), current, parameter) == found
    assert next_of(remedy(direction, value=7), current, parameter) == 7


def test_the_cpus_own_space_has_a_step() -> None:
    assert next_of(remedy(), 4, load_space("cpu").parameters["max_num_seqs"]) in range(5, 65)


def case(gain: float | None = None) -> Proof:
    finding = Finding(cause=Cause.BATCH_LIMIT, strength=0.9, evidence=("x",), remedies=(remedy(gain=gain),))
    seen: Any = SimpleNamespace(diagnosis=Diagnosis(findings=(finding,)))
    side: Any = None
    return Proof(seen=seen, remedy=finding.remedies[0], before=2, after=8, present=side, remedied=side)


THROUGHPUT, TTFT = parse_objective("throughput"), parse_objective("ttft_p99")
A = (100.0, 101.0, 99.0, 100.0, 102.0, 98.0)


def test_a_remedy_that_helps_does_what_was_said() -> None:
    told = proved(case(0.5), compare_paired(A, tuple(1.5 * v for v in A[::-1])), THROUGHPUT)
    assert "the remedy for batch limit, max_num_seqs from 2 to 8, does what was said" in told
    assert "6 pairs" in told
    assert "predicted was +50.0%, inside the interval" in told


def test_one_that_hurts_or_does_nothing_is_said_so() -> None:
    assert "makes it worse" in proved(case(), compare_paired(A, tuple(0.5 * v for v in A)), THROUGHPUT)
    assert "makes it worse" in proved(case(), compare_paired(A, tuple(1.5 * v for v in A)), TTFT)
    assert "brings nothing that can be told" in proved(case(), compare_paired(A, A[::-1]), THROUGHPUT)
    told = proved(case(0.5), compare_paired(A, tuple(0.5 * v for v in A[::-1])), TTFT)
    assert "does what was said" in told
    assert "predicted was -50.0%, inside" in told


def test_too_few_pairs_prove_nothing() -> None:
    assert "is not proved" in proved(case(), compare_paired(A[:2], A[1:3]), THROUGHPUT)
    assert "is not proved" in proved(case(), None, THROUGHPUT)


class _Engine:
    """Says its version, and takes all that it is asked."""

    def __init__(self, version: str) -> None:
        self.info = SimpleNamespace(version=version)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def resolve(self, arguments: tuple[str, ...]) -> SimpleNamespace:
        return SimpleNamespace(settings={"max_num_seqs": 64, "passed": " ".join(arguments)})


@pytest.mark.parametrize(("version", "tried"), [("0.25.1", "engines_per_gpu"), ("0.24.0", "max_num_seqs")])
def test_a_remedy_that_this_vllm_does_not_have_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, tried: str
) -> None:
    monkeypatch.setattr(proving, "ForkServer", lambda python, environment: _Engine(version))
    monkeypatch.setattr(proving, "find_python", lambda named: Path(sys.executable))
    settings: dict[str, Params] = {}
    monkeypatch.setattr(
        proving, "launched_side", lambda name, source, *others: settings.update({name: source.settings})
    )
    options = replace(Options(), gpu="h200", force_gpu=True, model=DENSE, log_dir=tmp_path)
    finding = Finding(
        cause=Cause.SCHEDULER,
        strength=0.9,
        evidence=("x",),
        remedies=(Remedy(name="engines_per_gpu", direction="set", value=2), remedy(value=128)),
    )
    running: Any = SimpleNamespace(diagnosis=Diagnosis(findings=(finding,)))
    conditions: Any = None
    found = proof(options, conditions, running, 0, print)
    assert found.remedy.name == tried
    asked = settings[f"remedied {tried}={found.after}"]
    assert ("kv_cache_memory_bytes" in asked) == (tried == "engines_per_gpu")  # what each engine is told
