"""A production server and what its config was tuned for in; each drift of its traffic, in words and as a new workload, out.

Once a drift is told, what the traffic has become is what further windows are compared with: nothing is told twice.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise

from tuner.decide.drift import Detector, Drift, Expected, Margins, Quantity, Window, merged, ratios
from tuner.errors import RunError
from tuner.measure.imitation import imitation
from tuner.measure.traffic import traffic
from tuner.retune.hours import Hours
from tuner.retune.tuned import Tuned, expected_of
from tuner.retune.watching import Seen, windows
from tuner.types import Workload

#: So many windows of a drift are kept, from which the new workload is made.
_MOST_KEPT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How a server is watched: the length of a window, for how long (None: without end), in which hours of the day, and from
    what on a change matters."""

    window_s: float
    duration_s: float | None = None
    during: Hours | None = None
    margins: Margins = field(default_factory=Margins)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """After one window: how many were judged so far, how near an alarm is (0 to 1), and what has drifted, if anything has: then
    `workload` is the new traffic, and `expected` what it is of one server; None where nobody uses it any more. `window` is None
    where too little was seen, or the hours are others."""

    windows: int
    evidence: float
    window: Window | None
    drifts: tuple[Drift, ...] = ()
    sentences: tuple[str, ...] = ()
    workload: Workload | None = None
    expected: Expected | None = None


def looks(
    urls: Sequence[str],
    tuned: Tuned,
    asked: Asked,
    tell: Callable[[str], None],
    now: Callable[[], datetime] = datetime.now,
) -> Iterator[Look]:
    """One after each window. Raises as `windows` does."""
    expected, detector, judged = tuned.expected, Detector(tuned.expected, asked.margins), 0
    kept: list[Seen] = []
    for seen in windows(urls, asked.window_s, asked.duration_s, tell):
        if seen.window is None or (asked.during is not None and not asked.during.hold(now())):
            kept = []
            yield Look(windows=judged, evidence=detector.evidence(), window=None)
            continue
        judged += 1
        kept = [*kept, seen][-_MOST_KEPT:]
        drifts = detector.take(seen.window)
        if not drifts:
            yield Look(windows=judged, evidence=detector.evidence(), window=seen.window)
            continue
        look = _drifted(drifts, kept, expected, tuned, asked, judged)
        yield look
        expected = look.expected or expected
        detector, kept = Detector(expected, asked.margins), []


def _drifted(
    drifts: Sequence[Drift], kept: Sequence[Seen], expected: Expected, tuned: Tuned, asked: Asked, judged: int
) -> Look:
    since = min(max(drift.since for drift in drifts), len(kept))
    changed = kept[-since:]
    seen = changed[0].moments[0].total, *(moment.total for one in changed for moment in one.moments[1:])
    moved = [seen[0], *(now for before, now in pairwise(seen) if now.time_s > before.time_s)]
    workload, becomes = None, None
    try:
        found = traffic(moved)
        workload = imitation(found, tuned.workload.api, f"{tuned.workload.name.removesuffix('-drifted')}-drifted")
        becomes = replace(expected_of(workload), prefix_share=found.prefix_hit_rate)
    except RunError:  # nobody uses it any more: there is nothing to imitate
        pass
    together = merged([one.window for one in changed if one.window is not None])
    return Look(
        windows=judged,
        evidence=1.0,
        window=kept[-1].window,
        drifts=tuple(drifts),
        sentences=tuple(sentence(drift, together, expected, asked.window_s) for drift in drifts),
        workload=workload,
        expected=becomes,
    )


def sentence(drift: Drift, seen: Window, expected: Expected, window_s: float) -> str:
    """What has drifted, by how much and since when."""
    change, quantity = drift.change, drift.change.quantity
    since = f"since about {_duration(drift.since * window_s)}"
    if quantity is Quantity.PREFIX:
        now, before = seen.prefix_share, expected.prefix_share
        told = "" if now is None or before is None else f": {now:.0%}, tuned for {before:.0%}"
        return f"the {quantity.value} is {'larger' if change.is_up else 'smaller'}{told}, {since}"
    ratio = ratios(seen, expected).get(quantity)
    if ratio is None:
        return f"the {quantity.value} is another, {since}"
    now, before = _value(quantity, seen), _value(quantity, expected)
    return f"{quantity.value}: {now:.4g} on average, {ratio:.2f} times the {before:.4g} that it was tuned for, {since}"


def _value(quantity: Quantity, side: Window | Expected) -> float:
    values = {
        Quantity.RATE: side.rate,
        Quantity.CONCURRENCY: side.concurrency,
        Quantity.INPUT: side.inputs and side.inputs.mean,
        Quantity.OUTPUT: side.outputs and side.outputs.mean,
    }
    return values[quantity] or 0.0


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
