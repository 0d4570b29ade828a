"""A name that others give a number in; our metric's name, and what the number is multiplied by, out. Pure.

Only what is certain is taken: a latency says its unit, and a share, which others count in percent, is none of these.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tuner.decide.objective import OBJECTIVES, STATISTICS
from tuner.replay.metrics import measured_of

_LATENCY = r"(?P<latency>ttft|tpot|itl|e2el|e2e)"
_STATISTIC = r"(?P<statistic>mean|median|std|p\d+)"
_UNIT = r"_(?P<unit>ms|s)"
#: As vLLM says it, and as tuner does.
_LATENCIES = (
    re.compile(rf"{_STATISTIC}_{_LATENCY}{_UNIT}"),
    re.compile(rf"{_LATENCY}_{_STATISTIC}{_UNIT}"),
)
_FACTORS = {"s": 1.0, "ms": 1e-3}
#: Of our metrics that are no latencies, those whose names say what they count.
_PLAIN = re.compile(
    r"window_s|warmup_s|startup_s|completed|failed|goodput|request_rate|(request|output|total_token)_throughput"
    r"|(input|output|kv_cache)_tokens|server_(preemptions|prompt_tokens|generation_tokens)|gpu_\w+_(w|j|hz|bytes)"
)


@dataclass(frozen=True, slots=True)
class Named:
    """Our metric, and the factor that brings a number of the other name to its unit."""

    metric: str
    factor: float = 1.0


def named(name: str) -> Named | None:
    """None for what is none of our metrics, or of an unknown unit."""
    word = name.strip().lower()
    if match := next((found for pattern in _LATENCIES if (found := pattern.fullmatch(word))), None):
        statistic = {"median": "p50"}.get(match["statistic"], match["statistic"])
        if statistic not in (*STATISTICS, "std"):
            return None
        return Named(
            f"{match['latency'].replace('e2el', 'e2e').replace('e2e', 'e2el')}_{statistic}_s", _FACTORS[match["unit"]]
        )
    if word in OBJECTIVES and OBJECTIVES[word].maximize and not OBJECTIVES[word].is_per_gpu:
        return Named(OBJECTIVES[word].metric)
    return Named(word) if _PLAIN.fullmatch(word) and _is_ours(word) else None


def maximized(metric: str) -> bool | None:
    """Whether more of it is better; None where nobody optimizes it."""
    found = (one.maximize for one in OBJECTIVES.values() if one.metric == metric)
    return next(found, False if re.match(_LATENCY + "_", metric) else None)


def objective_of(metric: str) -> str | None:
    """The word of `--objective` for it."""
    return next((name for name, one in OBJECTIVES.items() if one.metric == metric), None)


def translated(numbers: Mapping[str, float], names: Mapping[str, Named]) -> dict[str, float]:
    """The numbers by our names, in our units."""
    return {names[name].metric: number * names[name].factor for name, number in numbers.items() if name in names}


def _is_ours(word: str) -> bool:
    try:
        measured_of({word: 1.0})
    except ValueError:
        return False
    return True
