"""Which values of searched settings are tried against what holds a server back, whatever values the space has."""

from types import SimpleNamespace
from typing import Any

import pytest

from tuner.diagnose.causes import Cause
from tuner.predict.advise.knobs import probes
from tuner.space.parameters import Categorical, Int, Parameter
from tuner.types import Params, Value


def choices(*values: Value) -> Categorical:
    return Categorical(type="categorical", choices=values)


@pytest.mark.parametrize(
    ("name", "parameter", "value", "cause", "tried"),
    [
        ("api_server_count", choices(1, 2, 4, 8), 1, Cause.API_SERVER, [4, 2]),
        ("api_server_count", Int(type="int", low=1, high=4), 1, Cause.API_SERVER, [4, 2]),
        ("api_server_count", choices(1, 8), 1, Cause.API_SERVER, None),
        ("api_server_count", choices(4, 2), 4, Cause.API_SERVER, None),
        ("max_num_seqs", Int(type="int", low=1024, high=2048), 64, Cause.SCHEDULER, [1024]),
        ("max_num_seqs", Int(type="int", low=100, high=1000, step=100), 256, Cause.SCHEDULER, [1000, 500]),
        ("max_num_seqs", Int(type="int", low=16, high=2048, log=True), 256, Cause.SCHEDULER, [1024, 512]),
        ("max_num_seqs", Int(type="int", low=16, high=256), 256, Cause.SCHEDULER, None),
        ("max_num_batched_tokens", choices(512, 2048, 4096, 8192), 8192, Cause.LAUNCHES, [2048, 4096]),
        ("distributed_executor_backend", choices("none", "mp"), "none", Cause.SCHEDULER, ["mp"]),
        ("distributed_executor_backend", choices("none", "mp"), "mp", Cause.SCHEDULER, None),
    ],
)
def test_only_values_of_the_space_that_go_the_remedys_way_are_tried(
    name: str, parameter: Parameter, value: Value, cause: Cause, tried: list[Value] | None
) -> None:
    case: Any = SimpleNamespace(space=SimpleNamespace(parameters={name: parameter}))
    params: Params = {name: value}
    found = dict(probes(case, params, [cause]))
    assert found == ({} if tried is None else {name: tried})
    for values in found.values():
        assert all(parameter.why_outside(one) is None for one in values)
