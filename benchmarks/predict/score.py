"""Measured points and what was predicted for them in; errors, feasibility and rank correlations out. Pure."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

import numpy as np
import numpy.typing as npt
from points import Point
from scipy.stats import spearmanr  # type: ignore[import-untyped]

Floats = npt.NDArray[np.float64]

#: What is compared, in the tables' order, and the metrics that tell it: the first that both sides have.
COMPARED: Mapping[str, Sequence[str]] = {
    "throughput": ("output_throughput",),
    "TTFT": ("ttft_p50_s", "ttft_mean_s"),
    "TPOT": ("tpot_p50_s", "tpot_mean_s"),
    "E2EL": ("e2el_p50_s", "e2el_mean_s"),
    "KV tokens": ("kv_cache_tokens",),
}
#: What vLLM's log says once for each launch.
MEMORY = {"KV tokens": "kv_cache_tokens", "KV GiB": "kv_cache_bytes"}
#: A group with fewer different launches says nothing of ranks. Pairs of launches closer than this are taken as equal.
LEAST_LAUNCHES = 5
CLOSE = 0.03


@dataclass(frozen=True, slots=True)
class Predicted:
    """Metrics under tuner's names; or why the server would not start."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None


Pair = tuple[Point, Predicted]


@dataclass(frozen=True, slots=True)
class Ranks:
    """Spearman's correlation within each group, and of all pairs of launches in a group the share that is ordered right, and
    by how much the predicted gain of the better one over the other is off."""

    correlations: tuple[float, ...]
    launches: int
    pairs: int
    ordered: float | None
    gain: float | None


def errors(pairs: Sequence[Pair], name: str) -> list[float]:
    """|predicted / measured - 1| of the points where both sides have it. Memory counts once for each launch."""
    found: dict[str, float] = {}
    for index, (point, predicted) in enumerate(pairs):
        for metric in COMPARED[name] if name in COMPARED else (MEMORY[name],):
            measured, told = point.metrics.get(metric) or point.memory.get(metric), predicted.metrics.get(metric)
            if measured and told is not None:
                found[point.launch if name in MEMORY else str(index)] = abs(told / measured - 1)
                break
    return list(found.values())


def feasibility(pairs: Sequence[Pair]) -> list[bool]:
    """Of each launch that started, or did not because of its settings, whether that was told."""
    found: dict[str, bool] = {}
    for point, predicted in pairs:
        if point.refused or point.failure is None:
            found[point.launch] = point.refused == (predicted.failure is not None)
    return list(found.values())


def _groups(pairs: Sequence[Pair]) -> Iterator[Floats]:
    """(measured, predicted) scores of the launch settings of one card, host, model and load; launches with equal settings are
    one, with the mean."""
    groups: dict[object, dict[str, list[tuple[float, float]]]] = {}
    for point, predicted in pairs:
        measured, told = point.score(point.metrics), point.score(predicted.metrics)
        if point.load is not None and measured is not None and told is not None:
            settings = json.dumps(dict(point.params), sort_keys=True)
            groups.setdefault(point.group, {}).setdefault(settings, []).append((measured, told))
    for of in groups.values():
        yield np.array([(fmean(m for m, _ in both), fmean(t for _, t in both)) for both in of.values()])


def picks(pairs: Sequence[Pair]) -> list[float]:
    """By how much the setting that is predicted to be the best of a group falls short of the best of it, as measured."""
    found = []
    for means in _groups(pairs):
        if len(means) >= LEAST_LAUNCHES:
            picked, best = means[np.argmax(means[:, 1]), 0], means[:, 0].max()
            found.append(float(abs(picked / best - 1)))
    return found


def ranks(pairs: Sequence[Pair]) -> Ranks:
    """Spearman's within the groups."""
    correlations, launches, right, off = [], 0, list[float](), list[float]()
    for means in _groups(pairs):
        for better, worse in _pairs(means):
            right.append(0.5 if better[1] == worse[1] else float(better[1] > worse[1]))
            off.append(abs(better[1] / worse[1] - better[0] / worse[0]))
        if len(means) >= LEAST_LAUNCHES:
            launches += len(means)
            flat = np.ptp(means[:, 1]) == 0  # a prediction that knows no difference has no ranks
            correlations.append(0.0 if flat else float(spearmanr(means[:, 0], means[:, 1]).statistic))
    ordered, gain = (fmean(right), median(off)) if right else (None, None)
    return Ranks(tuple(correlations), launches, len(right), ordered, gain)


def _pairs(means: Floats) -> Iterator[tuple[Floats, Floats]]:
    """Two launches of (measured, predicted) throughput that differ by more than noise, the one measured better first."""
    for one, other in itertools.combinations(means, 2):
        better, worse = (one, other) if one[0] > other[0] else (other, one)
        if better[0] - worse[0] > CLOSE * abs(better[0]):
            yield better, worse
