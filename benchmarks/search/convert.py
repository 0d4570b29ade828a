"""Public points of benchmarks/data in, surfaces with their spaces out, into benchmarks/data/search.

    python benchmarks/search/convert.py

benchmarks/data/README.md says where the points are from. What vLLM's defaults are follows from its code (`vllm serve`, version
and card of the points); where they were not measured the nearest point answers for them.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "predict"))
from cards import card

from tuner.space.files import load_space
from tuner.types import Params

DATA = Path(__file__).parents[1] / "data"
FOLDER = DATA / "search"
Line = Mapping[str, Any]
Parameters = Mapping[str, Mapping[str, Any]]

_SLO_GUARD: Parameters = {
    "max_num_seqs": {"type": "int", "low": 4, "high": 256, "log": True},
    "max_num_batched_tokens": {"type": "int", "low": 512, "high": 8192, "log": True},
    "gpu_memory_utilization": {"type": "float", "low": 0.6, "high": 0.95, "step": 0.01},
    "max_model_len": {"type": "int", "low": 512, "high": 4096, "log": True},
    "enforce_eager": {"type": "categorical", "choices": [False, True]},
    "enable_chunked_prefill": {"type": "categorical", "choices": [True, False]},
    "enable_prefix_caching": {"type": "categorical", "choices": [True, False]},
}
_SLO_GUARD_DEFAULTS = {
    "max_num_seqs": 256,
    "max_num_batched_tokens": 2048,
    "gpu_memory_utilization": 0.9,
    "max_model_len": 4096,
    "enforce_eager": False,
    "enable_chunked_prefill": True,
    "enable_prefix_caching": True,
}
_TOKENS: Parameters = {"max_num_batched_tokens": {"type": "int", "low": 512, "high": 16384, "log": True}}


_SMALLER = {"gpu_memory_utilization": 0.171}
#: Own surfaces, and what all their launches have.
_OWN: Mapping[str, Params] = {
    "h200-1.5b-256": {},
    "h200-1.5b-1024": {},
    "h200-7b-256": _SMALLER,
    "h200-7b-long": _SMALLER,
}
_OWN_METRICS = ("output_throughput", "output_throughput_ci95", "ttft_mean_s", "ttft_p99_s", "tpot_p50_s", "startup_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One surface out of a set: the points that `like` says, with these parameters searched. `load` is what the header says."""

    name: str
    set: str
    like: Mapping[str, Any]
    parameters: Parameters
    defaults: Mapping[str, Any]
    load: Mapping[str, Any]
    source: str
    fixed: Mapping[str, Any] = field(default_factory=dict)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for wanted in _wanted():
        points = [point for point in _points(wanted.set) if _is_like(point, wanted.like)]
        assert points, wanted.name
        _write(wanted, points)
        sys.stdout.write(f"{wanted.name}: {len(points)} launches\n")
    for name, fixed in _OWN.items():
        sys.stdout.write(f"{name}: {_own(name, fixed)} launches\n")


def _wanted() -> Iterable[Wanted]:
    slo_guard = "SLO-Guard, github.com/Chrislysen/SLO-Guard, results/ at commit bb40a7b"
    for name, host, users in (
        ("one", "multiseed", 1),
        ("five", "multiseed_concurrent", 5),
        ("colab", "colab_random", 1),
    ):
        yield Wanted(
            name=f"slo-guard-{name}",
            set="slo-guard",
            like={"host": host},
            parameters=_SLO_GUARD,
            defaults=_SLO_GUARD_DEFAULTS,
            load={"users": users, "input_tokens": [64, 64], "output_tokens": [100, 100]},
            source=slo_guard,
            fixed={"dtype": "float16"},
        )
    for rate, tokens in ((0.4, 25_000), (1.0, 25_000), (1.4, 25_000)):
        phases = [[10.0, 0.2], [10.0, rate]] * 2 + [[10.0, 0.2]]
        yield Wanted(
            name=f"ppas-5090-{rate:g}",
            set="ppas",
            like={
                "model": "Qwen2.5-3B-Instruct",
                "host": "RTX5090",
                "load": {"phases": phases, "input_tokens": [tokens] * 2},
            },
            parameters=_TOKENS,
            defaults={"max_num_batched_tokens": 2048},
            load={"request_rate": (3 * 0.2 + 2 * rate) / 5, "input_tokens": [tokens] * 2, "output_tokens": [32, 32]},
            source="P-PAS, github.com/TimoSaemann/ppas-vllm, paper_results",
            fixed={"max_num_seqs": 256, "max_model_len": 32768},
        )
    for host, model, most, usual in (
        ("H100", "Llama-3.1-8B-Instruct", 768, 256),
        ("H100", "Qwen3-8B", 512, 256),
        ("B200", "Qwen3-30B-A3B", 1536, 1024),
        ("B200", "Qwen3-32B", 512, 512),
    ):
        yield Wanted(
            name=f"ml-energy-{host.lower()}-{model.lower().removesuffix('-instruct')}",
            set="ml-energy",
            like={"host": host, "model": model},
            parameters={"max_num_seqs": {"type": "int", "low": 8, "high": most, "log": True}},
            defaults={"max_num_seqs": usual},
            load={"users": most, "input_tokens": [250, 750], "output_tokens": [320, 960]},
            source="ML.ENERGY, github.com/ml-energy/leaderboard and github.com/ml-energy/data",
            fixed={"max_num_batched_tokens": 8192, "max_model_len": 8192},
        )


