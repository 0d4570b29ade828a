"""Curves over one setting that others measured in; their points out: benchmarks/data/README.md tells what was taken."""

import gzip
import hashlib
import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from points import Load, Point, fixed

from tuner.types import Lengths

_PPAS_MODELS = {
    "qwen_3b": "Qwen2.5-3B-Instruct",
    "llama_3b": "Llama-3.2-3B-Instruct",
    "qwen_0.5b": "Qwen2.5-0.5B-Instruct",
}
_PPAS_CARDS = {
    "A100": "NVIDIA A100-SXM4-80GB",
    "H100": "NVIDIA H100 80GB HBM3",
    "RTX5090": "NVIDIA GeForce RTX 5090",
}


def ppas(sources: Sequence[Path]) -> Iterator[Point]:
    """One point of all seeds of a setting: prompts of one length that arrive in phases, 32 tokens each in answer. Their vLLM is
    not told; its own policy, which is no setting of vLLM, is left out."""
    runs: dict[tuple[str, str, int, str, int, int], list[dict[str, Any]]] = {}
    for line in gzip.decompress(sources[0].read_bytes()).splitlines():
        run = json.loads(line)
        if run["model_alias"] in _PPAS_MODELS and isinstance(run["max_num_batched_tokens"], int) and not run["failed"]:
            names = ("gpu", "model_alias", "configured_prompt_tokens", "phase_schedule")
            sizes = ("max_num_batched_tokens", "max_num_seqs")
            runs.setdefault(tuple(run[name] for name in (*names, *sizes)), []).append(run)
    for (gpu, model, tokens, schedule, batched, sequences), some in sorted(runs.items()):
        phases = tuple((float(part.partition(":")[0]), float(part.partition(":")[2])) for part in schedule.split(","))
        load = Load(
            name=schedule, phases=phases, input_tokens=fixed(tokens), output_tokens=fixed(int(some[0]["output_mean"]))
        )
        told = {"ttft_mean_s": "avg_ttft", "tpot_mean_s": "avg_tpot", "e2el_mean_s": "avg_latency"}
        yield Point(
            gpu=_PPAS_CARDS[gpu],
            host=gpu,
            engine_version="0.25",
            model=_PPAS_MODELS[model],
            params={"max_num_batched_tokens": batched, "max_num_seqs": sequences, "max_model_len": 32768},
            load=load,
            metrics={ours: statistics.fmean(run[theirs] for run in some) for ours, theirs in told.items()},
            note=f"{len(some)} runs, vLLM's version not told",
            half=_half(gpu, model, str(tokens), schedule),
        )


def _half(*words: str) -> str:
    """Of whole curves: their ranks need all of their points in one half."""
    return "test" if hashlib.sha256(" ".join(words).encode()).digest()[-1] % 2 else "train"


_ML_ENERGY_MODELS = {
    "Qwen/Qwen3-8B": "Qwen3-8B",
    "Qwen/Qwen3-14B": "Qwen3-14B",
    "Qwen/Qwen3-32B": "Qwen3-32B",
    "Qwen/Qwen3-30B-A3B-Instruct-2507": "Qwen3-30B-A3B",
    "meta-llama/Llama-3.1-8B-Instruct": "Llama-3.1-8B-Instruct",
}
_ML_ENERGY_CARDS = {"H100": "NVIDIA H100 80GB HBM3", "B200": "NVIDIA B200"}
#: Of its prompts the lengths are not told.
_CHAT_PROMPT = Lengths(low=250, high=750)


def ml_energy(sources: Sequence[Path]) -> Iterator[Point]:
    """Chats on one GPU: as many requests at once as max_num_seqs, always, which is a closed loop of so many users. The median
    of ITL stands for TPOT's."""
    for line in gzip.decompress(sources[0].read_bytes()).splitlines():
        run = json.loads(line)
        model, sequences = _ML_ENERGY_MODELS.get(run["model"]), int(run["max_num_seqs"])
        if not model or run["num_gpus"] != 1 or run["task"] != "lm-arena-chat":
            continue
        answer = run["avg_output_len"]
        yield Point(
            gpu=_ML_ENERGY_CARDS[run["gpu_model"]],
            host=run["gpu_model"],
            engine_version="0.11",
            model=model,
            params={"max_num_seqs": sequences, "max_num_batched_tokens": max(8192, sequences), "max_model_len": 8192},
            load=Load(
                name=run["task"],
                users=round(run["avg_batch_size"]),
                input_tokens=_CHAT_PROMPT,
                output_tokens=Lengths(low=round(answer / 2), high=round(answer * 1.5)),
            ),
            metrics={
                "output_throughput": run["output_throughput_tokens_per_sec"],
                "tpot_p50_s": run["median_itl_ms"] / 1e3,
            },
            note="prompts' lengths and vLLM's version not told",
            half="test",
            curve=run["task"],
        )
