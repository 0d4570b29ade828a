"""Makes the sets of points from what was measured: benchmarks/data/README.md tells what was taken of each source.

    python benchmarks/predict/convert.py h200 MACHINE=FILE...     JSONL of benchmarks/collect.py, into benchmarks/data
    python benchmarks/predict/convert.py slo-guard CLONE          github.com/Chrislysen/SLO-Guard, into benchmarks/data
    python benchmarks/predict/convert.py ppas FILE                runs.jsonl.gz made of github.com/TimoSaemann/ppas-vllm
    python benchmarks/predict/convert.py ml-energy FILE           max_num_seqs.jsonl.gz made of github.com/ml-energy/data
    python benchmarks/predict/convert.py starts FOLDER            starts.jsonl and models/ of logs, into benchmarks/data
    python benchmarks/predict/convert.py starts-others FOLDER     the same of those with another licence, into public/ there
    python benchmarks/predict/convert.py aiconfigurator CLONE     github.com/ai-dynamo/aiconfigurator, into public/ there
    python benchmarks/predict/convert.py llmservingsim CLONE      github.com/casys-kaist/LLMServingSim, into public/ there

MACHINE is any name, the same for files that were measured on one machine. CLONE is a clone of that repository.
"""

import csv
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from curves import ml_energy, ppas
from points import SETS, Load, Point, fixed, memory_of, write
from show import console
from starts import converted

from tuner.types import Lengths, Params

#: What of the measured metrics and of the resolved settings is kept.
_METRICS = (
    "output_throughput",
    "output_throughput_ci95",
    "request_throughput",
    "ttft_mean_s",
    "ttft_p50_s",
    "ttft_p99_s",
    "tpot_mean_s",
    "tpot_p50_s",
    "e2el_mean_s",
    "e2el_p50_s",
    "kv_cache_tokens",
    "server_preemptions",
    "server_running_mean",
    "gpu_utilization",
    "server_cpu_cores",
    "startup_s",
)
_RESOLVED = (
    "max_num_seqs",
    "max_num_batched_tokens",
    "max_model_len",
    "gpu_memory_utilization",
    "quantization",
    "kv_cache_dtype",
    "cache_dtype",
    "dtype",
    "enforce_eager",
    "stream_interval",
    "api_server_count",
    "tensor_parallel_size",
    "block_size",
    "enable_prefix_caching",
    "enable_chunked_prefill",
    "async_scheduling",
    "num_gpu_blocks",
)


def h200(sources: Sequence[Path]) -> Iterator[Point]:
    """Each file with the name of its machine: measurements are compared within one machine only."""
    for source in sources:
        host, _, file = str(source).partition("=")
        for line in Path(file).read_text().splitlines():
            point = json.loads(line)
            failure = point.get("failure")
            metrics = {name: value for name, value in point.get("metrics", {}).items() if name in _METRICS}
            if "startup_s" in point:
                metrics.setdefault("startup_s", point["startup_s"])
            yield Point(
                gpu=point["gpu"],
                host=host,
                engine_version=point["engine_version"],
                model=point["model"],
                params=point["params"],
                resolved={name: value for name, value in point.get("resolved", {}).items() if name in _RESOLVED},
                start=point.get("start", "plain"),
                load=_closed(point["workload"]) if "workload" in point else None,
                metrics=metrics,
                memory=memory_of(point.get("log", ())),
                failure=failure and failure["kind"],
                note=failure["message"][:300] if failure else "",
            )


def _closed(told: dict[str, Any]) -> Load:
    prompt, answer = Lengths(**told["input_tokens"]), Lengths(**told["output_tokens"])
    return Load(name=told["name"], users=told["users"], input_tokens=prompt, output_tokens=answer)


#: Of a request of SLO-Guard the answer is known (500 tokens of 5 requests), of the prompt only that it fits 512 tokens.
_PROMPT, _ANSWER, _REQUESTS = 64, 100, 5


