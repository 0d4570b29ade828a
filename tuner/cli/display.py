"""Trials and decisions as text on a terminal. The only place with milliseconds and percent."""

from collections.abc import Sequence

from rich.table import Table

from tuner.cli.answer import number
from tuner.decide.objective import Objective
from tuner.decide.rank import defaults_of, feasible
from tuner.types import Failed, Mark, Measured, Params, Trial


def objective_value(objective: Objective, trial: Trial | None) -> str:
    if trial is None or not isinstance(trial.outcome, Measured):
        return "-"
    return number(objective.metric, objective.value(trial.outcome.load))


def settings(params: Params, defaults: Params | None = None) -> str:
    """`name=value ...`; with `defaults` only what differs from them."""
    changed = {name: value for name, value in params.items() if defaults is None or defaults.get(name) != value}
    return " ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in changed.items()
    )


def status(trial: Trial) -> str:
    if isinstance(trial.outcome, Failed):
        return trial.outcome.kind.value + ("" if trial.outcome.kind.is_of_the_settings else ", to be run again")
    found = "measured" if feasible(trial) else "misses " + ", ".join(n for n, v in trial.violations.items() if v > 0)
    return ", ".join((found, *(mark.value for mark in trial.outcome.marks if mark is not Mark.IMPRECISE)))


def trials_table(trials: Sequence[Trial], chosen: int | None, unreal: str | None = None) -> Table:
    """One row a trial; its settings as far as they differ from the defaults. `unreal` is said above where nothing was run."""
    table = Table(box=None, header_style="bold", pad_edge=False, title=unreal, title_justify="left")
    for header, justify in (("#", "right"), ("status", "left"), ("tok/s", "right"), ("req/s", "right")):
        table.add_column(header, justify=justify)  # type: ignore[arg-type]
    for header in ("TTFT p99 ms", "TPOT p99 ms", "GPU %", "start s"):
        table.add_column(header, justify="right")
    table.add_column("settings")
    before = defaults_of(trials)
    defaults = before.params if before else None
    columns = ("output_throughput", "request_throughput", "ttft_p99_s", "tpot_p99_s", "gpu_utilization", "startup_s")
    for trial in trials:
        metrics = trial.outcome.metrics() if isinstance(trial.outcome, Measured) else {}
        cells = [number(c, metrics.get(c), unit=False) for c in columns]
        name = f"vLLM defaults: {settings(trial.params)}" if trial.is_default else settings(trial.params, defaults)
        style = "bold green" if trial.number == chosen else ("dim" if not metrics else None)
        table.add_row(str(trial.number), status(trial), *cells, name, style=style)
    return table
