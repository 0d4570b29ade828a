"""`tuner compare`: two servers or settings, measured in turn, and whether there is a difference."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Optional

import typer

from tuner.bench.comparison import Comparison, Side, interleaved
from tuner.bench.sides import Conditions, sides_of
from tuner.cli.bench import api_key, fresh_salt, progress, write
from tuner.cli.console import check_writable, errors, heed_signals, results, say
from tuner.cli.measurements import compared_table, mark_sentences, verdict_sentence
from tuner.cli.options import (
    FindRate,
    GpuIndex,
    Json,
    MaxWindow,
    Precision,
    RequestRate,
    Seed,
    Slos,
    Users,
    Warmup,
    Window,
    WorkloadName,
    option,
    workload_of,
)
from tuner.decide.confidence import LEAST_PAIRS
from tuner.decide.deciding import check_decides
from tuner.decide.objective import Objective, parse_objective
from tuner.decide.slo import check_limits, parse_slo
from tuner.errors import UsageError
from tuner.export.bench_json import Asked, comparison_json
from tuner.study.options import Options
from tuner.types import Mark
from tuner.workload.presets import workload_yaml

_DEFAULT = Options()
_SIDE = "URL of a running server, YAML file of `vllm serve --config`, or STUDY:TRIAL."


def compare(
    a: Annotated[str, typer.Argument(help=_SIDE)],
    b: Annotated[str, typer.Argument(help="The same.")],
    repeats: Annotated[
        int, option("repeats", f"How often each is measured; fewer than {LEAST_PAIRS} prove nothing.")
    ] = LEAST_PAIRS,
    objective: Annotated[
        str, option("objective", "throughput, requests, goodput, ttft_p99, tpot_p99, e2e_p99, ...")
    ] = _DEFAULT.objective,
    model: Annotated[
        Optional[str],  # noqa: UP045
        option("model", "Of a file that names none; of a URL that serves several."),
    ] = None,
    workload: WorkloadName = "chat",
    users: Users = None,
    request_rate: RequestRate = None,
    find_rate: FindRate = False,
    slo: Slos = None,
    warmup: Warmup = None,
    window: Window = None,
    max_window: MaxWindow = None,
    precision: Precision = None,
    seed: Seed = None,
    gpu_index: GpuIndex = None,
    gpu: Annotated[str, option("gpu", "For files: auto, cpu, t4, l4, ... (see `tuner spaces`).")] = _DEFAULT.gpu,
    vllm_python: Annotated[Optional[str], option("vllm-python", "Python with vLLM; default: found.")] = None,  # noqa: UP045
    storage: Annotated[str, option("storage", "Database URL of STUDY:TRIAL.")] = _DEFAULT.storage,
    startup_timeout: Annotated[
        float, option("startup-timeout", "Seconds a server may take to start.")
    ] = _DEFAULT.startup_timeout,
    log_dir: Annotated[Path, option("log-dir", "Folder of the servers' logs.")] = _DEFAULT.log_dir,
    cache_dir: Annotated[
        Optional[Path],  # noqa: UP045
        option("cache-dir", "Folder of compiled code, kept between launches; default: ~/.cache/tuner."),
    ] = None,
    json: Json = None,
) -> None:
    """Say whether B is faster than A, slower, or no different: both are measured in turn, in pairs.

    Files and trials are launched for each measurement, by `vllm serve`. The exit code is 1 if a measurement failed twice, or
    if the load generator was the limit.
    """
    heed_signals()
    if repeats < 1:
        raise UsageError(f"--repeats is {repeats} and must be at least 1")
    goal = parse_objective(objective)
    used = workload_of(
        workload,
        find_rate=find_rate,
        slo=slo,
        users=users,
        request_rate=request_rate,
        warmup=warmup,
        window=window,
        max_window=max_window,
        precision=precision,
        seed=seed,
    )
    asked = Asked(workload=used, yaml=workload_yaml(used), slos=tuple(parse_slo(text) for text in slo or ()))
    check_limits(goal, asked.slos)
    check_decides(used, goal)
    if json is not None and json != "-":
        check_writable("--json", Path(json))
    options = Options(
        gpu=gpu,
        vllm_python=vllm_python,
        storage=storage,
        startup_timeout=startup_timeout,
        log_dir=log_dir,
        cache_dir=cache_dir,
    )
    conditions = Conditions(
        workload=used,
        slos=tuple(asked.slos),
        objective=goal,
        model=model,
        api_key=api_key(),
        gpus=gpu_index,
        options=options,
    )
    _run((a, b), conditions, repeats, asked, goal, json)


def _run(
    names: tuple[str, str], conditions: Conditions, repeats: int, asked: Asked, objective: Objective, json: str | None
) -> None:
    """Whatever ends it, what was measured is shown."""
    sides: list[Side] = []
    found = Comparison()
    try:
        with progress() as tell:
            sides = sides_of(names, conditions, tell)
            for known in interleaved(sides[0], sides[1], repeats, fresh_salt(), tell):
                found = known
    except KeyboardInterrupt:
        errors.print(f"Interrupted after {found.pairs} of {repeats} pairs; no server that tuner started is left.")
        raise typer.Exit(130) from None
    finally:
        if found.a or found.b:
            _show(sides, found, asked, objective, json)
    if any(Mark.CLIENT_BOUND in measured.marks for measured in (*found.a, *found.b)):
        raise typer.Exit(1)


def _show(sides: Sequence[Side], found: Comparison, asked: Asked, objective: Objective, json: str | None) -> None:
    a, b = sides
    paired = found.paired(objective)
    console = errors if json == "-" else results
    say(console, f"A: {a.name}, model {a.model}\nB: {b.name}, model {b.model}\nworkload {asked.workload.name}\n")
    console.print(compared_table(found))
    console.print()
    for sentence in mark_sentences([*found.a, *found.b], asked.workload):
        say(console, sentence)
    say(console, verdict_sentence(found, paired, objective))
    text = comparison_json(
        found.a,
        found.b,
        asked,
        names=(a.name, b.name),
        models=(a.model, b.model),
        objective=objective,
        paired=paired,
        at=datetime.now(),
    )
    write(json, text)
