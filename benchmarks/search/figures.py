"""The searches of one strategy in, a figure each a list with one entry a seed, out. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loop import Launched
from pool import Pool
from verifying import Verified

from tuner.propose.told import cause_of
from tuner.types import Failed

WITHIN = {"1%": 0.01, "2%": 0.02, "5%": 0.05}
AFTER = (5, 10, 20, 40)
#: What virtual minutes are told up to.
_NEAR = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """One search of one seed, to its end. `prior_dropped` tells whether what was expected was found to be wrong."""

    launches: Sequence[Launched]
    verified: Verified
    prior_dropped: bool = False


def figures(pool: Pool, searches: Sequence[Searched]) -> dict[str, Any]:
    """Of all seeds; null where something never was."""

    def each(of: Callable[[Searched], Any]) -> list[Any]:
        return [of(one) for one in searches]

    return {
        "launches_to_within": {name: each(lambda one, x=share: first(pool, one, x)) for name, share in WITHIN.items()},  # type: ignore[misc]
        "best_ratio_after": {str(count): each(lambda one, n=count: best_ratio(pool, one, n)) for count in AFTER},  # type: ignore[misc]
        "launches": each(lambda one: len(one.launches)),
        "failed_launches": each(failed),
        "failures_of_one_cause": each(of_one_cause),
        "stopped_near_best": each(lambda one: stopped_near(pool, one)),
        "virtual_gpu_minutes": {
            "to_within_2%": each(lambda one: minutes(one, first(pool, one, _NEAR))),
            "search": each(lambda one: minutes(one, len(one.launches))),
            "with_verification": each(lambda one: (minutes(one, len(one.launches)) or 0.0) + one.verified.took_s / 60),
        },
        "optimism": each(lambda one: optimism(pool, one)),
        "reported_gain": each(lambda one: one.verified.gain),
        "recommended_over_defaults": each(lambda one: over_defaults(pool, one)),
        "kept_defaults": each(lambda one: one.verified.is_default),
        "prior_dropped": each(lambda one: one.prior_dropped),
        "proposal_s": each(lambda one: max((launch.proposal_s for launch in one.launches), default=None)),
    }


def about(pool: Pool) -> Mapping[str, Any]:
    """What every strategy is measured by."""
    truth = pool.truth(pool.defaults)
    return {
        "surface": pool.name,
        "source": pool.header.source,
        "objective": pool.objective.name,
        "slos": [f"{slo.name}={slo.limit_s:g}s" for slo in pool.slos],
        "points": len(pool.points.points),
        "exact": pool.is_exact,
        "best": pool.best,
        "defaults": truth,
        "defaults_ratio": None if truth is None else pool.ratio(truth),
    }


def first(pool: Pool, one: Searched, share: float) -> int | None:
    """The launch, from 1, that that is the first whose true value is so near to the best."""
    return next((n for n, each in enumerate(one.launches, 1) if _is_near(pool, each, share)), None)


def best_ratio(pool: Pool, one: Searched, count: int) -> float | None:
    """Of the best of the first launches to the best there is; None where none was feasible."""
    ratios = [pool.ratio(launch.truth) for launch in one.launches[:count] if launch.truth is not None]
    return max(ratios, default=None)


def failed(one: Searched) -> int:
    return sum(isinstance(launch.outcome, Failed) for launch in one.launches)


def stopped_near(pool: Pool, one: Searched) -> int:
    """Launches that are so near to the best and were stopped all the same: they can no longer be deployed."""
    return sum(each.is_stopped and _is_near(pool, each, _NEAR) for each in one.launches)


def _is_near(pool: Pool, launched: Launched, share: float) -> bool:
    return launched.truth is not None and pool.ratio(launched.truth) >= 1 - share


def of_one_cause(one: Searched) -> int:
    """The most failures that one cause had."""
    causes = Counter(cause_of(launch.outcome) for launch in one.launches if isinstance(launch.outcome, Failed))
    return max(causes.values(), default=0)


def minutes(one: Searched, launches: int | None) -> float | None:
    return None if launches is None else sum(launch.took_s for launch in one.launches[:launches]) / 60


def over_defaults(pool: Pool, one: Searched) -> float | None:
    """The true gain of what is deployed: 0.25 is 25 % better than the defaults; None where either is infeasible."""
    base = pool.truth(pool.defaults)
    chosen = None if one.verified.chosen is None else pool.truth(one.verified.chosen)
    return None if base is None or chosen is None else pool.objective.gain(chosen, base)


def optimism(pool: Pool, one: Searched) -> float | None:
    """By how much the reported gain is too good, as factors over the defaults: 0.01 is 1.21 where 1.2 is true."""
    true = over_defaults(pool, one)
    return None if true is None or one.verified.gain is None else (1 + one.verified.gain) / (1 + true) - 1