def _own(name: str, fixed: Params) -> int:
    """Of benchmarks/data/surfaces, those launches that are of the shipped space, with the numbers that are asked for."""
    head, *lines = [json.loads(line) for line in (DATA / "surfaces" / f"{name}.jsonl").read_text().splitlines()]
    whole = load_space(name.partition("-")[0]).with_fixed(fixed)
    drafts = [line["params"].get("speculative_config.method", "none") != "none" for line in lines]
    kept = [line for line, is_drafting in zip(lines, drafts, strict=True) if not is_drafting]
    named = {key for line in kept for key in line["params"]} - {"speculative_config.method"}
    space = whole.without(whole.parameters.keys() - named).model_copy(update={"enqueue": (), "groups": {}, "name": ""})
    parameters = {key: one.model_copy(update={"group": None}) for key, one in space.parameters.items()}
    content = space.model_copy(update={"parameters": parameters}).model_dump(mode="json", exclude_defaults=True)
    told = []
    for line in kept:
        metrics = {key: value for key, value in line["metrics"].items() if key in _OWN_METRICS}
        about = {key: line[key] for key in ("is_default", "duration_s") if key in line}
        params = {key: value for key, value in line["params"].items() if key in space.parameters}
        told.append({"params": params, **about, "metrics": metrics})
    (FOLDER / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (head, *told)))
    (FOLDER / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False, width=120))
    return len(told)


def _points(name: str) -> Sequence[Line]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text().splitlines()]


def _is_like(point: Any, like: Any) -> bool:
    """Whether it has all these keys with these values, at any depth."""
    if isinstance(like, Mapping):
        return isinstance(point, Mapping) and all(_is_like(point.get(key), value) for key, value in like.items())
    return bool(point == like)


def _write(wanted: Wanted, points: Sequence[Line]) -> None:
    first = points[0]
    header = {
        "gpu": first["gpu"],
        "model": first["model"],
        "engine_version": first["engine_version"],
        "source": wanted.source,
        **wanted.load,
        "defaults": wanted.defaults,
    }
    lines = [{"surface": header}, *(_line(wanted, point) for point in points)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (FOLDER / f"{wanted.name}.jsonl").write_text(text)
    gpu = card(first["gpu"]).model_dump(mode="json", exclude_none=True)
    space = {"gpu": gpu, "fixed": dict(wanted.fixed), "parameters": {k: dict(v) for k, v in wanted.parameters.items()}}
    (FOLDER / f"{wanted.name}.yaml").write_text(yaml.safe_dump(space, sort_keys=False, width=120))


def _line(wanted: Wanted, point: Line) -> Line:
    params = {name: value for name, value in point["params"].items() if name in wanted.parameters}
    if "failure" in point:
        message = point.get("note", "")
        return {"params": params, "failure": {"kind": point["failure"], "message": message}}
    known = ("output_throughput", "ttft_mean_s", "tpot_mean_s", "tpot_p50_s", "e2el_mean_s")
    return {"params": params, "metrics": {name: v for name, v in point["metrics"].items() if name in known}}


if __name__ == "__main__":
    main()
