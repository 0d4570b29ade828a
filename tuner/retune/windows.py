"""Moments of a fleet in; what one of its servers saw in a window out. Pure."""

import math
from collections.abc import Sequence
from statistics import fmean

from tuner.decide.drift import Counts, Window
from tuner.measure.buckets import Observed
from tuner.measure.fleet import Moment
from tuner.measure.traffic import Scrape

#: Of the time that a window has, so much must have been seen.
_COVERED = 0.5


def window_of(moments: Sequence[Moment], window_s: float, replicas: int) -> Window | None:
    """Between the first moment, which is the last of the window before, and the last. None where too little was seen."""
    first, last = moments[0].total, moments[-1].total
    seen_s = last.time_s - first.time_s
    if seen_s < _COVERED * window_s or len(moments) < 2:
        return None
    flying = [moment.in_flight for moment in moments[1:] if moment.in_flight is not None]
    requests = last.finished - first.finished
    arrived = requests if last.arrived is None or first.arrived is None else last.arrived - first.arrived
    return Window(
        duration_s=seen_s / replicas,
        requests=requests,
        rate=max(arrived, 0.0) / seen_s,
        concurrency=fmean(flying) if flying else None,
        inputs=_counts(last.prompts.since(first.prompts)),
        outputs=_counts(last.generations.since(first.generations)),
        prefix_share=_prefix_share(first, last),
    )


def _counts(observed: Observed) -> Counts | None:
    if observed.count <= 0:
        return None
    bounds = sorted(observed.at_most)
    at_most = [observed.at_most[bound] for bound in bounds]
    return Counts(
        sum=observed.sum,
        bounds=tuple(bounds),
        counts=tuple(after - before for before, after in zip([0.0, *at_most], at_most, strict=False)),
    )


def _prefix_share(first: Scrape, last: Scrape) -> float | None:
    if None in (first.prefix_queries, first.prefix_hits, last.prefix_queries, last.prefix_hits):
        return None
    queries = (last.prefix_queries or 0.0) - (first.prefix_queries or 0.0)
    hits = (last.prefix_hits or 0.0) - (first.prefix_hits or 0.0)
    return hits / queries if queries > 0 and math.isfinite(hits) else None
