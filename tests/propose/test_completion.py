"""Points that name some settings, filled so that they can run."""

import pytest
from propose_samples import DEFAULTS, SPACE, Asked, space_of
from samples import measured

from tuner.propose.completion import completed, refusal
from tuner.space.parameters import Categorical, Float, Int
from tuner.space.search_space import SearchSpace
from tuner.types import Params, Value

NARROW = {
    "max_num_seqs": {"type": "int", "low": 8, "high": 128, "log": True},
    "max_num_batched_tokens": {"type": "int", "low": 64, "high": 4096, "log": True},
    "enforce_eager": {"type": "categorical", "choices": [False, True]},
}
VLLMS: Params = {"max_num_seqs": 256, "max_num_batched_tokens": 2048, "enforce_eager": False}


def test_what_a_point_lacks_is_as_vllm_has_it_or_next_to_it() -> None:
    """All three enqueued points were once dropped without a word, because the default lay outside of the user's range."""
    points: list[Params] = [{"max_num_batched_tokens": 4096}, {"enforce_eager": True}, {"max_num_seqs": 8}]
    study = Asked(space_of(NARROW, enqueue=points), VLLMS)
    found = [study.take(measured()).params for _ in range(4)]
    assert found == [
        VLLMS,
        {"max_num_seqs": 128, "max_num_batched_tokens": 4096, "enforce_eager": False},
        {"max_num_seqs": 128, "max_num_batched_tokens": 2048, "enforce_eager": True},
        {"max_num_seqs": 8, "max_num_batched_tokens": 2048, "enforce_eager": False},
    ]
    assert study.notes == []


def test_where_a_rule_forbids_the_defaults_the_fewest_others_are_taken() -> None:
    assert completed(SPACE, {"max_num_batched_tokens": 16}, DEFAULTS) == {
        **DEFAULTS,
        "max_num_seqs": 16,
        "max_num_batched_tokens": 16,
    }
    two = space_of(
        NARROW,
        rules=[
            {"require": "max_num_seqs <= 16 or not enforce_eager", "because": "so"},
            {"require": "max_num_batched_tokens <= 128 or not enforce_eager", "because": "so"},
        ],
    )
    found = completed(two, {"enforce_eager": True}, VLLMS)
    assert found is not None
    assert found["enforce_eager"]
    assert two.violations(found) == []


def test_a_point_that_nothing_makes_legal_is_refused_in_a_sentence() -> None:
    rule = {"require": "max_num_seqs <= 4 or not enforce_eager", "because": "graphs are needed"}
    study = Asked(space_of(NARROW, rules=[rule], enqueue=[{"enforce_eager": True}, {"max_num_seqs": 8}]), VLLMS)
    study.take(measured())
    assert study.take(measured()).params["max_num_seqs"] == 8
    (said,) = study.notes
    assert said.startswith("the enqueued point enforce_eager true is not tried: max_num_seqs <= 4 or not enforce_eager")
    assert said.endswith("graphs are needed")
    assert refusal(SPACE, {"max_num_seqs": 1000}, DEFAULTS).endswith("max_num_seqs 1000 is outside 1..64")


def test_what_is_fixed_is_no_part_of_a_point() -> None:
    space = SearchSpace.model_validate(
        {
            "gpu": {"names": []},
            "fixed": {"dtype": "half"},
            "parameters": NARROW,
            "enqueue": [{"dtype": "half", "max_num_seqs": 8}],
        }
    )
    assert completed(space, space.enqueue[0], VLLMS) == {**VLLMS, "max_num_seqs": 8}


@pytest.mark.parametrize(
    ("parameter", "value", "nearest"),
    [
        (Int(type="int", low=8, high=30, step=8), 29, 24),
        (Int(type="int", low=8, high=30), 1000, 30),
        (Int(type="int", low=8, high=30), "none", 8),
        (Float(type="float", low=0.85, high=0.95, step=0.01), 0.9249, 0.92),
        (Float(type="float", low=0.5, high=1.0), 0.1, 0.5),
        (Categorical(type="categorical", choices=(True, False)), False, False),
        (Categorical(type="categorical", choices=("a", "b")), "c", "a"),
    ],
)
def test_the_nearest_value(parameter: Int | Float | Categorical, value: Value, nearest: Value) -> None:
    assert parameter.nearest(value) == nearest
    assert parameter.why_outside(parameter.nearest(value)) is None
