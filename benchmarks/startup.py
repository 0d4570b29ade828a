"""What a launch costs: servers forked from a process that has vLLM imported (warm) against `vllm serve` (plain), paired.

    python benchmarks/startup.py --vllm-python PYTHON --model MODEL [--gpu cpu] [--rounds 5] [--trials 4] [--users N] ...

Each round starts both in shuffled order with the same settings, loads both alike, and stops them; one launch of each, before
the first round, fills the caches and is not counted. Then vLLM is asked to resolve settings, and a short study is run for what
tuner itself adds to a trial. Prints medians with their ranges, and the ratio of each pair.
"""

import argparse
import asyncio
import random
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuner.launch.fork_server import ForkServer
from tuner.launch.interpreter import find_python
from tuner.launch.job import Job
from tuner.measure.gpu import detect
from tuner.record.store import Store
from tuner.study.loop import run_study
from tuner.study.options import Options
from tuner.study.setup import Setup, choose_space, make_setup
from tuner.study.trial import run_trial
from tuner.types import Failed, Params, Proposal, Trial, Underway

console = Console(width=150, highlight=False)
#: What vLLM itself says of its start, in seconds.
STAGES = {
    "weights": r"Loading weights took ([\d.]+) s",
    "compile": r"torch\.compile (?:takes|took) ([\d.]+) s",
    "graphs": r"Graph capturing finished in ([\d.]+) sec",
    "engine": r"init engine .* took ([\d.]+) s",
}
#: Settings of the rounds: each resolves to another batch, so a study's launches are like them.
ROUNDS: Sequence[Params] = ({}, {"max_num_seqs": 64}, {"max_num_seqs": 128}, {"max_num_seqs": 32}, {"max_num_seqs": 96})


def launch(setup: Setup, params: Params, engine: ForkServer | None, log: Path) -> dict[str, float]:
    """Start, load, stop; seconds and tokens per second by name."""
    times: list[tuple[str, float]] = []
    job = Job(
        launcher=setup.launcher,
        command=setup.launcher.command(params),
        workload=setup.workload,
        gpus=setup.gpus,
        log=log,
        salt=0,
        engine=engine,
    )
    starts: list[str] = []
    began_s = time.monotonic()
    outcome = asyncio.run(
        run_trial(
            job,
            lambda seen: starts.append(seen.start),
            lambda phase: times.append((phase, time.monotonic() - began_s)),
            console.print,
        )
    )
    ended_s = time.monotonic() - began_s
    if isinstance(outcome, Failed):
        raise SystemExit(f"{outcome.kind.value}: {outcome.message}\n{outcome.log_tail}")
    assert set(starts) == {"warm" if engine else "plain"}, starts
    text = log.read_text(errors="replace")
    stages = {name: float(found[1]) for name, pattern in STAGES.items() if (found := re.search(pattern, text))}
    return {
        "ready": outcome.startup_s,
        **stages,
        "rest": outcome.startup_s - stages.get("engine", 0.0) - stages.get("weights", 0.0),
        "stop": ended_s - dict(times)["stopping vLLM"],
        "tok/s": outcome.load.output_throughput,
        "TTFT p50 ms": outcome.load.ttft_s.p50 * 1e3,
    }


def compare(setup: Setup, engine: ForkServer, rounds: int, folder: Path) -> None:
    found: dict[str, list[Mapping[str, float]]] = {"plain": [], "warm": []}
    for turn in range(-1, rounds):
        for name in random.Random(turn).sample(sorted(found), 2):
            params = ROUNDS[max(turn, 0) % len(ROUNDS)]
            values = launch(setup, params, engine if name == "warm" else None, folder / f"{turn}-{name}.log")
            shown = ", ".join(f"{key} {value:.1f}" for key, value in values.items())
            console.print(f"{'not counted' if turn < 0 else f'round {turn}'}, {name} {params or 'defaults'}: {shown}")
            if turn >= 0:
                found[name].append(values)
    table = Table(
        "", "plain", "warm", "warm / plain of each pair", title=f"medians [range] of {rounds} launches each; s"
    )
    for key in found["warm"][0]:
        pairs = [(a[key], b[key]) for a, b in zip(found["plain"], found["warm"], strict=True) if key in a and key in b]
        plain, warm = zip(*pairs, strict=True)
        ratios = [b / a for a, b in pairs if a]
        cells = [spread(plain), spread(warm), spread(ratios, 3) if ratios else "-"]
        table.add_row(key, *(Text(cell) for cell in cells))
    console.print(table)


