"""A workload in, what a database keeps of it out, and back: what its load is made of, without the texts that are said in it.

It does not know databases, nor whether the files that a workload names are still there.
"""

from dataclasses import replace
from math import isinf

from pydantic import JsonValue, TypeAdapter, ValidationError

from tuner.types import Workload

_WORKLOAD = TypeAdapter(Workload)
#: What JSON has no number for.
_INFINITE = "inf"


def workload_json(workload: Workload) -> dict[str, JsonValue]:
    silent = replace(workload, system_prompt=None, response_prefix=None, stop=())
    told: dict[str, JsonValue] = _WORKLOAD.dump_python(silent, mode="json")
    return {name: _INFINITE if isinstance(v, float) and isinf(v) else v for name, v in told.items()}


def stored_workload(found: JsonValue) -> Workload | None:
    """None where it was not kept, or as another tuner kept it."""
    if found is None:
        return None
    try:
        return _WORKLOAD.validate_python(found)
    except ValidationError:
        return None


def same_load(one: Workload, other: Workload) -> bool:
    """Whether two are the same but for their names, their seeds, and how long they are measured."""
    return _bare(one) == _bare(other)


def _bare(workload: Workload) -> Workload:
    return replace(
        workload, name="", seed=0, warmup_s=0.0, window_s=0.0, max_window_s=None, precision=0.0, stall_s=0.0,
        system_prompt=None, response_prefix=None, stop=(),
    )  # fmt: skip