def slo_guard(sources: Sequence[Path]) -> Iterator[Point]:
    """Runs with their settings; the first, colab_random/early_run, has none. Requests went one by one, or all five at once."""
    for path in sorted(sources[0].glob("results/**/*.jsonl")):
        run, *rest = path.relative_to(sources[0] / "results").parts
        for line in path.read_text().splitlines():
            trial = json.loads(line)
            if "config" in trial:
                yield _slo_guard_point(trial, run, "/".join(rest))


def _slo_guard_point(trial: dict[str, Any], run: str, file: str) -> Point:
    params = {name: value for name, value in trial["config"].items() if name != "quantization"} | {"dtype": "float16"}
    load = Load(name="one by one", users=1, input_tokens=fixed(_PROMPT), output_tokens=fixed(_ANSWER))
    metrics: dict[str, float] = {}
    if latency_ms := trial.get("avg_latency_ms"):
        metrics = {"e2el_mean_s": latency_ms / 1e3, "output_throughput": _ANSWER / (latency_ms / 1e3)}
    if run == "multiseed_concurrent":
        load = Load(name="five at once", requests=((0.0, _PROMPT, _ANSWER),) * _REQUESTS)
        if wall_ms := trial.get("batch_wall_ms"):
            metrics["output_throughput"] = trial["total_tokens"] / (wall_ms / 1e3)
    return Point(
        gpu="NVIDIA A100-SXM4-40GB",
        host=run,
        engine_version="0.19",
        model="qwen2-1.5b-tied",
        params=params,
        load=load,
        metrics=metrics,
        failure="crashed" if trial["status"] == "crash" else None,
        note=file,
    )


_SYSTEMS = {"h100_sxm": "NVIDIA H100 80GB HBM3", "h200_sxm": "NVIDIA H200", "b200_sxm": "NVIDIA B200"}
_MODELS = {
    ("meta-llama/Llama-3.1-70B", "fp8"): "Llama-3.1-70B-FP8",
    ("Qwen/Qwen3-32B", ""): "Qwen3-32B",
    ("nvidia/Llama-3.1-8B-Instruct-FP8", "fp8"): "Llama-3.1-8B-FP8",
}
_TABLE = "aic-core/src/aiconfigurator_core/systems/silicon_sample.csv"


def aiconfigurator(sources: Sequence[Path]) -> Iterator[Point]:
    """The aggregated vLLM rows of dense models. Throughput is not in them: Little's law gives it from TTFT and TPOT."""
    with (sources[0] / _TABLE).open(newline="") as file:
        for row in csv.DictReader(file):
            model = _MODELS.get((row["model_path"], row["precision"]))
            if model and (row["backend"], row["mode"]) == ("vllm", "agg"):
                yield _aiconfigurator_point(row, model)


def _aiconfigurator_point(row: dict[str, str], model: str) -> Point:
    users, isl, osl = int(row["batch_size"]), int(row["isl"]), int(row["osl"])
    ttft_s, tpot_s = float(row["silicon_ttft_ms"]) / 1e3, float(row["silicon_tpot_ms"]) / 1e3
    params: Params = {"tensor_parallel_size": int(row["tp_size"])}
    prompt, answer = fixed(isl), fixed(osl)
    if inference_max := model.startswith("Llama-3.1-70B"):
        # The grid is InferenceMAX's, whose README tells these settings and that lengths are drawn from 0.8 of the number up.
        params = {**params, "max_num_seqs": users, "max_num_batched_tokens": 8192, "gpu_memory_utilization": 0.9}
        params = {**params, "enable_prefix_caching": False, "async_scheduling": True, "max_model_len": isl + osl + 200}
        prompt, answer = Lengths(low=int(0.8 * isl), high=isl), Lengths(low=int(0.8 * osl), high=osl)
    mean_answer = (answer.low + answer.high) / 2
    latency_s = ttft_s + (mean_answer - 1) * tpot_s
    return Point(
        gpu=_SYSTEMS[row["system"]],
        host="InferenceMAX" if inference_max else "AIConfigurator",
        engine_version=row["backend_version"] or "0.11",
        model=model,
        params=params,
        load=Load(name=f"{isl}/{osl}", users=users, input_tokens=prompt, output_tokens=answer),
        metrics={
            "ttft_mean_s": ttft_s,
            "tpot_mean_s": tpot_s,
            "e2el_mean_s": latency_s,
            "output_throughput": users * mean_answer / latency_s,
        },
        note=row["id"],
    )


