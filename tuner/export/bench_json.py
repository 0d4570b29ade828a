"""Measurements in, JSON with the field names of `vllm bench serve --save-result` out. Pure.

A field has vLLM's name and unit (milliseconds) where it means the same as in vllm/benchmarks/serve.py; all else is under
`tuner`, with the unit in its name. docs/metrics.md has the table.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from tuner.decide.confidence import Paired
from tuner.decide.objective import Objective
from tuner.decide.slo import Slo
from tuner.types import Distribution, LoadMetrics, Measured, RateFound, ServerMetrics, Workload

_PERCENTILES = ("p50", "p90", "p95", "p99")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was measured with: the workload, the same as a YAML file, and the limits."""

    workload: Workload
    yaml: str
    slos: Sequence[Slo] = ()


def bench_json(measured: Measured, asked: Asked, *, server: str, model: str, at: datetime) -> str:
    """One measurement. `server` is what was measured, without any secret; `at` is when it ended."""
    return _text({"date": _date(at), **_record(measured, asked, server, model)})


def comparison_json(
    a: Sequence[Measured],
    b: Sequence[Measured],
    asked: Asked,
    *,
    names: tuple[str, str],
    models: tuple[str, str],
    objective: Objective,
    paired: Paired | None,
    at: datetime,
) -> str:
    """Both sides with each of their measurements, and the test; what the test does not know is null."""
    sides = zip("ab", names, models, (a, b), strict=True)
    return _text(
        {
            "date": _date(at),
            "objective": objective.name,
            "metric": objective.metric,
            "verdict": paired.verdict(objective.maximize).value if paired and paired.can_decide else None,
            **(asdict(paired) if paired else dict.fromkeys(("effect", "low", "high", "p_value"))),
            "pairs": min(len(a), len(b)),
            **{
                side: {"name": name, "measurements": [_record(measured, asked, name, model) for measured in found]}
                for side, name, model, found in sides
            },
        }
    )


def _record(measured: Measured, asked: Asked, server: str, model: str) -> dict[str, Any]:
    load, backend = measured.load, "openai-chat" if asked.workload.api == "chat" else "openai"
    return {
        "backend": backend,
        "endpoint_type": backend,
        "model_id": model,
        **_traffic(asked.workload, load),
        "duration": load.window_s,
        "completed": load.completed,
        "failed": load.failed,
        "total_input_tokens": load.input_tokens,
        "total_output_tokens": None if load.output_tokens is None else round(load.output_tokens),
        "request_throughput": load.request_throughput,
        "request_goodput": load.goodput,
        "output_throughput": load.output_throughput,
        "total_token_throughput": load.total_token_throughput,
        **_milliseconds("ttft", load.ttft_s),
        **_milliseconds("tpot", load.tpot_s),
        **_milliseconds("itl", load.itl_s),
        **_milliseconds("e2el", load.e2el_s),
        **_speculation(measured.server),
        "tuner": _more(measured, asked, server),
    }


def _traffic(workload: Workload, load: LoadMetrics) -> dict[str, Any]:
    """vLLM's words for the load; its rate for a closed loop is "inf". A trace has none."""
    if workload.users is not None:
        return {"request_rate": "inf", "max_concurrency": workload.users}
    if load.request_rate is None:
        return {"max_concurrency": None}
    burstiness = "inf" if math.isinf(workload.burstiness) else workload.burstiness
    return {"request_rate": load.request_rate, "burstiness": burstiness, "max_concurrency": None}


def _milliseconds(name: str, seconds: Distribution | None) -> dict[str, float]:
    """Nothing for what does not exist, where vLLM writes 0."""
    if seconds is None:
        return {}
    found = {f"mean_{name}_ms": seconds.mean, f"median_{name}_ms": seconds.p50, f"std_{name}_ms": seconds.std}
    found |= {f"{percentile}_{name}_ms": getattr(seconds, percentile) for percentile in _PERCENTILES}
    return {field: value * 1e3 for field, value in found.items() if value is not None}


def _speculation(server: ServerMetrics | None) -> dict[str, Any]:
    """Nothing for a server that does not speculate; the acceptance rate is in percent here."""
    if server is None or server.drafts is None:
        return {}
    rate, rates = server.acceptance_rate, server.acceptance_rates
    return {
        "spec_decode_acceptance_rate": None if rate is None else 100 * rate,
        "spec_decode_acceptance_length": server.acceptance_length,
        "spec_decode_num_drafts": round(server.drafts),
        "spec_decode_draft_tokens": round(server.draft_tokens or 0),
        "spec_decode_accepted_tokens": round(server.accepted_tokens or 0),
        "spec_decode_per_position_acceptance_rates": None if rates is None else list(rates),
    }


def _more(measured: Measured, asked: Asked, server: str) -> dict[str, Any]:
    """What vLLM's benchmark has no word for."""
    load = measured.load
    return {
        "measured": server,
        "warmup_s": measured.warmup_s,
        "output_throughput_ci95": load.output_throughput_ci95,
        "ci95": {metric: list(ends) for metric, ends in (load.ci95 or {}).items()},
        "marks": [mark.value for mark in measured.marks],
        "unknown": list(measured.unknown),
        "slos": {s.name: {"limit_s": s.limit_s, "met": s.violation(load) <= 0} for s in asked.slos},
        "rate": _rate(measured.rate, asked.slos) if measured.rate else None,
        "chunk_tokens": load.chunk_tokens,
        "answer_share": load.answer_share,
        "prompt_share": load.prompt_share,
        "bunched": load.bunched,
        "first_chunk_tokens": load.first_chunk_tokens,
        "client": asdict(measured.client) if measured.client else None,
        "server": asdict(measured.server) if measured.server else None,
        "server_cpu_cores": measured.server_cpu_cores,
        "cores": asdict(measured.cores) if measured.cores else None,
        "kv_cache_tokens": measured.kv_cache_tokens,
        "startup_s": measured.startup_s,
        "gpu": asdict(measured.gpu) if measured.gpu else None,
        "workload": asked.yaml,
    }


def _rate(rate: RateFound, slos: Sequence[Slo]) -> dict[str, Any]:
    """Each rate that was tried, with the limits that it missed and by how much, as a share of the limit."""
    found = asdict(rate)
    for told, tried in zip(found["tried"], rate.tried, strict=True):
        told["missed"] = {
            slo.name: {"limit_s": slo.limit_s, "seen_s": seen, "over": seen / slo.limit_s - 1}
            for slo in slos
            if (seen := tried.seen.get(slo.metric)) is not None and seen > slo.limit_s
        }
    return found


def _date(at: datetime) -> str:
    return f"{at:%Y%m%d-%H%M%S}"


def _text(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
