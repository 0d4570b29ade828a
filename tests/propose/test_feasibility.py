"""How likely a point starts, after launches that did not."""

from typing import Any

import numpy as np

from tuner.propose.encoding import Encoding
from tuner.propose.feasibility import chances
from tuner.propose.history import Seen
from tuner.space.parameters import Categorical, Float, Parameter
from tuner.types import Params

SPACE: dict[str, Parameter] = {
    "gpu_memory_utilization": Float(type="float", low=0.8, high=0.98, step=0.02),
    "kv_cache_dtype": Categorical(type="categorical", choices=("auto", "fp8")),
    "block_size": Categorical(type="categorical", choices=(16, 32)),
}


def point(memory: float, dtype: str = "auto", block: int = 16) -> Params:
    return {"gpu_memory_utilization": memory, "kv_cache_dtype": dtype, "block_size": block}


def ok(params: Params) -> Seen:
    return Seen(params=params, scores=(1.0,), slos={})


def bad(params: Params, cause: str = "out of memory") -> Seen:
    return Seen(params=params, slos={}, cause=cause)


def chance(params: Params, *seen: Seen, expected: float = 1.0) -> float:
    return float(chances([params], Encoding(SPACE), seen, np.array([expected]))[0])


def test_without_a_failure_what_is_expected_stands() -> None:
    assert chance(point(0.9), ok(point(0.86)), expected=0.7) == 0.7


def test_a_choice_that_only_failures_had_is_suspected_and_after_two_of_one_cause_out() -> None:
    seen: list[Any] = [ok(point(0.9)), bad(point(0.9, "fp8"))]
    once = chance(point(0.82, "fp8", 32), *seen)
    assert once < 0.5 < chance(point(0.82, "auto", 32), *seen)
    assert chance(point(0.82, "fp8", 32), *seen, bad(point(0.86, "fp8", 32))) < 0.05


def test_a_number_beyond_all_that_started_is_suspected() -> None:
    seen = [ok(point(0.9)), bad(point(0.96)), bad(point(0.98, "auto", 32))]
    assert chance(point(0.96, "auto", 32), *seen) < 0.05
    assert chance(point(0.92, "auto", 32), *seen) > 0.3


def test_what_a_launch_that_started_has_is_not_to_blame() -> None:
    seen = [ok(point(0.96, "fp8")), ok(point(0.96, "auto", 32)), bad(point(0.96, "fp8", 32))]
    assert chance(point(0.82, "fp8"), *seen) > 0.6


def test_two_causes_have_their_own_suspects() -> None:
    seen = [ok(point(0.9)), bad(point(0.9, "fp8"), "unsupported"), bad(point(0.9, "auto", 32), "crashed")]
    both, one = chance(point(0.82, "fp8", 32), *seen), chance(point(0.82, "fp8"), *seen)
    assert both < one < 0.5


def test_a_point_beside_a_failure_is_in_doubt() -> None:
    seen = [ok(point(0.98, "auto", 32)), ok(point(0.8, "fp8", 32)), bad(point(0.9)), ok(point(0.8))]
    assert chance(point(0.92), *seen) < chance(point(0.98), *seen) + 0.3
    assert chance(point(0.92), *seen) < 0.8


def test_what_is_suspected_and_runs_has_no_chance_beside_that() -> None:
    seen = [ok(point(0.9)), bad(point(0.9, "fp8"))]
    asked = [point(0.82, "fp8", 32), point(0.82, "auto", 32)]
    beside = chances(asked, Encoding(SPACE), seen, np.ones(2), [point(0.84, "fp8")])
    other = chances(asked, Encoding(SPACE), seen, np.ones(2), [point(0.84)])
    assert beside[0] == 0
    assert other[0] > 0
    assert beside[1] == other[1] > 0.5