_RUNS = {
    "RTX4090/Llama-3.1-8B": "NVIDIA GeForce RTX 4090",
    "RTXPRO6000/Llama-3.1-8B": "NVIDIA RTX PRO 6000 Blackwell Server Edition",
    "RTXPRO6000/Qwen3-32B": "NVIDIA RTX PRO 6000 Blackwell Server Edition",
}


def llmservingsim(sources: Sequence[Path]) -> Iterator[Point]:
    """The dense models' runs of a fixed list of requests. Throughput is over the whole run."""
    for run, gpu in _RUNS.items():
        folder = sources[0] / "bench" / "examples" / run / "vllm"
        meta = json.loads((folder / "meta.json").read_text())
        requests = [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]
        asked = meta["engine_kwargs"]
        names = ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "tensor_parallel_size", "dtype")
        metrics = _served(requests)
        if "kv_cache" in meta:
            metrics["kv_cache_tokens"] = meta["kv_cache"]["num_kv_tokens"]
        first_s = min(request["arrival_time"] for request in requests)
        arrivals = tuple(
            (round(request["arrival_time"] - first_s, 4), int(request["input_toks"]), int(request["output_toks"]))
            for request in requests
        )
        yield Point(
            gpu=gpu,
            host=run,
            engine_version=meta["vllm_version"],
            model=run.split("/")[1],
            params={name: asked[name] for name in names if asked[name] is not None},
            load=Load(name="ShareGPT, 10 a second", requests=arrivals),
            metrics=metrics,
        )


def _served(requests: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Arrivals are on another clock than vLLM's other times: the request that was queued soonest tells the difference."""
    offset_s = min(request["queued_ts"] - request["arrival_time"] for request in requests)
    ttft = [request["first_token_ts"] - request["arrival_time"] - offset_s for request in requests]
    e2el = [request["last_token_ts"] - request["arrival_time"] - offset_s for request in requests]
    tpot = [
        (request["last_token_ts"] - request["first_token_ts"]) / max(1, request["output_toks"] - 1)
        for request in requests
    ]
    ends = [request["last_token_ts"] for request in requests]
    whole_s = max(ends) - offset_s - min(request["arrival_time"] for request in requests)
    found = {"output_throughput": sum(request["output_toks"] for request in requests) / whole_s}
    for name, values in (("ttft", ttft), ("tpot", tpot), ("e2el", e2el)):
        found |= {f"{name}_mean_s": statistics.fmean(values), f"{name}_p50_s": statistics.median(values)}
    return found


_CONVERTERS: dict[str, Callable[[Sequence[Path]], Iterator[Point]]] = {
    "h200": h200,
    "slo-guard": slo_guard,
    "ppas": ppas,
    "ml-energy": ml_energy,
    "starts": lambda sources: converted(sources[0], "starts"),
    "starts-others": lambda sources: converted(sources[0], "starts-others"),
    "aiconfigurator": aiconfigurator,
    "llmservingsim": llmservingsim,
}


def main(arguments: Sequence[str]) -> int:
    if len(arguments) < 2 or arguments[0] not in _CONVERTERS:
        console.print(__doc__, markup=False)
        return 2
    name, sources = arguments[0], [Path(argument) for argument in arguments[1:]]
    try:
        points = list(_CONVERTERS[name](sources))
    except (OSError, KeyError, ValueError) as error:
        console.print(f"{sources[0]} is not what {name} is made from: {error!r}", markup=False)
        return 2
    if not points:
        console.print(f"{sources[0]} has nothing that {name} is made from", markup=False)
        return 2
    write(points, SETS[name] / f"{name}.jsonl")
    console.print(f"{len(points)} points in {SETS[name]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
