"""What a canary and the servers beside it did, slice by slice, in; whether it stays, and why not, out. Pure.

Slices of the same time are compared in pairs, because what users do in a time they do on all replicas; where there is no other
replica, the canary's slices with its own from before. A latency that has an SLO is judged by it alone: what users accept is
said. Everything else must not be worse by more than a tolerance, beyond what a one-sided t test over slices leaves to chance.
It is asked after every slice, so that users do not suffer to the end: all looks share the level (Bonferroni).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import fmean, variance

from tuner.decide.student import value_at

#: How often something that is as good is taken for worse, by all looks together and by each figure.
LEVEL = 0.05
TOLERANCE = 0.05
#: Fewer slices with requests on both sides prove nothing, and a canary with fewer requests was not tried.
LEAST_SLICES, LEAST_REQUESTS = 4, 20
#: The share of what arrived that was answered may be lower by so much.
_UNANSWERED = 0.02
#: What is compared where no SLO speaks of it.
COMPARED = ("ttft", "tpot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What one or several servers did in a part of the watch. `answered` is the share of what arrived; mean seconds by latency,
    of those that had any."""

    requests: float
    answered: float | None
    means: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """An SLO over the whole watch: what was seen, None where the server does not tell."""

    name: str
    latency: str
    limit_s: float
    seen_s: float | None

    @property
    def is_met(self) -> bool:
        return self.seen_s is not None and self.seen_s <= self.limit_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """`against` has a clause for each reason not to keep it; without any it stays. `beside` are the figures that were compared,
    a phrase each."""

    against: tuple[str, ...]
    beside: tuple[str, ...] = ()

    @property
    def stays(self) -> bool:
        return not self.against


def behind(
    canary: Sequence[Slice],
    beside: Sequence[Slice],
    *,
    paired: bool,
    judged_by_slo: Sequence[str] = (),
    tolerance: float = TOLERANCE,
    looks: int = 1,
) -> Judged:
    """Whether the canary is worse by now. `judged_by_slo` are latencies that are not compared."""
    against, told = [], []
    for latency in COMPARED:
        if latency in judged_by_slo:
            continue
        ours = [_log(slice.means.get(latency)) for slice in canary]
        theirs = [_log(slice.means.get(latency)) for slice in beside]
        found = _excess(ours, theirs, paired=paired, looks=looks)
        if found is None:
            continue
        worse, surely = found
        told.append(f"{latency.upper()} {_percent(worse)}")
        if surely > log(1 + tolerance):
            other = "the others'" if paired else "what it was before"
            against.append(f"its mean {latency.upper()} is {_percent(worse)} of {other}")
    found = _excess(_lost(canary), _lost(beside), paired=paired, looks=looks)
    if found is not None:
        told.append(f"unanswered {found[0] * 100:+.1f} points")
        if found[1] > _UNANSWERED:
            against.append(f"it leaves {found[0]:.1%} more of its requests unanswered")
    return Judged(against=tuple(against), beside=tuple(told))


def verdict(
    canary: Sequence[Slice],
    beside: Sequence[Slice],
    limits: Sequence[Limit],
    *,
    paired: bool,
    tolerance: float = TOLERANCE,
    looks: int = 1,
) -> Judged:
    """At the end of the watch. What could not be tried, or not be compared with anything, does not stay."""
    requests = sum(slice.requests for slice in canary)
    if requests < LEAST_REQUESTS:
        return Judged(
            against=(f"only {requests:.0f} requests reached it, and {LEAST_REQUESTS} are the least that say anything",)
        )
    missed = [
        f"it does not tell {limit.name}, whose SLO is {limit.limit_s * 1e3:,.0f} ms"
        if limit.seen_s is None
        else f"it misses the SLO {limit.name} of {limit.limit_s * 1e3:,.0f} ms: {limit.seen_s * 1e3:,.0f} ms"
        for limit in limits
        if not limit.is_met
    ]
    judged_by_slo = [limit.latency for limit in limits]
    found = behind(canary, beside, paired=paired, judged_by_slo=judged_by_slo, tolerance=tolerance, looks=looks)
    if not found.beside and not limits:
        missed.append("there were no requests on another server, or before, to compare it with, and no SLO")
    met = tuple(f"{limit.name} {limit.seen_s * 1e3:,.0f} ms" for limit in limits if limit.seen_s is not None)
    return Judged(against=(*missed, *found.against), beside=(*met, *found.beside))


def _excess(
    ours: Sequence[float | None], theirs: Sequence[float | None], *, paired: bool, looks: int
) -> tuple[float, float] | None:
    """By how much ours is above theirs on average, and by how much at least, as far as chance allows. None with too few."""
    share = 1 - LEVEL / max(looks, 1)
    if paired:
        gaps = [a - b for a, b in zip(ours, theirs, strict=False) if a is not None and b is not None]
        if len(gaps) < LEAST_SLICES:
            return None
        error, freedom, mean = sqrt(variance(gaps) / len(gaps)), float(len(gaps) - 1), fmean(gaps)
    else:
        a, b = ([value for value in side if value is not None] for side in (ours, theirs))
        if min(len(a), len(b)) < LEAST_SLICES:
            return None
        one, two = variance(a) / len(a), variance(b) / len(b)
        mean, error = fmean(a) - fmean(b), sqrt(one + two)
        spread = one**2 / (len(a) - 1) + two**2 / (len(b) - 1)
        freedom = (one + two) ** 2 / spread if spread > 0 else float(len(a) + len(b) - 2)
    return mean, mean - value_at(share, freedom) * error


def _lost(slices: Sequence[Slice]) -> list[float | None]:
    return [None if slice.answered is None else 1 - slice.answered for slice in slices]


def _log(value: float | None) -> float | None:
    return log(value) if value is not None and value > 0 else None


def _percent(logarithm: float) -> str:
    return f"{exp(logarithm):.0%}"
