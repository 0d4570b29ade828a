"""A diagnosis in, sentences for who reads it out. Pure."""

from collections.abc import Iterator

from tuner.diagnose.causes import Cause
from tuner.diagnose.diagnosis import Diagnosis, Finding, Remedy

#: Remedies, and sentences of evidence, that a line has room for.
_FIRST = 3


def verdict_line(found: Diagnosis) -> str:
    """The verdict with the first of its evidence and of its remedies, in one sentence without its full stop."""
    first = found.first
    advice = f"; what may move it: {_short(first.remedies[0])}" if first.remedies else ""
    return f"{first.cause}: {'; '.join(first.evidence[:_FIRST])}{advice}"


def sentences(found: Diagnosis, whose: str = "it") -> Iterator[str]:
    """The verdict on `whose` server, what it means, what would look alike, what to change, and what else was found."""
    first = found.first
    yield f"what holds {whose} back: {first.cause}: {'; '.join(first.evidence)}"
    if first.words:
        yield first.words
    if first.remedies:
        yield f"what may move it: {'; '.join(map(remedy_text, first.remedies[:_FIRST]))}"
    for rival in first.rivals:
        yield f"it might be {rival.cause} instead: what tells them apart is {rival.apart}"
    for other in found.findings[1:]:
        yield f"less sure: {_other(other)}"


def remedy_text(remedy: Remedy) -> str:
    """E.g. "raise max_num_seqs to 512 (those that wait run, too; predicted: +20 %)"."""
    told = _short(remedy)
    gain = "" if remedy.gain is None else f"predicted: {remedy.gain:+.0%}"
    about = "; ".join(filter(None, (remedy.why, gain)))
    return f"{told} ({about})" if about else told


def _short(remedy: Remedy) -> str:
    if remedy.value is None:
        return f"{'try another' if remedy.direction == 'set' else remedy.direction} {remedy.name}"
    return f"{remedy.direction} {remedy.name} to {remedy.value}"


def _other(finding: Finding) -> str:
    if finding.cause is Cause.HEALTHY:
        return f"{finding.cause} ({finding.evidence[0]})"
    advice = f"; what may move it: {remedy_text(finding.remedies[0])}" if finding.remedies else ""
    return f"{finding.cause} ({'; '.join(finding.evidence)}){advice}"
