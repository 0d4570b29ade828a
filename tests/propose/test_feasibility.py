"""How likely a point starts, after launches that did not."""

from typing import Any

import numpy as np

from tuner.propose.encoding import Encoding
from tuner.propose.feasibility import chances
from tuner.propose.history import Seen
from tuner.space.parameters import Categorical, Float, Int, Parameter
from tuner.types import Params

SPACE: dict[str, Parameter] = {
    "gpu_memory_utilization": Float(type="float", low=0.8, high=0.98, step=0.02),
    "kv_cache_dtype": Categorical(type="categorical", choices=("auto", "fp8")),
    "block_size": Categorical(type="categorical", choices=(16, 32)),
}
WIDE: dict[str, Parameter] = {
    "dtype": Categorical(type="categorical", choices=("auto", "half", "bfloat16", "float")),
    "backend": Categorical(type="categorical", choices=("auto", "one", "other")),
    "block_size": Categorical(type="categorical", choices=(8, 16, 32, 64)),
    "max_num_seqs": Int(type="int", low=8, high=128, step=8),
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


def wide(dtype: str = "auto", seqs: int = 64, backend: str = "auto", block: int = 16) -> Params:
    return {"dtype": dtype, "backend": backend, "block_size": block, "max_num_seqs": seqs}


def wide_chances(points: list[Params], *seen: Seen) -> list[float]:
    return list(map(float, chances(points, Encoding(WIDE), seen, np.ones(len(points)))))


def test_two_values_of_a_parameter_that_fail_alike_are_both_suspected() -> None:
    seen = [ok(wide(seqs=8)), ok(wide(seqs=128)), bad(wide("half", 32)), bad(wide("float", 96))]
    half, other, new = wide_chances([wide("half", 120), wide("float", 16), wide("bfloat16", 64)], *seen)
    assert half == other == 0
    assert new > 0.4


def test_both_ends_of_a_number_are_suspected() -> None:
    seen = [ok(wide(seqs=64)), ok(wide(seqs=80)), bad(wide(seqs=16)), bad(wide(seqs=120))]
    low, high, inside = wide_chances([wide(seqs=8), wide(seqs=128), wide(seqs=72)], *seen)
    assert low == high == 0
    assert inside > 0.4


def test_a_choice_among_numbers_that_started_is_suspected() -> None:
    seen = [ok(wide(block=8)), ok(wide(block=64)), ok(wide(seqs=8)), ok(wide(seqs=128))]
    seen += [bad(wide(seqs=56, block=32)), bad(wide(seqs=72, block=32))]
    failing, started = wide_chances([wide(seqs=96, block=32), wide(seqs=96, block=64)], *seen)
    assert failing == 0
    assert started > 0.4


def test_what_one_parameter_does_not_explain_another_may() -> None:
    seen = [
        ok(wide(seqs=8)),
        ok(wide(seqs=128)),
        bad(wide("half", 32)),
        bad(wide("float", 96)),
        bad(wide(backend="one")),
    ]
    half, one, other = wide_chances(
        [wide("half"), wide(backend="one", seqs=120), wide(backend="other", seqs=120)], *seen
    )
    assert half == 0
    assert one < 0.1
    assert other > 0.3


def test_of_several_that_may_be_to_blame_each_has_a_small_chance_so_that_it_can_be_cleared() -> None:
    seen = [ok(wide(seqs=8)), bad(wide("half", 96)), bad(wide("half", 112))]
    both, one, none = wide_chances([wide("half", 120), wide("bfloat16", 120), wide("bfloat16", 16)], *seen)
    assert both == 0
    assert 0 < one < 0.02
    assert none > 0.5
    assert wide_chances([wide("bfloat16", 120)], *seen, ok(wide("bfloat16", 128)))[0] > 0.4
