"""Defaults whose value is 0, as a goodput often is: no gain over them is a number, in words nor in JSON."""

import json
from pathlib import Path
from typing import Any

from commands import tuner

SPACE = "gpu: {names: []}\nparameters:\n  max_num_seqs: {type: int, low: 8, high: 64, step: 8}\n"


def strictly(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def run(folder: Path, *arguments: str) -> str:
    done = tuner(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def optimized(folder: Path, metric: str, *how: str) -> str:
    """What is printed."""
    values = {8: (0.0, 2.0), 16: (3.0, 0.2), 24: (2.0, 0.3)}
    lines = [
        {"params": {"max_num_seqs": n}, "metrics": {metric: value, "ttft_p99_s": late}, "is_default": n == 8}
        for n, (value, late) in values.items()
    ]
    (folder / "surface.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "space.yaml").write_text(SPACE)
    files = ("--surface", "surface.jsonl", "--space", "space.yaml")
    return run(folder, "optimize", "--study", "none", "--engine", "replay", *files, *how)


def test_one_objective(tmp_path: Path) -> None:
    said = optimized(tmp_path, "goodput", "--objective", "goodput", "--slo", "ttft_p99=500ms")
    assert "its goodput is 3.00 req/s instead of none" in " ".join(said.split())
    shown = strictly(run(tmp_path, "show", "none", "--json", "-"))
    assert (shown["gain"], shown["verdict"]["gain"]["gain"]) == (None, None)
    exported = run(tmp_path, "export", "none", "--format", "json")
    assert strictly(exported)["verdict"]["gain"]["gain"] is None
    texts = (said, exported, run(tmp_path, "export", "none"), run(tmp_path, "studies"))
    assert "more than vLLM's defaults, which have none, in goodput" in texts[2]
    assert "better: the defaults have none" in " ".join(texts[3].split())
    assert not any("inf%" in text or "inf %" in text for text in texts)


def test_a_front(tmp_path: Path) -> None:
    said = optimized(tmp_path, "output_throughput", "--objective", "throughput", "--objective", "ttft_p99")
    words = " ".join(said.split())
    assert "launched again, its throughput is 3.0 tok/s instead of none and its ttft_p99 is 90.0% lower" in words
    assert "inf%" not in words
    front = strictly(run(tmp_path, "show", "none", "--json", "-"))["front"]
    assert front
    assert all(point["objectives"]["output_throughput"]["gain"] is None for point in front)
    assert "instead of none" in run(tmp_path, "studies")
