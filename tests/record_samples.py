"""One study, one trial, one measurement: what the tests of the database store."""

from datetime import UTC, datetime
from pathlib import Path

from samples import FINGERPRINT

from tuner.record.rows import StudyRecord
from tuner.record.store import Store
from tuner.study.lease import me
from tuner.types import (
    Command,
    Distribution,
    GpuMetrics,
    LoadMetrics,
    Measured,
    Outcome,
    ProcessId,
    ServerMetrics,
    Timeline,
    Trial,
)

NOW = datetime(2026, 11, 22, 13, 0, 0, 123456, tzinfo=UTC)
STUDY = StudyRecord(
    name="a study",
    created_at=NOW,
    gpu="t4",
    model="some/model",
    workload="chat",
    objective="throughput",
    direction="maximize",
    space_digest="123",
    space="gpu: t4\n",
    fingerprint=FINGERPRINT,
    settings={"trials": 40, "slo": {"ttft_p99": 0.5}, "seed": None},
)
COMMAND = Command(
    argv=("vllm", "serve", "some/model", "--max-num-seqs", "64"),
    model="some/model",
    settings={"max_num_seqs": 64},
    environment={"OMP_NUM_THREADS": "1"},
)
_SECONDS = Distribution(count=7, mean=0.2, p50=0.1, p90=0.4, p99=0.9)
MEASURED = Measured(
    load=LoadMetrics(
        window_s=20.0,
        completed=7,
        failed=0,
        request_throughput=0.35,
        output_throughput=44.8,
        output_throughput_ci95=None,
        total_token_throughput=90.5,
        ttft_s=_SECONDS,
        tpot_s=None,
        itl_s=_SECONDS,
        e2el_s=_SECONDS,
    ),
    server=ServerMetrics(
        prompt_tokens=896.0,
        generation_tokens=897.0,
        preemptions=0.0,
        prefix_cache_queries=0.0,
        prefix_cache_hits=0.0,
        kv_cache_usage_mean=0.25,
        kv_cache_usage_max=0.5,
        running_mean=None,
        waiting_mean=None,
        agreement=1.001,
    ),
    gpu=GpuMetrics(gpus=(0, 1), samples=200, utilization=0.9, memory_used_bytes=15_000_000_000, power_w=None),
    server_cpu_cores=1.5,
    startup_s=31.0,
)
TIMELINE = Timeline(
    t_s=(1.0, 2.0, 3.5),
    window_begin_s=2.0,
    window_end_s=3.5,
    output_throughput=(None, 40.5, 44.75),
    running=(1.0, 2.0, 2.0),
    waiting=(0.0, 0.0, 0.0),
    kv_cache_usage=(0.25, 0.5, 0.125),
)


def launch(store: Store, leader: ProcessId, number: int = 0) -> int:
    """Record a launch that has only its leader."""
    return store.record_launch(
        "a study",
        number,
        tuner=me(),
        leader=leader,
        processes=[leader],
        start="warm",
        port=8001,
        log=Path("/x/log"),
        started_at=NOW,
    )


def a_trial(number: int, outcome: Outcome = MEASURED) -> Trial:
    return Trial(
        number=number,
        params={"max_num_seqs": 64, "gpu_memory_utilization": 1.0, "enforce_eager": True, "kv_cache_dtype": "auto"},
        is_default=number == 0,
        resolved={"max_num_seqs": 64},
        command=COMMAND,
        outcome=outcome,
        violations={"ttft_p99": -0.25} if isinstance(outcome, Measured) else {},
        started_at=NOW,
        ended_at=NOW,
    )
