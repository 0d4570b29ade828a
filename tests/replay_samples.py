"""What the tests of the replay share: a small space, lines of a surface file, and files of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import commands
from samples import measured

from tuner.space.search_space import SearchSpace
from tuner.types import Params

#: On the scale of the distances: max_num_seqs 1..256 is 0..1 by its logarithm, gpu_memory_utilization by its value.
SPACE = SearchSpace.model_validate(
    {
        "name": "small",
        "gpu": {"names": ["Tesla T4"], "compute_capability": "7.5"},
        "fixed": {"dtype": "half"},
        "parameters": {
            "max_num_seqs": {"type": "int", "low": 1, "high": 256, "log": True},
            "gpu_memory_utilization": {"type": "float", "low": 0.5, "high": 0.9, "step": 0.1},
            "quantization": {"type": "categorical", "choices": ["none", "fp8_per_tensor"]},
            "enforce_eager": {"type": "categorical", "choices": [False, True]},
        },
    }
)
DEFAULTS: Params = {"max_num_seqs": 256, "gpu_memory_utilization": 0.9, "quantization": "none", "enforce_eager": False}


def metrics(**own: float) -> dict[str, float]:
    return {**measured().metrics(), **own}


def line(output_throughput: float = 100.0, *, params: Params | None = None, **more: Any) -> dict[str, Any]:
    """A measured line; the params that are not named are those of the defaults."""
    return {"params": dict(params or {}), "metrics": metrics(output_throughput=output_throughput), **more}


def failure(params: Params, kind: str = "out of memory", **more: Any) -> dict[str, Any]:
    return {"params": dict(params), "failure": {"kind": kind, "message": "it did not fit"}, **more}


def header(**about: Any) -> dict[str, Any]:
    return {"surface": {"defaults": dict(DEFAULTS), **about}}


def written(folder: Path, *lines: dict[str, Any]) -> Path:
    path = folder / "surface.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in lines))
    return path


def optimized(folder: Path, lines: Sequence[dict[str, Any]], *more: str) -> commands.Done:
    """A study "s" over `space.yaml` of the folder, answered by the nearest of these recordings, verified thrice at most."""
    surface = written(folder, {"surface": {"answer": "nearest"}}, *lines)
    return commands.tuner(
        folder,
        *("optimize", "--engine", "replay", "--surface", str(surface), "--space", "space.yaml", "--study", "s"),
        *("--verify", "3", "--sampler", "random", *more),
    )


def shown(folder: Path) -> dict[str, Any]:
    """That study, as `tuner show` tells it."""
    found: dict[str, Any] = json.loads(commands.tuner(folder, "show", "s", "--json", "-").stdout)
    return found
