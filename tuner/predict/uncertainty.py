"""A predicted number in; where 95 of 100 measurements of it lie, out. Pure.

The logarithm of measured / predicted is taken to be distributed as Student's t, whose tails are heavier than the normal
distribution's: a few settings are far off, most are near. How far depends on what was measured: this host, this card, or other
cards only. What a study has seen of its own predictions counts besides. It knows no setting: tuner.predict.evidence does.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import exp, log, sqrt

from tuner.decide.student import value_at
from tuner.predict.step import MEASURED
from tuner.space.gpus import Gpu
from tuner.types import Estimate

#: Launches of one model on one host, from which on the model counts as calibrated there.
CALIBRATED = 3


class Known(StrEnum):
    """What was measured where a prediction is made."""

    HOST = "measured card and host"
    CARD = "measured card"
    NOTHING = "unmeasured card"


#: The standard deviation of log(measured / predicted), by metric and by what was measured: half of the logarithm of what 95 %
#: of the held-out points of benchmarks/predict are off at most, each set counting the same; for TTFT and TPOT of measured
#: cards one between both classes, and TTFT on other cards not less. Those of `kv_cache_tokens` are guesses.
SPREAD: Mapping[str, Mapping[Known, float]] = {
    "output_throughput": {Known.HOST: 0.20, Known.CARD: 0.20, Known.NOTHING: 0.38},
    "ttft": {Known.HOST: 0.80, Known.CARD: 0.80, Known.NOTHING: 0.80},
    "tpot": {Known.HOST: 0.45, Known.CARD: 0.45, Known.NOTHING: 0.71},
    "e2el": {Known.HOST: 0.19, Known.CARD: 0.20, Known.NOTHING: 0.55},
    "kv_cache_tokens": {Known.HOST: 0.01, Known.CARD: 0.02, Known.NOTHING: 0.05},
}
#: Metrics that are as far off as another one.
_KIN = {
    "request_throughput": "output_throughput",
    "total_token_throughput": "output_throughput",
    "goodput": "output_throughput",
    "cost": "output_throughput",
    "itl": "tpot",
}
#: Degrees of freedom of the tails, and as how many measurements SPREAD counts beside those of a study.
_FREEDOM = 5.0
_SHARE = 0.95


def known_of(gpu: Gpu, launches: int = 0) -> Known:
    """What was measured of a card; `launches` are those on its host that the model is calibrated on."""
    if launches >= CALIBRATED:
        return Known.HOST
    return Known.CARD if is_measured(gpu) else Known.NOTHING


def is_measured(gpu: Gpu) -> bool:
    """Whether kernels were measured on this card, and not only on others of its compute capability."""
    cards = MEASURED.get(gpu.capability, ()) if gpu.capability else ()
    name = gpu.names[0] if gpu.names else ""
    return any(re.search(rf"\b{re.escape(card)}\b", name) for card in cards)  # a GH200 is no H200


def estimate(metric: str, value: float, known: Known, seen: Sequence[float] = ()) -> Estimate | None:
    """The value with its interval. `seen` are measured / predicted of the same metric, of earlier predictions that knew as
    much. None for a metric of which nobody knows how far it is off, and for 0, which has no logarithm."""
    family = metric.split("_p")[0].split("_mean")[0].removesuffix("_s")
    spread = SPREAD.get(_KIN.get(family, family))
    if spread is None or value <= 0:
        return None
    factor = exp(_half_width(spread[known], [log(ratio) for ratio in seen]))
    return Estimate(value=value, low=value / factor, high=value * factor)


def estimates(values: Mapping[str, float], known: Known) -> dict[str, Estimate]:
    """Of all metrics that have one."""
    found = {name: estimate(name, value, known) for name, value in values.items()}
    return {name: one for name, one in found.items() if one is not None}


def _half_width(deviation: float, seen: Sequence[float]) -> float:
    """Of the interval of a logarithm, as the predictive distribution of a normal one whose variance has an inverse chi-squared
    prior (Gelman et al., Bayesian Data Analysis, 2.6)."""
    prior = (_FREEDOM - 2) * deviation**2  # without any seen, the t has that standard deviation
    freedom = _FREEDOM + len(seen)
    scale = sqrt((prior + sum(value * value for value in seen)) / freedom)
    return value_at((1 + _SHARE) / 2, freedom) * scale
