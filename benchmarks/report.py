"""How long a report of many trials takes, and how large it is: a database of 1,000 trials with time lines is made, and read.

`python benchmarks/report.py [--trials 1000]`. Half a second of the time is that of a Python process that begins.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import exp, sin
from pathlib import Path

import numpy as np
from pydantic import JsonValue

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from report_samples import record
from samples import FINGERPRINT

from tuner.record.rows import Verification
from tuner.record.store import Store
from tuner.types import (
    Command,
    Distribution,
    Failed,
    FailureKind,
    GpuMetrics,
    LoadMetrics,
    Measured,
    Outcome,
    ServerMetrics,
    Timeline,
    Trial,
    Value,
)
from tuner.types.settings import flag
from tuner.workload.presets import PRESETS
from tuner.workload.stored import workload_json

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
STUDY = "many-trials"
CHOICES: dict[str, list[Value]] = {
    "max_num_seqs": [64, 128, 256, 512, 1024],
    "max_num_batched_tokens": [1024, 2048, 4096, 8192, 16384],
    "gpu_memory_utilization": [0.85, 0.88, 0.9, 0.92, 0.94],
    "quantization": ["none", "fp8_per_tensor"],
    "kv_cache_dtype": ["auto", "fp8"],
    "enable_prefix_caching": [True, False],
    "enforce_eager": [False, True],
    "stream_interval": [1, 4, 8, 16],
    "max_cudagraph_capture_size": [128, 256, 512],
    "compilation_config.cudagraph_mode": ["FULL_AND_PIECEWISE", "FULL", "PIECEWISE"],
    "api_server_count": [1, 2],
    "long_prefill_token_threshold": [0, 256, 1024],
}


def timeline(throughput: float, rng: np.random.Generator, samples: int = 60) -> Timeline:
    t_s = tuple(float(s) for s in range(samples))
    noise = rng.normal(1, 0.05, samples)
    return Timeline(
        t_s=t_s,
        window_begin_s=samples / 4,
        window_end_s=float(samples),
        output_throughput=tuple(round(throughput * min(1.0, (s + 1) / 10) * n, 1) for s, n in enumerate(noise)),
        running=tuple(min(64.0, 8.0 * s) for s in t_s),
        waiting=tuple(0.0 for _ in t_s),
        kv_cache_usage=tuple(round(min(0.6, 0.05 * s + 0.01 * sin(s)), 4) for s in t_s),
        gpu_utilization=tuple(min(0.97, 0.2 * s) for s in t_s),
    )


def outcome(throughput: float, rng: np.random.Generator) -> Measured:
    seconds = Distribution(count=1000, mean=0.3, p50=0.25, p90=0.5, p95=0.6, p99=900 / throughput, std=0.1)
    load = LoadMetrics(
        window_s=45.0,
        completed=1000,
        failed=0,
        request_throughput=throughput / 128,
        output_throughput=throughput,
        output_throughput_ci95=throughput * 0.01,
        total_token_throughput=throughput * 3,
        ttft_s=seconds,
        tpot_s=seconds,
        itl_s=seconds,
        e2el_s=seconds,
        goodput=throughput / 128,
    )
    return Measured(
        load=load,
        server=ServerMetrics(generation_tokens=throughput * 45, running_mean=64.0, waiting_mean=0.0),
        gpu=GpuMetrics(gpus=(0,), samples=900, utilization=0.95, memory_used_bytes=14 << 30, power_w=68.0),
        server_cpu_cores=1.4,
        startup_s=31.0,
        warmup_s=15.0,
        timeline=timeline(throughput, rng),
    )


def trials(count: int) -> Iterator[Trial]:
    """One in eight fails, with a log."""
    rng = np.random.default_rng(0)
    for number in range(count):
        params = {
            name: choices[0 if number == 0 else int(rng.integers(len(choices)))] for name, choices in CHOICES.items()
        }
        words = [word for name, value in params.items() for word in flag(name, value)]
        value = 1000 * exp(0.2 * (params["quantization"] != "none") - 0.3 * bool(params["enforce_eager"]))
        log = "\n".join(
            f"INFO 11-22 13:00:{n:02d} engine.py:{n}] a line of the log of trial {number}" for n in range(40)
        )
        lost = Failed(kind=FailureKind.OUT_OF_MEMORY, message=f"CUDA out of memory: {number} MiB", log_tail=log)
        found: Outcome = lost if number % 8 == 7 else outcome(value * exp(rng.normal(0, 0.03)), rng)
        begun = NOW + timedelta(minutes=2 * number)
        yield Trial(
            number=number,
            params=params,
            is_default=number == 0,
            resolved=params,
            command=Command(argv=("vllm", "serve", "some/model", *words), model="some/model", settings=params),
            outcome=found,
            violations={"ttft_p99": -0.2} if isinstance(found, Measured) else {},
            started_at=begun,
            ended_at=begun + timedelta(seconds=110),
        )


def make(storage: str, count: int) -> None:
    """The study, with three rounds of a verification of its best."""
    store = Store.open(storage)
    settings: dict[str, JsonValue] = {
        "slos": ["ttft_p99=1.5s"],
        "sampler": "model",
        "start": "plain",
        "workload": workload_json(PRESETS["chat"]),
    }
    where = replace(FINGERPRINT, host="made by benchmarks/report.py")
    store.create_or_get_study(record(STUDY, created_at=NOW, fingerprint=where, settings=settings))
    made = list(trials(count))
    for one in made:
        store.finish(STUDY, one)
    verify(store, made)
    store.close()


def verify(store: Store, made: list[Trial]) -> None:
    measured = [trial for trial in made if isinstance(trial.outcome, Measured)]
    best = max(measured, key=lambda trial: trial.outcome.load.output_throughput or 0.0)  # type: ignore[union-attr]
    store.begin_contest(STUDY, [best.number], 5, NOW)
    rng = np.random.default_rng(1)
    for round in (1, 2, 3):
        for one in (made[0], best):
            assert isinstance(one.outcome, Measured)
            again = outcome((one.outcome.load.output_throughput or 0.0) * exp(rng.normal(0, 0.01)), rng)
            launched = Verification(
                round=round,
                role="defaults" if one.is_default else "finalist",
                trial_number=one.number,
                command=one.command,
                outcome=replace(again, timeline=timeline(1000.0, rng, 120)),
                started_at=NOW,
                ended_at=NOW,
            )
            store.add_verification(STUDY, launched)


def children_s() -> float:
    """What they have taken of processors: on a machine that does other things, too, that is what counts."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    count = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as folder:
        storage = f"sqlite:///{folder}/many.db"
        make(storage, count)
        for format in ("html", "markdown", "json"):
            file = Path(folder) / f"report.{format}"
            command = ["report", STUDY, "--storage", storage, "--format", format, "--output", str(file)]
            begun, busy_s = time.perf_counter(), children_s()
            subprocess.run([sys.executable, "-m", "tuner", *command], check=True, stderr=subprocess.DEVNULL)
            took = {"seconds": time.perf_counter() - begun, "cpu_seconds": children_s() - busy_s}
            told = {name: round(value, 2) for name, value in took.items()}
            print(json.dumps({"trials": count, "format": format, **told, "bytes": file.stat().st_size}))  # noqa: T201


if __name__ == "__main__":
    main()
