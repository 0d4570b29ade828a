"""Two workloads, or two configs, in; in what they differ, line by line as a diff has it, out. Pure."""

from collections.abc import Iterable

from tuner.decide.drift import Expected, Lengths
from tuner.record.proposals import Difference
from tuner.types import Command, TokenCounts, Workload
from tuner.workload.lengths import mean


def workload_changes(before: Workload, was: Expected, after: Workload, now: Expected) -> tuple[Difference, ...]:
    """What users do, in numbers that can be compared: the distributions are in the workloads themselves."""
    inputs = [_mean(work.input_tokens, work, drawn.inputs) for work, drawn in ((before, was), (after, now))]
    outputs = [_mean(work.output_tokens, work, drawn.outputs) for work, drawn in ((before, was), (after, now))]
    pairs: tuple[tuple[str, str | None, str | None], ...] = (
        ("requests a second", _number(was.rate), _number(now.rate)),
        ("requests in flight", _number(was.concurrency), _number(now.concurrency)),
        ("burstiness", _number(_burstiness(before)), _number(_burstiness(after))),
        ("input tokens, mean", _number(inputs[0]), _number(inputs[1])),
        ("output tokens, mean", _number(outputs[0]), _number(outputs[1])),
        ("prompt tokens in the prefix cache", _share(was.prefix_share), _share(now.prefix_share)),
    )
    return tuple(Difference(name=name, before=one, after=other) for name, one, other in pairs if one != other)


def settings_changes(before: Command, after: Command) -> tuple[Difference, ...]:
    """Arguments, and variables of the environment, of two launches. What is a secret is in neither."""
    found = [] if before.model == after.model else [Difference(name="model", before=before.model, after=after.model)]
    found += _of({**before.settings}, {**after.settings}, "")
    found += _of({**before.environment}, {**after.environment}, "environment ")
    return tuple(found)


def diff_lines(differences: Iterable[Difference]) -> list[str]:
    """`- name before` and `+ name after`, as a diff."""
    lines = []
    for one in differences:
        lines += [] if one.before is None else [f"- {one.name}: {one.before}"]
        lines += [] if one.after is None else [f"+ {one.name}: {one.after}"]
    return lines


def _of(before: dict[str, object], after: dict[str, object], kind: str) -> list[Difference]:
    return [
        Difference(
            name=f"{kind}{name}",
            before=str(before[name]) if name in before else None,
            after=str(after[name]) if name in after else None,
        )
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name) or (name in before) != (name in after)
    ]


def _burstiness(workload: Workload) -> float | None:
    return workload.burstiness if workload.request_rate is not None else None


def _mean(counts: TokenCounts, workload: Workload, drawn: Lengths | None) -> float | None:
    """Exactly, where the workload itself says it."""
    if drawn is None:
        return None
    is_plain = workload.trace is None and workload.turns is None
    return mean(counts) if is_plain else drawn.mean


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.0%}"
