"""`tuner plan`: what a model of a vLLM server says of a card, a model and a workload. Nothing is launched."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tuner.cli.console import check_writable, errors, results, say, write_file
from tuner.cli.predictions import (
    answer_sentence,
    change_sentence,
    error_sentence,
    interval_table,
    limit_sentence,
    load_table,
    memory_sentence,
    memory_table,
    region_sentence,
    region_table,
    slo_sentence,
)
from tuner.cli.tables import prose, show
from tuner.decide.objective import parse_objective, the_only
from tuner.decide.slo import parse_slos
from tuner.errors import UsageError
from tuner.interrupts import heed_signals
from tuner.measure.gpu import detect
from tuner.predict.advise.advice import Advice, Answer, advise
from tuner.predict.advise.case import Case, Tell
from tuner.predict.advise.plan_json import plan_json
from tuner.predict.settings import LATEST, NOT_PREDICTED
from tuner.predict.shape import read_shape
from tuner.sim.arguments import known_arguments
from tuner.space.engines import ENGINES
from tuner.space.files import load_space, shipped_spaces
from tuner.space.search_space import ALL
from tuner.study.checks import check, engine_arguments, measured_workload, quantized_models
from tuner.study.options import Options
from tuner.study.setup import choose_space, price_per_hour
from tuner.types import Workload
from tuner.workload.arrivals import schedule
from tuner.workload.presets import workload_yaml

#: A prediction plays two requests of each through, of every candidate; it takes 10 ms a user.
MAX_USERS = 5_000


def run(options: Options, *, find_rate: bool, seed: int | None, json: str | None) -> None:
    """Predict, and show what is predicted."""
    heed_signals()
    options = replace(options, force_gpu=True)  # the card need not be here
    the_only(options.objective, "`tuner plan`")
    check(options, is_measured=False)
    if json is not None and json != "-":
        check_writable("--json", Path(json))
    used = measured_workload(options, seed=seed, find_rate=find_rate)
    if used.users is not None and used.users > MAX_USERS:
        raise UsageError(
            f"{used.users:,} users are more than `tuner plan` plays through in a minute: give {MAX_USERS:,} or fewer (beyond"
            " what a card takes at once they only wait), or --request-rate"
        )
    case = _case(options, used)
    with progress() as tell:
        advice = advise(case, [load_space(name) for name in shipped_spaces()], tell)
    _print(advice, case, options.model, options.price, to_stdout=json != "-")
    if json is not None:
        workload, price = workload_yaml(used), options.price
        text = plan_json(advice, case, model=options.model, workload=workload, price_per_gpu_hour=price)
        if json == "-":
            typer.echo(text, nl=False)
        else:
            write_file("--json", Path(json), text)
    if advice.answer is Answer.NOTHING:
        raise typer.Exit(1)


def _case(options: Options, workload: Workload) -> Case:
    """Raises UsageError."""
    if unknown := sorted(engine_arguments(options).keys() - known_arguments() - NOT_PREDICTED - {ENGINES}):
        raise UsageError(f"--engine-arg {unknown[0]}: the prediction does not know this argument: leave it out")
    if options.groups is None:
        options = replace(options, groups=ALL)  # a prediction costs next to nothing
    space = choose_space(options, detect() if options.gpu == "auto" and options.space is None else ())
    found = Case(
        space=space,
        shape=read_shape(_folder(options.model)),
        workload=workload,
        objective=parse_objective(options.objective[0], price_per_hour(options, space)),
        slos=parse_slos(options.slo),
    )
    found.check()
    return replace(
        found,
        quantized={name: read_shape(_folder(path)) for name, path in quantized_models(options).items()},
        arrivals=tuple(arrival.offset_s for arrival in schedule(workload)) if workload.trace else None,
    )


def _folder(model: str) -> str:
    path = Path(model).expanduser()
    return str(path) if path.is_dir() else model


def _print(advice: Advice, case: Case, model: str, price: float | None, *, to_stdout: bool) -> None:
    console = results if to_stdout else errors
    prose(
        console,
        f"PREDICTED, nothing was launched: {model} on {case.card}, vLLM {LATEST[0]}.{LATEST[1]},"
        f" workload {case.workload.name}, {_load(case.workload)}",
    )
    console.print()
    prose(console, region_sentence(advice, case))
    show(console, region_table(advice))
    for table in (memory_table(advice), load_table(advice, price), interval_table(advice, case)):
        console.print()
        show(console, table)
    console.print()
    named = {"defaults": advice.defaults, **({"best": advice.best} if advice.best else {})}
    sentences = [
        *(memory_sentence(name, candidate, case) for name, candidate in named.items()),
        *(limit_sentence(name, candidate, case.objective) for name, candidate in named.items()),
        *(slo_sentence(slo, advice) for slo in case.slos),
        "",
        answer_sentence(advice, case),
        *(change_sentence(change, advice, case.objective) for change in advice.changes),
        "",
        error_sentence(advice.error, case.card),
        "Taken for granted:",
        *(f"  - {sentence}" for sentence in advice.assumed),
    ]
    for sentence in sentences:
        start = " " * (len(sentence) - len(sentence.lstrip()))
        prose(console, sentence, indent=start + ("  " if start else ""))


def _load(workload: Workload) -> str:
    if workload.users is not None:
        return f"{workload.users:,} users"
    if workload.request_rate is None:
        return "arrivals of a trace"
    return "the highest request rate" if workload.find_rate else f"{workload.request_rate:g} requests/s"


@contextmanager
def progress() -> Iterator[Tell]:
    """Who is told of each step: a bar on a terminal, a line for each kind of step elsewhere; on stderr."""
    if not errors.is_terminal:
        told = set[str]()

        def line(what: str, done: int, total: int) -> None:
            if what not in told:
                told.add(what)
                say(errors, f"{what} ...")

        yield line
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as live:
        task = live.add_task("asking what starts")
        yield lambda what, done, total: live.update(task, description=what, completed=done, total=total)
