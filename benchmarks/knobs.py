"""Does the measurement see what two knobs do? The CPU engine, the demo model, 32 users; interleaved and repeated.

    python benchmarks/knobs.py ENGINE_PYTHON MODEL [REPEATS]

max_num_seqs 1 against 16: the batch limit. max_num_batched_tokens 64 against 2048: small chunks of the prompt keep tokens
coming (TPOT) and make a prompt wait (TTFT). Every launch is a fresh server; the order is shuffled in each round, so that the
machine's drift hits all alike. Prints each setting's median with its range, and whether the ranges overlap.
"""

import asyncio
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from tuner.launch.job import Job
from tuner.launch.vllm import VllmLauncher
from tuner.space.files import load_space
from tuner.study.trial import run_trial
from tuner.types import Lengths, Measured, Params, Workload
from tuner.workload.presets import load_workload

SHORT = load_workload("newton-32")
LONG = Workload(
    name="800-in-16-out",
    api="completions",
    users=32,
    input_tokens=Lengths(low=800, high=800),
    output_tokens=Lengths(low=16, high=16),
)


@dataclass(frozen=True)
class Case:
    """One setting under one workload."""

    name: str
    params: Params
    workload: Workload


CASES = (
    Case("max_num_seqs 1", {"max_num_seqs": 1}, SHORT),
    Case("max_num_seqs 16", {"max_num_seqs": 16}, SHORT),
    Case("max_num_batched_tokens 64", {"max_num_seqs": 32, "max_num_batched_tokens": 64}, LONG),
    Case("max_num_batched_tokens 2048", {"max_num_seqs": 32, "max_num_batched_tokens": 2048}, LONG),
)
COLUMNS = {"output_throughput": ("tok/s", 1.0), "ttft_p50_s": ("TTFT p50 ms", 1e3), "tpot_p50_s": ("TPOT p50 ms", 1e3)}


def measure(launcher: VllmLauncher, case: Case, log: Path) -> Measured:
    command = launcher.command(case.params)
    job = Job(launcher=launcher, command=command, workload=case.workload, gpus=(), log=log, salt=0)
    outcome = asyncio.run(run_trial(job, lambda _: None, lambda _: None))
    if not isinstance(outcome, Measured):
        raise SystemExit(f"{case.name}: {outcome.kind.value}: {outcome.message}")
    return outcome


def main(python: Path, model: Path, repeats: int) -> None:
    space, console = load_space("cpu"), Console(width=160)
    engine = VllmLauncher(python=python, model=str(model), fixed=space.fixed, environment=space.environment)
    found: dict[str, list[dict[str, float]]] = {case.name: [] for case in CASES}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(repeats):
            for case in random.Random(turn).sample(CASES, len(CASES)):
                values = measure(engine, case, Path(folder) / "log").metrics()
                found[case.name].append(values)
                console.print(turn, case.name, *(f"{values[m] * f:,.1f} {unit}" for m, (unit, f) in COLUMNS.items()))
    table = Table("setting", *(unit for unit, _ in COLUMNS.values()), title=f"median, and range, of {repeats} launches")
    for case in CASES:
        cells = [[values[metric] * factor for values in found[case.name]] for metric, (_, factor) in COLUMNS.items()]
        table.add_row(case.name, *(f"{median(c):,.1f} [{min(c):,.1f}-{max(c):,.1f}]" for c in cells))
    console.print(table)
    for a, b in (CASES[:2], CASES[2:]):
        for metric, (unit, _) in COLUMNS.items():
            left, right = ([values[metric] for values in found[case.name]] for case in (a, b))
            apart = max(left) < min(right) or max(right) < min(left)
            ratio = median(right) / median(left)
            console.print(
                f"{b.name} / {a.name}: {unit} x{ratio:.2f}, ranges {'apart' if apart else 'overlap: not resolved'}"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).resolve(), int(sys.argv[3]) if len(sys.argv) > 3 else 4)
