"""Measured points of one GPU for the model of a server (tuner/predict): settings and loads drawn at random, one JSON a line.

    python benchmarks/collect.py --models DIR... --output FILE [--gpu-index 0] [--minutes 8] [--memory N] [--seed 0]

Each launch takes random settings and is loaded one after another with several workloads; `--memory N` launches before them only
start, with small and large budgets, to see what fits. A point is {"model", "params", "resolved", "environment", "start", "log",
"workload", "metrics"}, or has "failure" instead of metrics; `log` holds vLLM's own lines about memory and start-up.
"""

import argparse
import asyncio
import json
import os
import random
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from tuner.errors import LaunchError
from tuner.launch.fork_server import ForkServer
from tuner.launch.interpreter import find_python
from tuner.launch.process import ProcessGroup
from tuner.launch.vllm import VllmLauncher
from tuner.measure.gpu import detect
from tuner.study.measurement import Watched, measure
from tuner.types import Endpoint, Failed, Lengths, Params, Value, Workload
from tuner.workload.presets import load_workload

console = Console(highlight=False, soft_wrap=True)
_MEMORY_LINES = (
    r"Model loading took|KV cache|raph|compil|Initial free|Free memory|profil|non_torch|init engine|took .* s|OutOfMemory"
    r"|ValueError|max_model_len|Asynchronous|attention backend|Using"
)
_SHORT, _LONG, _ANSWER = Lengths(low=64, high=448), Lengths(low=1000, high=3000), Lengths(low=32, high=224)


def workloads(draw: random.Random) -> Iterator[Workload]:
    """A light load, a heavy one and one of long prompts, with users drawn anew."""
    base = replace(load_workload("chat"), warmup_s=3.0, window_s=7.0, max_window_s=7.0, precision=0.5, stall_s=40.0)
    sizes = {"light": (1, 4, 16, 32), "heavy": (64, 128, 256, 512, 1024), "long": (1, 8, 32, 96)}
    for name, users in sizes.items():
        prompt = _LONG if name == "long" else _SHORT
        yield replace(base, name=name, users=draw.choice(users), input_tokens=prompt, output_tokens=_ANSWER)


def settings(draw: random.Random, *, memory: bool) -> Params:
    tokens = draw.choice((512, 1024, 2048, 4096, 8192, 16384))
    found: dict[str, Value] = {
        "max_num_batched_tokens": tokens,
        "max_num_seqs": min(tokens, draw.choice((8, 16, 32, 64, 128, 256, 512, 1024))),
        "gpu_memory_utilization": round(draw.choice((0.06, 0.1, 0.13, 0.15, 0.2, 0.3, 0.6, 0.92)), 3)
        if memory
        else draw.choice((0.15, 0.17, 0.2, 0.3, 0.9, 0.9)),
        "quantization": draw.choice(("none", "none", "fp8_per_tensor")),
        "kv_cache_dtype": draw.choice(("auto", "auto", "fp8")),
        "enforce_eager": draw.random() < (0.5 if memory else 0.2),
        "stream_interval": draw.choice((1, 1, 4, 16)),
        "api_server_count": 1 if memory else draw.choice((1, 1, 1, 2)),
        "max_model_len": draw.choice((4096, 4096, 16384)) if memory else 4096,
    }
    return found


class Collector:
    """Launches on one GPU, and appends what came of them to a file at once."""

    def __init__(self, gpu: int, engine: ForkServer, python: Path, output: Path, folder: Path) -> None:
        self._gpu, self._engine, self._python, self._output, self._folder = gpu, engine, python, output, folder
        self._card = next(card for card in detect() if card.index == gpu)
        self._count = 0

    def point(self, model: Path, params: Params, loads: list[Workload], environment: dict[str, str]) -> None:
        engine = VllmLauncher(python=self._python, model=str(model), fixed={"load_format": "dummy"})
        known = {
            "gpu": self._card.name,
            "engine_version": self._engine.info.version,
            "model": model.name,
            "params": dict(params),
            "environment": environment,
        }
        resolved = self._engine.resolve(engine.arguments(params))
        if isinstance(resolved, Failed):
            self._write({**known, "failure": {"kind": resolved.kind.value, "message": resolved.message}})
            return
        log = self._folder / f"{self._count}.log"
        self._count += 1
        asyncio.run(self._launch(engine, params, log, loads, {**known, "resolved": dict(resolved)}))

    async def _launch(
        self, launcher: VllmLauncher, params: Params, log: Path, loads: list[Workload], known: dict[str, object]
    ) -> None:
        try:
            async with launcher.launch(launcher.command(params), log, lambda seen: None, self._engine) as (
                endpoint,
                group,
            ):
                known |= {"start": endpoint.start, "startup_s": endpoint.startup_s, "log": _lines(log)}
                if not loads:
                    self._write(known)
                for salt, load in enumerate(loads, 1):
                    await self._load(endpoint, group, load, salt, known)
        except LaunchError as error:
            failure = {"kind": error.failed.kind.value, "message": error.failed.message}
            self._write({**known, "log": _lines(log), "failure": failure})

    async def _load(
        self, endpoint: Endpoint, group: ProcessGroup, load: Workload, salt: int, known: dict[str, object]
    ) -> None:
        watched = Watched(gpus=[self._gpu], session=endpoint.session, alive=lambda: group.exit_code() is None)
        told = {"name": load.name, "users": load.users, "input_tokens": asdict(load.input_tokens)}
        told |= {"output_tokens": asdict(load.output_tokens)}
        try:
            found = await measure(endpoint, load, salt=salt, watched=watched)
        except LaunchError as error:
            failure = {"kind": error.failed.kind.value, "message": error.failed.message}
            self._write({**known, "workload": told, "failure": failure})
            return
        marks = [mark.value for mark in found.marks]
        self._write({**known, "workload": told, "metrics": found.metrics(), "marks": marks})

    def _write(self, point: dict[str, object]) -> None:
        with self._output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")
        told = point.get("failure") or {
            name: round(value, 4)
            for name, value in (point.get("metrics") or {}).items()  # type: ignore[attr-defined]
            if name in ("output_throughput", "ttft_p50_s", "tpot_p50_s", "kv_cache_tokens")
        }
        console.print(time.strftime("%H:%M:%S"), point["model"], point["params"], point.get("workload", ""), told)


def _lines(log: Path) -> list[str]:
    """What vLLM says of its memory and its start, without the access log and progress bars."""
    if not log.exists():
        return []
    text = log.read_text(errors="replace").split("Application startup complete")[0]
    return [line[:600] for line in text.splitlines() if re.search(_MEMORY_LINES, line) and "Capturing" not in line]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/collect"))
    parser.add_argument("--gpu-index", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--memory", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = str(arguments.gpu_index)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    end_s, draw = time.monotonic() + arguments.minutes * 60, random.Random(arguments.seed)
    environment = {"VLLM_LOGGING_LEVEL": "DEBUG"} if arguments.memory else {}
    python = find_python(None)
    with ForkServer(python, environment) as engine:
        collector = Collector(arguments.gpu_index, engine, python, arguments.output, arguments.folder)
        number = 0
        while time.monotonic() < end_s and (not arguments.memory or number < arguments.memory):
            params = settings(draw, memory=bool(arguments.memory))
            model = arguments.models[number % len(arguments.models)]
            loads = [] if arguments.memory else list(workloads(draw))
            collector.point(model, params, loads, environment)
            number += 1


if __name__ == "__main__":
    main()
