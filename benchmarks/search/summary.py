"""The figures of searches in, the numbers that tables show out. Pure.

A search that never came so near counts as one launch more than it had, and as the minutes that it took.
"""

from collections.abc import Mapping, Sequence
from math import exp, log
from statistics import fmean, median
from typing import Any

Result = Mapping[str, Any]
#: What is deployed is below the defaults beyond noise when it is so much worse.
_NOISE = 0.02
#: The defaults are the best where nothing is better than they are by more than this.
_AS_GOOD = 0.01


def alike(results: Sequence[Result], strategies: Sequence[str]) -> list[Result]:
    """The results of surfaces on which all of these were run, with the searches of the seeds that all of them had."""
    return [_shortened(result, strategies) for result in results if _has(result, *strategies)]


def _shortened(result: Result, strategies: Sequence[str]) -> Result:
    told = {name: result["strategies"][name] for name in strategies}
    seeds = min(len(one["launches"]) for one in told.values())
    return {**result, "seeds": seeds, "strategies": {name: _first(one, seeds) for name, one in told.items()}}


def _first(told: Any, seeds: int) -> Any:
    if isinstance(told, Mapping):
        return {name: _first(of, seeds) for name, of in told.items()}
    return told[:seeds]


def launches(result: Result, strategy: str, within: str = "2%") -> float:
    """The median over the seeds."""
    told = result["strategies"][strategy]["launches_to_within"][within]
    return median(_capped(result, told))


def quartile(result: Result, strategy: str, within: str = "2%") -> float:
    """The launches that three of four searches need no more than."""
    told = sorted(_capped(result, result["strategies"][strategy]["launches_to_within"][within]))
    return told[(3 * (len(told) - 1) + 3) // 4]


def minutes(result: Result, strategy: str) -> float:
    told = result["strategies"][strategy]["virtual_gpu_minutes"]
    pairs = zip(told["to_within_2%"], told["search"], strict=True)
    return median(whole if near is None else near for near, whole in pairs)


def geometric(ratios: Sequence[float]) -> float | None:
    return exp(fmean(map(log, ratios))) if ratios else None


def against(results: Sequence[Result], strategy: str, other: str) -> float | None:
    """The geometric mean over surfaces of the launches of one to those of another."""
    return geometric([launches(r, strategy) / launches(r, other) for r in results if _has(r, strategy, other)])


def minutes_against(results: Sequence[Result], strategy: str, other: str) -> float | None:
    return geometric([minutes(r, strategy) / minutes(r, other) for r in results if _has(r, strategy, other)])


def failed_share(results: Sequence[Result], strategy: str) -> float:
    """Of all launches."""
    told = [result["strategies"][strategy] for result in results if _has(result, strategy)]
    every = sum(sum(one["launches"]) for one in told)
    return sum(sum(one["failed_launches"]) for one in told) / every if every else 0.0


def most_of_one_cause(results: Sequence[Result], strategy: str) -> int:
    return max(
        (max(r["strategies"][strategy]["failures_of_one_cause"]) for r in results if _has(r, strategy)), default=0
    )


def stopped_near_best(results: Sequence[Result], strategy: str) -> float:
    """The share of searches that stopped a launch that was near the best."""
    told = [x for r in results if _has(r, strategy) for x in r["strategies"][strategy]["stopped_near_best"]]
    return sum(x > 0 for x in told) / len(told) if told else 0.0


def optimism(results: Sequence[Result], strategy: str) -> float | None:
    """The median of its absolute value over all searches that reported a gain."""
    told = [
        abs(x) for r in results if _has(r, strategy) for x in r["strategies"][strategy]["optimism"] if x is not None
    ]
    return median(told) if told else None


def below_defaults(results: Sequence[Result], strategy: str) -> float | None:
    """The share of searches that deploy something that is worse than the defaults beyond noise."""
    told = [x for r in results if _has(r, strategy) for x in r["strategies"][strategy]["recommended_over_defaults"]]
    known = [x for x in told if x is not None]
    return sum(x < -_NOISE for x in known) / len(known) if known else None


def kept(results: Sequence[Result], strategy: str) -> float | None:
    """The share of searches that keep the defaults, of surfaces whose best they are."""
    told = [
        is_kept
        for r in results
        if _has(r, strategy) and (r["defaults_ratio"] or 0.0) >= 1 - _AS_GOOD
        for is_kept in r["strategies"][strategy]["kept_defaults"]
    ]
    return sum(told) / len(told) if told else None


def slowest_proposal_s(results: Sequence[Result], strategy: str) -> float:
    told = (r["strategies"][strategy]["proposal_s"] for r in results if _has(r, strategy))
    return max((s for seconds in told for s in seconds if s is not None), default=0.0)


def _capped(result: Result, told: Sequence[int | None]) -> list[int]:
    return [result["trials"] + 1 if count is None else count for count in told]


def _has(result: Result, *strategies: str) -> bool:
    return all(strategy in result["strategies"] for strategy in strategies)
