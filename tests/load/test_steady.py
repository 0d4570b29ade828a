"""Throughput is not off because a load has a beginning: the product's first requests and warm-up, on simulated servers."""

import importlib
import sys
from dataclasses import replace
from typing import Any

import pytest
from conftest import REPOSITORY


@pytest.fixture(scope="module")
def steady() -> Any:
    sys.path.insert(0, str(REPOSITORY / "benchmarks" / "truth"))
    try:
        return importlib.import_module("steady")
    finally:
        sys.path.pop(0)


def test_answers_that_are_longer_than_the_warm_up_do_not_bias_throughput(steady: Any) -> None:
    """Contexts take as long as all else in a step, and an answer 9 to 27 s. If users began with their prompts alone, a window
    after 5 s would read 7 % high."""
    server = replace(steady.L4, step_s=0.02, prompt_s=0.00005, context_s=5 * steady.L4.context_s)
    case = steady.Case(name="", workload=steady.closed(16, 256, 768), server=server, horizon_s=80)
    row = steady.row_of(case, 12)
    assert abs(row.bias) < 0.01
    assert row.unsteady == 0
    assert row.warm_up_s < 12


def test_users_who_queue_are_measured_when_the_queue_is_as_it_will_be(steady: Any) -> None:
    server = replace(steady.L4, step_s=0.02, prompt_s=0.00005, sequences=6)
    case = steady.Case(name="", workload=steady.closed(16, 128, 384), server=server, horizon_s=100)
    row = steady.row_of(case, 12)
    assert abs(row.bias) < 0.015
    assert row.covered_or_marked >= 0.9