def resolve(setup: Setup, engine: ForkServer) -> None:
    engine.resolve(setup.launcher.arguments({}))
    taken = []
    for number in range(50):
        params: Params = {"max_num_seqs": 1 + number, "max_num_batched_tokens": 64 + number}
        began_s = time.monotonic()
        engine.resolve(setup.launcher.arguments(params))
        taken.append((time.monotonic() - began_s) * 1e3)
    console.print(f"resolve: {spread(taken)} ms a proposal, after the first")


class Clock:
    """A Watch that notes when trials begin, run and end."""

    def __init__(self) -> None:
        self.overheads: list[float] = []
        self._launched_s = self._kept_s = self._ended_s = time.monotonic()

    def phase(self, name: str, trial: int | None = None) -> None:
        if name == "starting vLLM":
            self._launched_s = time.monotonic()
        if name == "keeping the trial":
            self._kept_s = time.monotonic()

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        before_s, self._ended_s = self._ended_s, time.monotonic()
        self.overheads.append((self._launched_s - before_s) + (self._ended_s - self._kept_s))

    def trial_begins(self, proposal: Proposal, of: int) -> None: ...
    def study_continues(self, finished: Sequence[Trial], best: Trial | None) -> None: ...
    def underway(self, state: Underway, trial: int | None = None) -> None: ...
    def verification_begins(self, role: str, launch: int, of: int) -> None: ...
    def note(self, text: str) -> None: ...
    def detail(self, text: str) -> None: ...


def overhead(setup: Setup, engine: ForkServer, trials: int, folder: Path) -> None:
    store, clock = Store.open(f"sqlite:///{folder / 'x.db'}"), Clock()
    run_study(replace(setup, trials=trials, verify=0, logs=folder), store, engine, clock)
    store.close()
    console.print(f"tuner's own part of a trial: {spread(clock.overheads[1:], 3)} s, of {trials - 1} trials")


def spread(values: Sequence[float], decimals: int = 1) -> str:
    return f"{median(values):,.{decimals}f} [{min(values):,.{decimals}f}-{max(values):,.{decimals}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, kind in (("model", str), ("vllm-python", str), ("gpu", str), ("workload", str), ("max-model-len", int)):
        parser.add_argument(f"--{name}", type=kind)
    for name, kind, default in (
        ("users", int, 8),
        ("warmup", float, 2),
        ("window", float, 5),
        ("precision", float, 0.1),
    ):
        parser.add_argument(f"--{name}", type=kind, default=default)
    parser.add_argument("--engine-arg", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=4)
    arguments = vars(parser.parse_args())
    rounds, trials = arguments.pop("rounds"), arguments.pop("trials")
    options = Options(**{name: value for name, value in arguments.items() if value is not None})
    detected = detect()
    space, python = choose_space(options, detected), find_python(options.vllm_python)
    with tempfile.TemporaryDirectory() as name, ForkServer(python, space.environment) as engine:
        setup = make_setup(replace(options, cache_dir=Path(name, "cache")), space, python, engine.info, detected)
        console.print(
            f"vLLM {engine.info.version}, imported once in {engine.info.import_s:.1f} s; {setup.fingerprint.host}"
        )
        began_s = time.monotonic()
        engine.resolve(setup.launcher.arguments({}))
        console.print(f"resolve: {time.monotonic() - began_s:.1f} s for the first proposal")
        compare(setup, engine, rounds, Path(name))
        resolve(setup, engine)
        if trials > 1:
            overhead(setup, engine, trials, Path(name))


if __name__ == "__main__":
    main()
