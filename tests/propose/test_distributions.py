"""Defaults that lie outside of what a user searches, or off its grid: every sampler goes on, and stays on the grid."""

import pytest
from propose_samples import Asked, space_of
from samples import measured

from tuner.types import Value

CASES: list[tuple[dict[str, object], Value]] = [
    ({"type": "int", "low": 64, "high": 512, "step": 64}, 100),
    ({"type": "int", "low": 64, "high": 500, "step": 64}, 16),
    ({"type": "float", "low": 0.85, "high": 0.95, "step": 0.02}, 0.92),
    ({"type": "float", "low": 0.85, "high": 0.91, "step": 0.01}, 0.92),
    ({"type": "float", "low": 0.1, "high": 0.5}, "auto"),
    ({"type": "int", "low": 1, "high": 16, "log": True}, 0),
    ({"type": "int", "low": 1, "high": 16, "log": True}, -1),
    ({"type": "int", "low": 1, "high": 16}, 0.5),
    ({"type": "int", "low": 1, "high": 16}, True),
    ({"type": "float", "low": 1.0, "high": 64.0, "log": True}, 256),
    ({"type": "categorical", "choices": [32, 64, 128, 256]}, 16),
    ({"type": "categorical", "choices": [1, 2, 3, 4]}, True),
]


@pytest.mark.parametrize("sampler", ["model", "tpe", "random"])
@pytest.mark.parametrize(("parameter", "default"), CASES)
def test_a_default_beside_the_domain_is_trial_0_and_never_sampled(
    parameter: dict[str, object], default: Value, sampler: str
) -> None:
    space = space_of({"x": parameter, "enforce_eager": {"type": "categorical", "choices": [False, True]}})
    study = Asked(space, {"x": default, "enforce_eager": False}, sampler=sampler)
    assert study.take(measured()).params["x"] == default
    found = [study.take(measured(output_throughput=100.0 + n)).params for n in range(4)]
    assert not [why for params in found for why in space.violations(params)]
    assert len({(type(params["x"]), params["x"], params["enforce_eager"]) for params in found}) == 4
    assert all(type(params["x"]) is not bool for params in found)
