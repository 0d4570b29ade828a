"""`tuner optimize`: the main job."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.table import Table

from tuner.cli.answer import answer_text, comparison_table
from tuner.cli.config import read_config
from tuner.cli.console import errors, heed_signals, results, say
from tuner.cli.display import TerminalWatch, trials_table
from tuner.cli.options import MaxWindow, Precision, RequestRate, Slos, Users, Warmup, Window, WorkloadName, option
from tuner.decide.objective import Objective, parse_objective
from tuner.decide.rank import rank
from tuner.decide.verdict import Decision
from tuner.export.unreal import unreal_sentence
from tuner.record.store import Store
from tuner.study.engines import set_up
from tuner.study.loop import run_study
from tuner.study.options import Options, check
from tuner.study.setup import Setup
from tuner.study.verification import launched_again
from tuner.types import Mark, Measured, Trial

_DEFAULT = Options()


def optimize(
    context: typer.Context,
    config: Annotated[
        Optional[Path],  # noqa: UP045  Typer reads the annotation
        typer.Option(
            help="YAML with any of these options.", callback=read_config, is_eager=True, envvar="TUNER_CONFIG"
        ),
    ] = None,
    engine: Annotated[
        str, option("engine", "vllm; sim: a simulation of it; replay: recorded measurements.")
    ] = _DEFAULT.engine,
    surface: Annotated[Optional[Path], option("surface", "The measurements that --engine replay answers from.")] = None,  # noqa: UP045
    gpu: Annotated[
        str, option("gpu", "Search space by GPU: auto, cpu, t4, l4, ... (see `tuner spaces`).")
    ] = _DEFAULT.gpu,
    model: Annotated[str, option("model", "Folder or hub name of the model.")] = _DEFAULT.model,
    trials: Annotated[int, option("trials", "Launches to measure, the defaults included.")] = _DEFAULT.trials,
    workload: WorkloadName = _DEFAULT.workload,
    users: Users = None,
    request_rate: RequestRate = None,
    warmup: Warmup = None,
    window: Window = None,
    max_window: MaxWindow = None,
    precision: Precision = None,
    objective: Annotated[
        str, option("objective", "throughput, requests, goodput, ttft_p99, tpot_p99, e2e_p99, ...")
    ] = _DEFAULT.objective,
    slo: Slos = None,
    study: Annotated[Optional[str], option("study", "Name; default: gpu-model-workload.")] = None,  # noqa: UP045
    storage: Annotated[str, option("storage", "Database URL, SQLite or PostgreSQL.")] = _DEFAULT.storage,
    space: Annotated[Optional[Path], option("space", "Your own search space, instead of --gpu's.")] = None,  # noqa: UP045
    force_gpu: Annotated[bool, option("force-gpu", "Go on although the card is another.")] = False,
    max_model_len: Annotated[
        Optional[int],  # noqa: UP045
        option("max-model-len", "Longest prompt plus answer to serve; default: the model's."),
    ] = None,
    quantized_model: Annotated[
        Optional[list[str]],  # noqa: UP045
        option("quantized-model", "A quantized checkpoint to try too, e.g. awq=PATH_OR_REPO. Repeatable."),
    ] = None,
    engine_arg: Annotated[
        Optional[list[str]],  # noqa: UP045
        option("engine-arg", "A vLLM argument of every trial, e.g. tensor_parallel_size=2. Repeatable."),
    ] = None,
    vllm_python: Annotated[Optional[str], option("vllm-python", "Python with vLLM; default: found.")] = None,  # noqa: UP045
    start: Annotated[
        str, option("start", "warm: fork servers from one process that has vLLM imported; plain: vllm serve.")
    ] = _DEFAULT.start,
    startup_timeout: Annotated[
        float, option("startup-timeout", "Seconds a server may take to start.")
    ] = _DEFAULT.startup_timeout,
    trial_timeout: Annotated[
        Optional[float],  # noqa: UP045
        option("trial-timeout", "Seconds a launch may take, its load included."),
    ] = None,
    max_hours: Annotated[
        Optional[float],  # noqa: UP045
        option("max-hours", "Hours this run may take; what would not end in time is not begun."),
    ] = None,
    verify: Annotated[int, option("verify", "Times to launch winner and defaults again.")] = _DEFAULT.verify,
    seed: Annotated[int, option("seed", "Of the sampler and of the prompts.")] = _DEFAULT.seed,
    log_dir: Annotated[Path, option("log-dir", "Folder of the servers' logs.")] = _DEFAULT.log_dir,
    cache_dir: Annotated[
        Optional[Path],  # noqa: UP045
        option("cache-dir", "Folder of compiled code, kept between trials; default: ~/.cache/tuner."),
    ] = None,
) -> None:
    """Find the best launch settings: start vLLM with each, load it, measure it, and keep everything.

    Running the same command again continues an interrupted study.
    """
    options = Options(
        engine=engine,
        surface=surface,
        gpu=gpu,
        model=model,
        trials=trials,
        workload=workload,
        users=users,
        request_rate=request_rate,
        warmup=warmup,
        window=window,
        max_window=max_window,
        precision=precision,
        objective=objective,
        slo=tuple(slo or ()),
        study=study,
        storage=storage,
        space=space,
        force_gpu=force_gpu,
        max_model_len=max_model_len,
        quantized_model=tuple(quantized_model or ()),
        engine_arg=tuple(engine_arg or ()),
        vllm_python=vllm_python,
        start=start,
        startup_timeout=startup_timeout,
        trial_timeout=trial_timeout,
        max_hours=max_hours,
        verify=verify,
        seed=seed,
        log_dir=log_dir,
        cache_dir=cache_dir,
    )
    heed_signals()
    try:
        _run(options)
    except KeyboardInterrupt:
        errors.print(
            "Interrupted: the server is stopped and every finished trial is kept. Run the same command to go on."
        )
        raise typer.Exit(130) from None


def _run(options: Options) -> None:
    check(options)
    planned = set_up(options, lambda text: say(errors, text))
    store = Store.open(options.storage)
    try:
        with planned as (setup, engine):
            _print_settings(replace(options, storage=store.name), setup)
            with TerminalWatch(errors, setup.objective, setup.trials, setup.fingerprint.unreal) as watch:
                found = run_study(setup, store, engine, watch)
        print_result(store, setup.study, found)
        if found.chosen is None:
            raise typer.Exit(1)
    finally:
        store.close()


def _print_settings(options: Options, setup: Setup) -> None:
    """Every setting with the value that is used, defaults included."""
    longest = setup.space.fixed.get("max_model_len")
    used = replace(
        options,
        gpu=setup.space.name,
        model=setup.launcher.model,
        study=setup.study,
        users=setup.workload.users,
        request_rate=setup.workload.request_rate,
        warmup=setup.workload.warmup_s,
        window=setup.workload.window_s,
        max_window=setup.workload.max_window_s,
        precision=setup.workload.precision,
        vllm_python=str(setup.launcher.python),
        max_model_len=int(longest) if longest is not None else None,
        cache_dir=setup.caches.folder,
    )
    sentence = unreal_sentence(setup.fingerprint)
    if sentence is not None:
        used = replace(used, start="plain", cache_dir=None)
    table = Table(box=None, show_header=False, pad_edge=False, title=sentence, title_justify="left")
    for name, value in asdict(used).items():
        shown = ", ".join(value) if isinstance(value, tuple) else value
        table.add_row(name.replace("_", "-"), "-" if shown in (None, "") else str(shown))
    version = setup.fingerprint.engine_version
    known = (
        f"vLLM {version}, {setup.fingerprint.gpu or 'CPU'}"
        if sentence is None
        else f"{version}, {setup.fingerprint.host}"
    )
    table.add_row("engine version", known)
    errors.print(table)


def print_result(store: Store, name: str, found: Decision) -> None:
    """The trials, the before/after table and the answer, on stdout."""
    record = store.study(name)
    objective, unreal = parse_objective(record.objective), record.fingerprint.unreal
    results.print(
        trials_table(
            store.trials(name), found.chosen.number if found.chosen else None, unreal_sentence(record.fingerprint)
        )
    )
    if (after := _beside_the_defaults(store.trials(name), found, objective)) and found.defaults:
        results.print()
        results.print(comparison_table(found.defaults, after, launched_again(store, name), unreal))
    results.print()
    results.print(answer_text(found, objective, unreal), soft_wrap=True, highlight=False)
    bound = [
        t.number for t in store.trials(name) if isinstance(t.outcome, Measured) and Mark.CLIENT_BOUND in t.outcome.marks
    ]
    if bound:
        trials = ", ".join(map(str, bound))
        results.print(
            f"The load generator was the limit in trial {trials}: the server may do better there.", highlight=False
        )
    if found.chosen:
        results.print(f"Export it: tuner export {name} --format command|yaml|json", highlight=False, soft_wrap=True)


def _beside_the_defaults(trials: Sequence[Trial], found: Decision, objective: Objective) -> Trial | None:
    """The winner; where that is the defaults, the best of the others."""
    if found.winner is not found.defaults:
        return found.winner
    return next((trial for trial in rank(trials, objective) if not trial.is_default), None)
