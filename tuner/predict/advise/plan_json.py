"""An advice in, JSON out: everything typed, units in the names, what does not exist is null. docs/prediction.md has the table.

It has no date: the same question has the same answer, byte by byte.
"""

import json
import math
from dataclasses import asdict
from typing import Any

from tuner.predict.advise.advice import Advice, Candidate, price
from tuner.predict.advise.case import Case
from tuner.predict.advise.search import Change
from tuner.predict.evidence import Basis
from tuner.predict.margin import Verdict
from tuner.predict.memory import Memory
from tuner.predict.prediction import Prediction
from tuner.predict.settings import LATEST
from tuner.predict.uncertainty import Known, estimates
from tuner.types import Failed, Measured

_MEMORY = (
    "total_bytes",
    "budget_bytes",
    "weights_bytes",
    "activations_bytes",
    "graphs_bytes",
    "other_bytes",
    "kv_cache_bytes",
    "kv_bytes_per_token",
    "kv_cache_tokens",
    "margin_bytes",
)
_STATE = (
    "running_mean",
    "waiting_mean",
    "kv_cache_usage_mean",
    "preemptions",
    "gpu_busy",
    "host_busy",
    "front_busy",
)


def plan_json(advice: Advice, case: Case, *, model: str, workload: str, price_per_gpu_hour: float | None) -> str:
    """`workload` is the workload as YAML."""
    record = {
        "kind": "prediction",
        "engine_version": f"{LATEST[0]}.{LATEST[1]}",
        "model": model,
        "architecture": case.shape.architecture,
        "parameters": case.shape.parameters,
        "space": case.space.name,
        "gpu": case.card,
        "fixed": dict(case.space.fixed),
        "workload": workload,
        "request_tokens_mean": case.mean_tokens,
        "request_tokens_max": case.longest_tokens,
        "objective": case.objective.name,
        "metric": case.objective.metric,
        "slos": {slo.name: {"metric": slo.metric, "limit_s": slo.limit_s} for slo in case.slos},
        "answer": advice.answer.value,
        "gain": _finite(advice.gain),
        "least_gain": advice.least_gain,
        "error": asdict(advice.error),
        "assumed": list(advice.assumed),
        "region": {
            "base": dict(advice.region.base),
            "share": advice.region.share,
            "maybe": advice.region.maybe,
            "points": advice.region.points,
            "parameters": {
                span.name: {
                    "searched": span.searched,
                    "starts": span.starts,
                    "may_start": span.may_start,
                    "failure": _failure(span.failed),
                }
                for span in advice.region.spans
            },
        },
        "known": advice.known.value,
        "changes": [_change(change, advice.bases[change.name]) for change in advice.changes],
        "price_per_gpu_hour": price_per_gpu_hour,
        "defaults": _candidate(case, advice, advice.defaults, price_per_gpu_hour),
        "best": _candidate(case, advice, advice.best, price_per_gpu_hour) if advice.best else None,
    }
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _change(change: Change, rests_on: Basis) -> dict[str, Any]:
    basis = {"evidence": rests_on.evidence.value, "not_measured": rests_on.why}
    return {**asdict(change), "gain": _finite(change.gain), **basis}


def _candidate(case: Case, advice: Advice, candidate: Candidate, price_per_gpu_hour: float | None) -> dict[str, Any]:
    prediction = candidate.prediction
    cost = price(prediction, price_per_gpu_hour) if prediction and price_per_gpu_hour is not None else None
    return {
        "params": dict(candidate.params),
        "settings": prediction.settings.params if prediction else None,
        "gpu_count": prediction.settings.gpus if prediction else None,
        "failure": _failure(candidate.failed),
        "verdict": (candidate.memory.verdict if candidate.memory else Verdict.FAILS).value,
        "memory": _memory(case, candidate.memory) if candidate.memory else None,
        "metrics": _metrics(prediction) if prediction else None,
        "interval": _intervals(candidate, advice.known) if prediction else None,
        "violations": dict(candidate.violations),
        "limit": {
            "bottleneck": candidate.limit.bottleneck.value,
            "evidence": candidate.limit.evidence,
            "knobs": [{**asdict(knob), "gain": _finite(knob.gain)} for knob in candidate.limit.knobs],
        },
        "price": asdict(cost) if cost else None,
    }


def _failure(failed: Failed | None) -> dict[str, Any] | None:
    return {"kind": failed.kind.value, "message": failed.message} if failed else None


def _memory(case: Case, memory: Memory) -> dict[str, Any]:
    """Of one GPU, and how many requests of this workload its KV cache holds at once."""
    return {
        **{name: getattr(memory, name) for name in _MEMORY},
        "concurrency_mean": memory.concurrency(case.mean_tokens),
        "concurrency_min": memory.concurrency(case.longest_tokens),
    }


def _metrics(prediction: Prediction) -> dict[str, Any]:
    """Under the names of a trial's metrics."""
    load = Measured(load=prediction.load, server=None, gpu=None, server_cpu_cores=None, startup_s=None)
    return {**load.metrics(), **{name: getattr(prediction, name) for name in _STATE}}


def _intervals(candidate: Candidate, known: Known) -> dict[str, list[float]]:
    """Between which 95 of 100 measurements would lie, of the metrics of which it is known."""
    assert candidate.prediction is not None
    assert candidate.memory is not None
    numbers = {**_metrics(candidate.prediction), "kv_cache_tokens": candidate.memory.kv_cache_tokens}
    return {name: [one.low, one.high] for name, one in estimates(numbers, known).items()}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
