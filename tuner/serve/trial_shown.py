"""A trial as it is listed in; as it is shown out. Pure."""

from tuner.record.listing import TrialLine
from tuner.serve.shown import FailureShown, TrialShown
from tuner.types import FailureKind, Mark, Params


def trial_shown(line: TrialLine, defaults: Params | None) -> TrialShown:
    """`defaults` are the settings of vLLM's defaults, None before they are known."""
    usual = defaults or {}
    return TrialShown(
        trial=line.number,
        state="finished" if line.state == "finished" else "running",
        status=_status(line),
        settings={name: value for name, value in line.params.items() if usual.get(name) != value or name not in usual},
        is_default=line.is_default,
        metrics=line.metrics,
        failure=None if line.failure is None else FailureShown(kind=line.failure[0], message=line.failure[1]),
        marks=line.marks,
        equals=line.equals,
        slo_violations=line.violations,
        started_at=line.started_at,
        ended_at=line.ended_at,
    )


def _status(line: TrialLine) -> str:
    """In the words of `tuner trials`."""
    if line.equals is not None:
        return f"equals trial {line.equals}"
    if line.failure is not None:
        is_final = FailureKind(line.failure[0]).is_of_the_settings
        return line.failure[0] + ("" if is_final else ", to be run again")
    if line.state != "finished":
        return "running"
    missed = [name for name, by in line.violations.items() if by > 0]
    whole = "" if Mark.STOPPED_EARLY.value in line.marks else "measured"
    found = f"misses {', '.join(missed)}" if missed else whole
    told = [mark for mark in line.marks if mark != Mark.IMPRECISE.value]
    return ", ".join(filter(None, (found, *told)))
