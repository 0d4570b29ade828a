"""vLLM's `bench serve` and GuideLLM, run as commands on a closed loop; what they report in one set of words.

Both are asked for random prompts of `input_tokens` and for `output_tokens` +- `spread` of them, whatever the model says.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from machine import Ended, run


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A closed loop of so many requests."""

    users: int
    requests: int
    output_tokens: int
    spread: float = 0.0
    input_tokens: int = 64
    model: str = "paced"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Reported:
    """Seconds and tokens per second by the names of tuner's metrics; `detail` is the whole report."""

    ended: Ended
    metrics: Mapping[str, float]
    detail: Mapping[str, Any]


class Peer(Protocol):
    """A load generator that is a command."""

    @property
    def name(self) -> str: ...

    def run(self, url: str, loop: Loop) -> Reported: ...


@dataclass(frozen=True, slots=True)
class VllmBench:
    """The `bench serve` of the engine's own environment."""

    python: Path
    tokenizer: Path
    name: str = "vllm bench serve"

    def run(self, url: str, loop: Loop) -> Reported:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            argv: list[str | Path] = [self.python.parent / "vllm", "bench", "serve", "--backend", "openai"]
            argv += ["--base-url", url, "--model", loop.model, "--tokenizer", self.tokenizer]
            argv += ["--dataset-name", "random", "--random-input-len", str(loop.input_tokens)]
            argv += ["--random-output-len", str(loop.output_tokens)]
            argv += ["--random-range-ratio", json.dumps({"input": 0.0, "output": loop.spread})]
            argv += ["--num-prompts", str(loop.requests), "--max-concurrency", str(loop.users)]
            argv += ["--seed", str(loop.seed)]
            argv += ["--ignore-eos", "--temperature", "0", "--percentile-metrics", "ttft,tpot,itl,e2el"]
            argv += ["--save-result", "--save-detailed", "--result-filename", report, "--disable-tqdm"]
            ended = run(argv)
            found = json.loads(report.read_text())
        names = [f"{metric}_{statistic}" for metric in ("ttft", "tpot", "e2el") for statistic in ("mean", "p99")]
        metrics = {f"{name}_s": found[f"{'_'.join(reversed(name.split('_')))}_ms"] / 1e3 for name in names}
        metrics |= {"output_throughput": found["output_throughput"], "failed": loop.requests - found["completed"]}
        return Reported(ended, metrics, found)


@dataclass(frozen=True, slots=True)
class GuideLLM:
    """`guidellm run`, version 0.8."""

    executable: Path
    tokenizer: Path
    name: str = "GuideLLM"

    def run(self, url: str, loop: Loop) -> Reported:
        least, most = (round(loop.output_tokens * (1 + sign * loop.spread)) for sign in (-1, 1))
        output = f"output_tokens={loop.output_tokens}"
        if loop.spread:  # a normal distribution this wide, cut off at both ends, is nearly uniform
            output += f",output_tokens_min={least},output_tokens_max={most},output_tokens_stdev={2 * (most - least)}"
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            argv: list[str | Path] = [self.executable, "run", "--disable-console"]
            argv += ["--backend", f"kind=openai_http,target={url},model={loop.model},request_format=/v1/completions"]
            argv += ["--profile", f"kind=concurrent,streams={loop.users}"]
            argv += ["--constraint", f"kind=max_requests,count={loop.requests}"]
            argv += ["--tokenizer", f"kind=hf_auto,model={self.tokenizer}"]
            argv += ["--data", f"kind=synthetic_text,prompt_tokens={loop.input_tokens},{output}"]
            argv += ["--output", f"kind=json,path={report}"]
            ended = run(argv)
            found = json.loads(report.read_text())["benchmarks"][0]["metrics"]
        words = {"ttft": "time_to_first_token_ms", "tpot": "inter_token_latency_ms"}  # its TPOT has the TTFT in it
        parts = {metric: (found[word]["successful"], 1e-3) for metric, word in words.items()}
        parts["e2el"] = (found["request_latency"]["successful"], 1.0)
        metrics = {f"{metric}_mean_s": part["mean"] * unit for metric, (part, unit) in parts.items()}
        metrics |= {f"{metric}_p99_s": part["percentiles"]["p99"] * unit for metric, (part, unit) in parts.items()}
        metrics["output_throughput"] = found["output_tokens_per_second"]["successful"]["mean"]
        metrics["failed"] = loop.requests - found["request_totals"]["successful"]
        return Reported(ended, metrics, found)
