"""Public starts of vLLM beside what tuner's model of memory says of them: the KV cache's bytes, and whether they start."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from ours import Predictor
from points import DATA, Point, model_folder
from score import errors, feasibility
from show import console, percent, table, verdict

from tuner.predict.shape import read_shape

#: The sets of starts without a load: those in the repository, and those that are not.
STARTS = ("starts", "starts-others")
#: Repositories whose licence is Apache-2.0; text that people wrote into issues and pages has none.
APACHE = ("llm-d-incubation/llm-d-planner", "llm-d/llm-d-benchmark")
_GIB = 2**30
_CARDS = {"H100-80GB": "NVIDIA H100 80GB HBM3"}
#: Names of a log's numbers here (all GiB but the tokens).
_MEMORY = {
    "w": "weights_bytes",
    "a": "activations_bytes",
    "n": "other_bytes",
    "kv": "kv_cache_bytes",
    "g": "graphs_bytes",
}
_FAILURES = {"AssertionError": "rejected", "OOM": "out of memory", "No available memory": "KV cache too small"}
#: Since then "GPU KV cache size" counts requests of max_model_len, also of models that have layers with a window.
_TOKENS_AS_REQUESTS = (0, 21)


def converted(source: Path, name: str) -> Iterator[Point]:
    """The starts of one set, out of starts.jsonl and models/ in `source`; copies the models' config.json that are missing."""
    for line in (source / "starts.jsonl").read_text().splitlines():
        told = json.loads(line)
        model, apache = told["config"], any(owner in told["url"] for owner in APACHE)
        if apache != (name == "starts") or not (source / "models" / model).is_dir():
            continue
        folder = DATA / "models" / model if apache else model_folder(model)
        if not folder.is_dir():
            shutil.copytree(source / "models" / model, folder)
        yield _point(told, folder)


def _point(told: Mapping[str, Any], folder: Path) -> Point:
    truth, version = told["truth"], told["version"]
    memory = {ours: round(truth[theirs] * _GIB) for theirs, ours in _MEMORY.items() if _is_size(truth.get(theirs))}
    as_requests = tuple(map(int, version.split(".")[:2])) >= _TOKENS_AS_REQUESTS
    if truth.get("tok") and (as_requests or not read_shape(str(folder)).window_layers):
        memory["kv_cache_tokens"] = int(truth["tok"])
    why = truth.get("fail")
    return Point(
        gpu=_CARDS.get(told["gpu"], told["gpu"]),
        host="public",
        engine_version=version,
        model=folder.name,
        params=told["flags"],
        memory={} if why else memory,
        failure=next((kind for said, kind in _FAILURES.items() if said in why), "unknown") if why else None,
        note="; ".join(text for text in (told["url"], told["note"], why) if text),
    )


def _is_size(value: object) -> bool:
    return isinstance(value, int | float) and value > 0


def show_starts(name: str, points: Sequence[Point]) -> None:
    predictor = Predictor(points)
    pairs = [(point, predictor.plain(point)) for point in points]
    rows = []
    for point, predicted in pairs:
        measured = point.memory.get("kv_cache_bytes")
        told = predicted.metrics.get("kv_cache_bytes")
        off = f"{told / measured - 1:+.1%}" if measured and told is not None else "-"
        cells = [f"{size / _GIB:.2f}" if size is not None else "-" for size in (measured, told)]
        said = predicted.failure or "starts"
        rows.append((point.model, point.gpu, point.engine_version, *cells, off, point.failure or "starts", said))
    table(
        f"{name}: the KV cache of one GPU, GiB",
        ("model", "card", "vLLM", "measured", "predicted", "off", "it did", "predicted"),
        rows,
    )
    found, right = errors(pairs, "KV GiB"), feasibility(pairs)
    wrongly = sum(point.failure is None and predicted.failure is not None for point, predicted in pairs)
    if found:
        middle, high = median(found), float(np.percentile(found, 90))
        number = f"{percent(middle)} and {percent(high)} of {len(found)}"
        console.print(verdict("KV GiB, median 0.5 % and 90th percentile 4 %", middle <= 0.005 and high <= 0.04, number))
    met = sum(right) >= 0.97 * len(right)
    console.print(verdict("starts or not right in 97 %", met, f"{sum(right)} of {len(right)}"))
    console.print(verdict("none that starts called impossible", wrongly == 0, f"{wrongly} were"))
