"""A measurement's numbers by their names in, the measurement out: the inverse of `Measured.metrics()`. Pure."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_args, get_type_hints

from tuner.types import ClientMetrics, Cores, Distribution, GpuMetrics, LoadMetrics, Mark, Measured, ServerMetrics

Record = TypeVar("Record")
#: Of each record: name, default and possible types of its fields.
_FIELDS: Mapping[Any, list[tuple[str, object, tuple[object, ...]]]] = {
    record: [(f.name, f.default, get_args(hint) or (hint,)) for f in fields(record) for hint in (hints[f.name],)]
    for record in (Measured, LoadMetrics, Distribution, ServerMetrics, GpuMetrics, ClientMetrics, Cores)
    for hints in (get_type_hints(record),)
}
#: What follows from another metric and the number of GPUs.
_FOLLOW = {f"{name}_per_gpu": name for name in ("output_throughput", "request_throughput")}


def measured_of(numbers: Mapping[str, float], marks: tuple[Mark, ...] = ()) -> Measured:
    """What the numbers leave out is not known, and None: a distribution's `count` is that of the completed requests where these
    are told. The GPUs' indices and reasons to throttle are none.

    Raises ValueError that names the metric that is missing, or is none of ours.
    """
    left = {name: number for name, number in numbers.items() if name not in _FOLLOW or _FOLLOW[name] not in numbers}
    completed = left.get("completed")
    count = max(1, round(completed)) if completed is not None else None
    latencies: dict[str, Any] = {
        name: _part(Distribution, left, name.removesuffix("_s") + "_{}_s", count=count)
        for name, _, kinds in _FIELDS[LoadMetrics]
        if Distribution in kinds
    }
    found = _record(
        Measured,
        left,
        load=_record(LoadMetrics, left, **latencies),
        server=_part(ServerMetrics, left, "server_{}", acceptance_rates=_positions(left)),
        gpu=_part(GpuMetrics, left, "gpu_{}", gpus=(), throttle_reasons=()),
        client=_part(ClientMetrics, left, "client_{}"),
        cores=_part(Cores, left, "cores_{}"),
        marks=marks,
    )
    if left:
        raise ValueError(f"there is no metric {min(left)}")
    return found


def _positions(numbers: dict[str, float]) -> tuple[float, ...] | None:
    """How often drafts were accepted up to each position, which has a name of its own."""
    found: list[float] = []
    while (name := f"server_acceptance_rate_{len(found) + 1}") in numbers:
        found.append(numbers.pop(name))
    return tuple(found) or None


def _part(kind: type[Record], numbers: dict[str, float], naming: str, **given: Any) -> Record | None:
    """The record, or None where none of its numbers is there."""
    present = any(naming.format(name) in numbers for name, _, _ in _FIELDS[kind])
    return _record(kind, numbers, naming, **given) if present else None


def _record(kind: type[Record], numbers: dict[str, float], naming: str = "{}", **given: Any) -> Record:
    """The record whose fields are taken out of `numbers` by their names there, but for those that are given."""
    for field, default, kinds in _FIELDS[kind]:
        name = naming.format(field)
        if field in given:
            continue
        if name in numbers:
            number = numbers.pop(name)
            given[field] = number if float in kinds else round(number)
        elif type(None) in kinds:
            given[field] = None
        elif default is MISSING:
            raise ValueError(f"{name} is missing")
    return kind(**given)
