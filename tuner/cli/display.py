"""Trials and decisions as text on a terminal. The only place with milliseconds and percent."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from tuner.cli.tables import LONG
from tuner.decide.objective import OBJECTIVES, Objective, metrics_of, without_the_one_gpu
from tuner.decide.rank import defaults_of, rank
from tuner.decide.words.numbers import number
from tuner.decide.words.rows import ROWS
from tuner.decide.words.settings import settings, status
from tuner.types import Measured, Params, Trial

#: How many of the best trials are listed.
SHOWN = 10
_USUAL = (
    *("gpus", "output_throughput", "output_throughput_per_gpu"),
    *("request_throughput", "ttft_p99_s", "tpot_p99_s", "gpu_utilization"),
)
#: Not every measurement has these.
_SOMETIMES = ("gpus", "output_throughput_per_gpu", "gpu_utilization")
_SHORT = {
    "output_throughput": "tok/s",
    "output_throughput_per_gpu": "tok/s a GPU",
    "request_throughput": "req/s",
    "gpu_utilization": "GPU %",
}


def objective_value(objectives: Sequence[Objective], trial: Trial | None) -> str:
    if trial is None or not isinstance(trial.outcome, Measured):
        return "-"
    named = len(objectives) > 1  # two latencies have the same unit
    words = [f"{number(one.metric, one.value(trial.outcome))}{f' {one.name}' if named else ''}" for one in objectives]
    return ", ".join(words)


def best_first(trials: Sequence[Trial], objective: Objective) -> list[Trial]:
    """Those that were measured, the best first; then those whose server came to be in another way; then the failed ones."""
    ranked = rank(trials, objective)
    places = {trial.number: place for place, trial in enumerate(ranked)}

    def key(trial: Trial) -> tuple[int, bool, int]:
        return places.get(trial.number, len(places)), not isinstance(trial.outcome, Measured), trial.number

    return sorted(trials, key=key)


def listed(trials: Sequence[Trial], objective: Objective, chosen: int | None) -> list[Trial]:
    """The ten best, and beside them the defaults and the one that is recommended."""
    ordered = best_first(trials, objective)
    return [trial for place, trial in enumerate(ordered) if place < SHOWN or trial.is_default or trial.number == chosen]


def trials_table(
    trials: Sequence[Trial],
    chosen: int | None,
    objectives: Sequence[Objective] = (OBJECTIVES["throughput"],),
    defaults: Params | None = None,
) -> Table:
    """One row a trial, in the order given; its settings as far as they differ from the defaults'. Beside the usual columns
    there are those of the objectives and of the SLOs."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    told = [metrics_of(t.outcome, objectives) if isinstance(t.outcome, Measured) else {} for t in trials]
    found = {
        trial.number: metrics for trial, metrics in zip(trials, without_the_one_gpu(told, objectives), strict=True)
    }
    asked = [f"{name.replace('e2e_', 'e2el_')}_s" for trial in trials for name in trial.violations]
    usual = [name for name in _USUAL if name not in _SOMETIMES or any(name in metrics for metrics in found.values())]
    columns = list(
        dict.fromkeys((*usual, *(one.metric for one in objectives), *(name for name in asked if name in ROWS)))
    )
    for header, justify in (("#", "right"), ("status", "left"), *((_header(name), "right") for name in columns)):
        table.add_column(header, justify=justify)  # type: ignore[arg-type]
    table.add_column(LONG)
    before = defaults_of(trials)
    defaults = defaults if defaults is not None else before.params if before else None
    for trial in trials:
        metrics = found[trial.number]
        cells = [number(c, metrics.get(c), unit=False) for c in columns]
        name = "vLLM's defaults" if trial.is_default else settings(trial.params, defaults) or "those of the defaults"
        style = "bold green" if trial.number == chosen else ("dim" if not metrics else None)
        table.add_row(str(trial.number), _told(trial, chosen), *cells, escape(name), style=style)
    return table


def _told(trial: Trial, chosen: int | None) -> str:
    """Its status; of the one that is recommended it says that, not by its colour alone."""
    told = status(trial)
    return told.replace("measured", "recommended", 1) if trial.number == chosen else told


def _header(metric: str) -> str:
    row = ROWS[metric]
    return _SHORT.get(metric) or f"{row.label} {row.unit}".strip()
