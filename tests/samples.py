"""Small records for tests: a measurement with the numbers that the test is about, and the rest filled in."""

from datetime import UTC, datetime

from tuner.decide.verdict import Verdict
from tuner.export.chosen import Chosen
from tuner.types import (
    ClientMetrics,
    Command,
    Distribution,
    Failed,
    FailureKind,
    Fingerprint,
    GpuMetrics,
    LoadMetrics,
    Mark,
    Measured,
    Outcome,
    Params,
    ServerMetrics,
    Trial,
)

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
COMMAND = Command(
    argv=(
        "/opt/engine/bin/vllm",
        "serve",
        "some/model",
        "--dtype",
        "half",
        "--max-num-seqs",
        "64",
        "--no-enforce-eager",
    ),
    model="some/model",
    settings={"dtype": "half", "max_num_seqs": 64, "enforce_eager": False},
    environment={"OMP_NUM_THREADS": "1"},
)
FINGERPRINT = Fingerprint(
    gpu="Tesla T4",
    gpu_count=1,
    driver="550.1",
    engine_version="0.32.0",
    model="some/model",
    model_revision=None,
    workload_hash="abc",
    host="box",
)
CLIENT = ClientMetrics(
    workers=1,
    cpu=0.2,
    delay_mean_s=0.0005,
    lag_mean_s=0.0005,
    lag_p99_s=0.002,
    send_delay_mean_s=None,
    send_delay_p99_s=None,
)


def seconds(value: float) -> Distribution:
    """A distribution whose statistics are all `value`."""
    return Distribution(count=10, mean=value, p50=value, p90=value, p99=value, p95=value, std=0.0)


def load_metrics(*, output_throughput: float = 100.0, ttft_s: float = 0.1) -> LoadMetrics:
    return LoadMetrics(
        window_s=10.0,
        completed=10,
        failed=0,
        request_throughput=output_throughput / 100,
        output_throughput=output_throughput,
        output_throughput_ci95=None,
        total_token_throughput=2 * output_throughput,
        ttft_s=seconds(ttft_s),
        tpot_s=seconds(0.01),
        itl_s=seconds(0.01),
        e2el_s=seconds(1.0),
        goodput=output_throughput / 100,
        chunk_tokens=1.0,
        input_tokens=round(10 * output_throughput),
        output_tokens=10 * output_throughput,
    )


def gpu_metrics(energy_j: float | None) -> GpuMetrics:
    """Of a GPU that takes so many joules for 1,000 output tokens."""
    return GpuMetrics(
        gpus=(0,),
        samples=50,
        utilization=0.9,
        memory_used_bytes=1 << 30,
        power_w=70.0,
        energy_per_1k_tokens_j=energy_j,
    )


def measured(
    *,
    output_throughput: float = 100.0,
    ttft_s: float = 0.1,
    marks: tuple[Mark, ...] = (),
    energy_j: float | None = None,
) -> Measured:
    return Measured(
        load=load_metrics(output_throughput=output_throughput, ttft_s=ttft_s),
        server=ServerMetrics(
            prompt_tokens=1000.0,
            generation_tokens=1000.0,
            preemptions=0.0,
            prefix_cache_queries=0.0,
            prefix_cache_hits=0.0,
            kv_cache_usage_mean=0.5,
            kv_cache_usage_max=0.6,
            running_mean=8.0,
            waiting_mean=0.0,
            agreement=1.0,
        ),
        gpu=None if energy_j is None else gpu_metrics(energy_j),
        server_cpu_cores=1.0,
        startup_s=30.0,
        client=CLIENT,
        warmup_s=4.0,
        marks=marks,
    )


def failed(kind: FailureKind = FailureKind.OUT_OF_MEMORY) -> Failed:
    return Failed(kind=kind, message="CUDA out of memory", log_tail="the last lines")


def trial(number: int, outcome: Outcome, *, params: Params | None = None, is_default: bool = False) -> Trial:
    return Trial(
        number=number,
        params=params if params is not None else {"max_num_seqs": 2**number},
        is_default=is_default,
        resolved={"max_num_seqs": 2**number},
        command=COMMAND,
        outcome=outcome,
        violations={},
        started_at=NOW,
        ended_at=NOW,
    )


def chosen(
    found: Trial,
    verdict: Verdict | None = None,
    *,
    fingerprint: Fingerprint = FINGERPRINT,
    host: str = "127.0.0.1",
    port: int = 8000,
    study: str = "demo",
) -> Chosen:
    """A trial to be exported."""
    return Chosen(
        study=study,
        trial=found,
        fingerprint=fingerprint,
        host=host,
        port=port,
        verdict=verdict,
        metric="output_throughput",
    )
