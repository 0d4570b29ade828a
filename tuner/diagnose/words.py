"""A diagnosis in, sentences for who reads it out. Pure."""

from collections.abc import Iterator

from tuner.diagnose.causes import Cause
from tuner.diagnose.diagnosis import Diagnosis, Finding, Remedy

#: Remedies that a line has room for.
_FIRST = 3


def verdict_line(found: Diagnosis) -> str:
    """The verdict with its evidence, in one sentence without its full stop."""
    return f"{found.first.cause}: {'; '.join(found.first.evidence)}"


def sentences(found: Diagnosis) -> Iterator[str]:
    """The verdict, what it means, what would look alike, what to change, and what else was found."""
    first = found.first
    yield f"what holds it back: {verdict_line(found)}"
    if first.words:
        yield first.words
    if first.remedies:
        yield f"what moves it: {'; '.join(map(remedy_text, first.remedies[:_FIRST]))}"
    for rival in first.rivals:
        yield f"it might be {rival.cause} instead: what tells them apart is {rival.apart}"
    for other in found.findings[1:]:
        yield f"less sure: {_other(other)}"


def remedy_text(remedy: Remedy) -> str:
    """E.g. "raise max_num_seqs to 512 (those that wait run, too; predicted: +20 %)"."""
    if remedy.value is None:
        told = f"{'try another' if remedy.direction == 'set' else remedy.direction} {remedy.name}"
    else:
        told = f"{remedy.direction} {remedy.name} to {remedy.value}"
    gain = "" if remedy.gain is None else f"predicted: {remedy.gain:+.0%}"
    about = "; ".join(filter(None, (remedy.why, gain)))
    return f"{told} ({about})" if about else told


def _other(finding: Finding) -> str:
    if finding.cause is Cause.HEALTHY:
        return f"{finding.cause} ({finding.evidence[0]})"
    return f"{finding.cause} ({'; '.join(finding.evidence)})"
