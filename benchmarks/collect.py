"""What settings bring on one GPU: fixed loads, settings of all groups drawn at random, the defaults every few launches.

    python benchmarks/collect.py --model NAME=FOLDER --output FOLDER [--minutes 9] [--gpu-index 0] [--seed 0] [--loads 256]
                                 [--more long] [--pairs 6] [--varied 2] [--named FILE] [--fixed JSON]
    python benchmarks/collect.py --show FILE...

A round is a pair of launches of the defaults, one plain and one forked, in an order that alternates (as long as there are
`--pairs`; then one forked), one of `--named` (JSON lines of {"name", "params"}) in turn, and `--varied` drawn settings. Each
launch runs `--loads`, all but the plain ones and every other of the forked defaults `--more`, too, and answers some prompts
greedily, whose tokens are compared with those of the first defaults.

The output is a file a model and load, `GPU-NAME-LOAD.jsonl`, which `tuner optimize --engine replay --surface FILE` reads: one
line for each launch (docs/replay.md), with what else is known of it under `about`, where `half` is "test" or "train", by a hash
of its settings.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from statistics import mean, median
from typing import Any
from urllib.request import Request, urlopen

from rich.console import Console
from scipy.stats import ttest_rel

from tuner.errors import LaunchError
from tuner.launch.fork_server import ForkServer
from tuner.launch.interpreter import find_python
from tuner.launch.process import ProcessGroup
from tuner.launch.vllm import VllmLauncher
from tuner.measure.gpu import detect
from tuner.study.measurement import Watched, measure
from tuner.types import DetectedGpu, Endpoint, Failed, Lengths, Params, Value, Workload
from tuner.workload.presets import load_workload

console = Console(highlight=False, soft_wrap=True)
_SHORT, _LONG, _ANSWER = Lengths(low=64, high=448), Lengths(low=1000, high=3000), Lengths(low=32, high=224)
LOADS = {"32": (32, _SHORT), "256": (256, _SHORT), "1024": (1024, _SHORT), "long": (48, _LONG)}
#: Each group's settings. None: vLLM's default, which is not passed. What is there twice is drawn twice as often.
GROUPS: Mapping[str, Mapping[str, Sequence[Value | None]]] = {
    "batch": {
        "max_num_seqs": (None, 64, 128, 256, 512, 1024),
        "max_num_batched_tokens": (1024, 2048, 4096, None, 16384),
        "long_prefill_token_threshold": (None, None, None, 512),
    },
    "memory": {"quantization": (None, None, "fp8_per_tensor"), "kv_cache_dtype": (None, None, "fp8")},
    "graphs": {
        "enforce_eager": (None, None, None, None, None, None, None, True),
        "compilation_config.cudagraph_mode": (None, None, "FULL", "PIECEWISE", "FULL_DECODE_ONLY"),
        "max_cudagraph_capture_size": (128, None, 1024, 2048),
    },
    "front_end": {"stream_interval": (None, 4, 16), "api_server_count": (None, None, 2, 4)},
    "attention": {"attention_backend": (None, None, None, "TRITON_ATTN"), "block_size": (None, None, 32)},
}
#: What vLLM 0.25 to 0.32 make of those that the resolved configuration does not tell, on a card of this class.
_DEFAULTS: Params = {
    "quantization": "none",
    "long_prefill_token_threshold": 0,
    "compilation_config.cudagraph_mode": "FULL_AND_PIECEWISE",
    "max_cudagraph_capture_size": 512,
    "attention_backend": "none",
}
_TOLD = r"Model loading|KV cache|raph|compil|Free memory|profil|init engine|took .* s|OutOfMemory|ValueError|attention backend"
_PROMPTS, _ANSWER_TOKENS = 12, 32


@dataclass(frozen=True, slots=True)
class Point:
    """One launch to make. Empty params are the defaults."""

    name: str
    params: Params
    plain: bool = False
    briefly: bool = False


def drawn(draw: random.Random) -> Params:
    """Settings of all groups that can go together."""
    while True:
        every = {name: draw.choice(values) for group in GROUPS.values() for name, values in group.items()}
        found: dict[str, Value] = {name: value for name, value in every.items() if value is not None}
        tokens, eager = found.get("max_num_batched_tokens", 8192), "enforce_eager" in found
        graphs = {"compilation_config.cudagraph_mode", "max_cudagraph_capture_size"} & found.keys()
        if int(found.get("max_num_seqs", 1)) <= int(tokens) and not (eager and graphs):
            return found


def schedule(draw: random.Random, named: Sequence[Point], pairs: int, varied: int) -> Iterator[Point]:
    """Launches without an end."""
    turn = cycle(named)
    number = 0
    while True:
        both = [Point("defaults", {}, plain=True, briefly=True), Point("defaults", {}, briefly=bool(number % 2))]
        yield from (both[:: -1 if number % 2 else 1] if number < pairs else both[1:])
        yield from (next(turn) for _ in named[:1])
        yield from (Point("drawn", drawn(draw)) for _ in range(varied))
        number += 1


def workload(name: str) -> Workload:
    users, prompt = LOADS[name]
    window_s = 6.0
    return replace(
        load_workload("chat"),
        name=name,
        users=users,
        input_tokens=prompt,
        output_tokens=_ANSWER,
        warmup_s=2.0,
        window_s=window_s,
        max_window_s=window_s,
        precision=0.5,
        stall_s=60.0,
    )


class Collector:
    """Launches of one model on one GPU; what came of them is appended to files at once."""

    def __init__(
        self,
        cards: Sequence[DetectedGpu],
        engine: ForkServer,
        launcher: VllmLauncher,
        prefix: Path,
        loads: Sequence[str],
        more: Sequence[str],
    ) -> None:
        self._cards, self._engine, self._launcher, self._prefix = cards, engine, launcher, prefix
        self._loads, self._more = loads, more
        self._count = 0
        self._reference: list[list[int]] | None = None

    def launch(self, point: Point) -> None:
        resolved = self._engine.resolve(self._launcher.arguments(point.params))
        about: dict[str, object] = {"name": point.name, "start": "plain" if point.plain else "warm"}
        about["half"] = "test" if hashlib.sha256(_key(point.params).encode()).digest()[0] % 2 else "train"
        if isinstance(resolved, Failed):
            self._fail(point, about, resolved)
            return
        about |= {"resolved": dict(resolved.settings), "digest": resolved.digest, "compile_key": resolved.compile_key}
        log = self._prefix.with_suffix(f".{self._count}.log")
        self._count += 1
        asyncio.run(self._measure(point, resolved.settings, about, log))

    async def _measure(self, point: Point, resolved: Params, about: dict[str, object], log: Path) -> None:
        engine = None if point.plain else self._engine
        try:
            async with self._launcher.launch(self._launcher.command(point.params), log, lambda seen: None, engine) as (
                endpoint,
                group,
            ):
                about["log"] = _lines(log)
                about["greedy"] = await self._greedy(endpoint)
                for salt, name in enumerate([*self._loads, *(() if point.briefly else self._more)], 1):
                    await self._load(point, resolved, endpoint, group, name, salt, about)
        except LaunchError as error:
            self._fail(point, {**about, "log": _lines(log)}, error.failed)

    async def _load(
        self,
        point: Point,
        resolved: Params,
        endpoint: Endpoint,
        group: ProcessGroup,
        name: str,
        salt: int,
        about: Mapping[str, object],
    ) -> None:
        began_s = time.monotonic()
        watched = Watched(
            gpus=[card.index for card in self._cards],
            sessions=endpoint.sessions,
            alive=lambda: group.exit_code() is None,
        )
        found = await measure(endpoint, workload(name), salt=salt, watched=watched)
        metrics = found.metrics()
        line: dict[str, object] = {"params": point.params, "metrics": metrics, "startup_s": endpoint.startup_s}
        if not point.params:
            line |= {"params": _defaults(resolved), "is_default": True}
        line |= {
            "duration_s": time.monotonic() - began_s,
            "marks": [mark.value for mark in found.marks],
            "about": about,
        }
        self._write(name, line)
        told = {
            "tok/s": "output_throughput",
            "TTFT p50": "ttft_p50_s",
            "TPOT p50": "tpot_p50_s",
            "GPU": "gpu_utilization",
        }
        shown = {word: round(metrics[key], 4) for word, key in told.items() if key in metrics}
        self._say(point, about, name, f"{endpoint.startup_s:.1f} s", shown)

    def _fail(self, point: Point, about: Mapping[str, object], failed: Failed) -> None:
        self._say(point, about, "failed", failed.kind.value, failed.message)
        if failed.kind.is_of_the_settings:
            for name in [*self._loads, *self._more]:
                failure = {"kind": failed.kind.value, "message": failed.message}
                self._write(name, {"params": point.params, "failure": failure, "about": about})

    def _write(self, load: str, line: Mapping[str, object]) -> None:
        path = self._prefix.with_name(f"{self._prefix.name}-{load}.jsonl")
        if not path.exists():
            users, prompt = LOADS[load]
            text = f"{users} users, {prompt.low}-{prompt.high} tokens in, {_ANSWER.low}-{_ANSWER.high} out"
            head = {
                "gpu": next((card.name for card in self._cards), None),
                "model": self._prefix.name.partition("-")[2],
            }
            head |= {"engine_version": self._engine.info.version, "workload": text, "source": "benchmarks/collect.py"}
            path.write_text(json.dumps({"surface": head}) + "\n", encoding="utf-8")
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    async def _greedy(self, endpoint: Endpoint) -> Mapping[str, int]:
        """Of how many greedy tokens, one request after another, how many are those of the first launch of the defaults, up to
        the first that differs in each answer."""
        draw = random.Random(0)
        prompts = [[draw.randrange(300, 2000) for _ in range(64)] for _ in range(_PROMPTS)]
        answers = [await asyncio.to_thread(_answer, endpoint, prompt) for prompt in prompts]
        if self._reference is None:
            self._reference = answers
        same = [_common(one, other) for one, other in zip(answers, self._reference, strict=True)]
        return {"tokens": _PROMPTS * _ANSWER_TOKENS, "same": sum(same), "answers_alike": same.count(_ANSWER_TOKENS)}

    @staticmethod
    def _say(point: Point, about: Mapping[str, object], *words: object) -> None:
        console.print(
            time.strftime("%H:%M:%S"), point.name, about["start"], point.params, *words, about.get("greedy", "")
        )


def _answer(endpoint: Endpoint, prompt: Sequence[int]) -> list[int]:
    body = {"model": endpoint.model, "prompt": prompt, "temperature": 0, "max_tokens": _ANSWER_TOKENS}
    body |= {"ignore_eos": True, "return_token_ids": True}
    request = Request(
        f"{endpoint.base_url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urlopen(request, timeout=60) as response:
        tokens: list[int] = json.load(response)["choices"][0]["token_ids"]
        return tokens


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _defaults(resolved: Params) -> Params:
    """The defaults by name, of all that is drawn."""
    names = [name for group in GROUPS.values() for name in group]
    return {name: resolved.get(name, _DEFAULTS.get(name, "none")) for name in names}


def _key(params: Params) -> str:
    return json.dumps(params, sort_keys=True)


def _lines(log: Path) -> list[str]:
    """What vLLM says of its memory and its start, without the access log and progress bars."""
    text = log.read_text(errors="replace").split("Application startup complete")[0] if log.exists() else ""
    return [line[:300] for line in text.splitlines() if re.search(_TOLD, line) and "Capturing" not in line]


def show(paths: Sequence[Path]) -> None:
    """The medians of each setting, and forked against plain launches of the defaults, in pairs of their order."""
    for path in paths:
        lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()[1:]]
        measured = [line for line in lines if "metrics" in line]
        console.print(f"\n{path.name}: {len(measured)} measured, {len(lines) - len(measured)} failed")
        groups = defaultdict[str, list[Any]](list)
        for line in measured:
            groups["defaults" if line.get("is_default") else _key(line["params"])].append(line)
        for key, some in sorted(
            groups.items(), key=lambda item: -median(o["metrics"]["output_throughput"] for o in item[1])
        ):
            rows = [o["metrics"] for o in some]
            columns = ("output_throughput", "ttft_p50_s", "tpot_p50_s", "gpu_utilization")
            cells = [f"{median(row.get(name, 0.0) for row in rows):,.3f}" for name in columns]
            alike = median(o["about"]["greedy"]["same"] / o["about"]["greedy"]["tokens"] for o in some)
            console.print(f"{len(some)}x", *cells, f"{alike:.0%} greedy", key)
        starts = {
            start: [o["metrics"]["output_throughput"] for o in groups["defaults"] if o["about"]["start"] == start]
            for start in ("plain", "warm")
        }
        pairs = list(zip(starts["warm"], starts["plain"], strict=False))
        if len(pairs) > 1:
            test = ttest_rel(*zip(*pairs, strict=True))
            low, high = test.confidence_interval(0.95)
            base = mean(plain for _, plain in pairs)
            difference = mean(warm - plain for warm, plain in pairs)
            told = f"{difference / base:+.1%} [{low / base:+.1%}, {high / base:+.1%}]"
            console.print(f"forked against plain, {len(pairs)} pairs: {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", type=Path, nargs="+")
    parser.add_argument("--model", help="NAME=FOLDER")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--gpu-index", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--loads", type=lambda text: text.split(","), default=["256"])
    parser.add_argument("--more", type=lambda text: text.split(","), default=[])
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--varied", type=int, default=2)
    parser.add_argument("--named", type=Path)
    parser.add_argument("--fixed", type=json.loads, default={})
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.show:
        show(arguments.show)
        return
    if not arguments.model or not arguments.output:
        parser.error("--model and --output are needed")
    name, _, folder = arguments.model.partition("=")
    cards = [card for card in detect() if card.index == arguments.gpu_index]
    if cards:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(arguments.gpu_index)
    card = (cards[0].name if cards else "cpu").split()
    arguments.output.mkdir(parents=True, exist_ok=True)
    prefix = arguments.output / f"{next((word for word in card if word[1:].isdigit()), card[0]).lower()}-{name}"
    named = []
    if arguments.named:
        rows = map(json.loads, arguments.named.read_text(encoding="utf-8").splitlines())
        named = [Point(row["name"], row["params"]) for row in rows]
    end_s, python = time.monotonic() + arguments.minutes * 60, find_python(None)
    fixed = {"load_format": "dummy", "max_model_len": 4096, **arguments.fixed}
    launcher = VllmLauncher(python=python, model=folder, fixed=fixed, caches=_caches(arguments.output))
    with ForkServer(python, {}) as engine:
        collector = Collector(cards, engine, launcher, prefix, arguments.loads, arguments.more)
        for point in schedule(random.Random(arguments.seed), named, arguments.pairs, arguments.varied):
            if time.monotonic() > end_s:
                break
            collector.launch(point)


def _caches(folder: Path) -> dict[str, str]:
    """Shared by all launches, as those of a study are."""
    return {
        name: str(folder / "cache" / name)
        for name in ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    }


if __name__ == "__main__":
    main()
