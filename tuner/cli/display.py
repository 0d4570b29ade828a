"""Trials and decisions as text on a terminal. The only place with milliseconds and percent."""

from collections.abc import Sequence
from statistics import fmean

from rich.table import Table

from tuner.cli.rows import ROWS
from tuner.decide.objective import Objective
from tuner.decide.rank import defaults_of, feasible
from tuner.decide.verdict import Decision
from tuner.types import Failed, Mark, Measured, Outcome, Params, Trial

_COMPARED = (
    "output_throughput",
    "request_throughput",
    "goodput",
    "ttft_p50_s",
    "ttft_p99_s",
    "tpot_p50_s",
    "tpot_p99_s",
    "e2el_p50_s",
    "e2el_p99_s",
    "gpu_utilization",
    "gpu_sm_activity",
    "gpu_memory_used_bytes",
    "gpu_power_w",
    "gpu_energy_per_1k_tokens_j",
    "server_cpu_cores",
    "startup_s",
)


def number(metric: str, value: float | None, unit: bool = True) -> str:
    """A metric's value as the user reads it; "-" where there is none."""
    if value is None:
        return "-"
    row = ROWS[metric]
    return f"{value * row.factor:,.{row.decimals}f}" + (f" {row.unit}" if unit else "")


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


def comparison_table(
    before: Trial, after: Trial, again: Sequence[tuple[int, Outcome]] = (), unreal: str | None = None
) -> Table:
    """The defaults beside the winner, metric by metric: the mean of both's launches in `again` (by trial number), which ran
    what is exported; without any, as the search measured them."""
    old, new = _later(before, again), _later(after, again)
    launched = "launched again" if old and new else "in the search"
    title = f"{unreal or ''} Before and after: vLLM's defaults (trial {before.number}) against trial {after.number}, {launched}"
    table = Table(title=title.strip())
    for header in ("", "defaults", f"trial {after.number}", "change"):
        table.add_column(header, justify="left" if not header else "right")
    if not (old and new):
        old, new = (t.outcome.metrics() if isinstance(t.outcome, Measured) else {} for t in (before, after))
    for metric in _COMPARED:
        if metric in old or metric in new:
            a, b = old.get(metric), new.get(metric)
            table.add_row(ROWS[metric].label, number(metric, a), number(metric, b), _change(metric, a, b))
    return table


def _later(trial: Trial, again: Sequence[tuple[int, Outcome]]) -> dict[str, float]:
    """Each metric's mean over the later launches of a trial; empty without any."""
    found = [o.metrics() for number, o in again if number == trial.number and isinstance(o, Measured)]
    return {name: fmean(m[name] for m in found) for name in found[0] if all(name in m for m in found)} if found else {}


def _change(metric: str, before: float | None, after: float | None) -> str:
    row = ROWS[metric]
    if not before or after is None:
        return "-"
    if row.unit == "%":  # a change of a share, in percent of it, would be taken for points
        return f"{row.factor * (after - before):+.0f} points"
    change = after / before - 1
    if row.more_is_better is None or abs(change) < 0.005:
        return f"{change:+.0%}"
    return f"[{'green' if (change > 0) == row.more_is_better else 'red'}]{change:+.0%}[/]"


def verdict_text(found: Decision, objective: Objective, unreal: str | None = None) -> str:
    """The answer, in words."""
    return f"{unreal}: {_verdict(found, objective)}" if unreal else _verdict(found, objective)


def _verdict(found: Decision, objective: Objective) -> str:
    if found.chosen is None:
        return "No trial was measured that meets every SLO: nothing to recommend."
    if found.winner is found.defaults:
        return "Keep vLLM's defaults: no trial was better."
    assert found.winner is not None
    if found.verdict is None:
        why = (
            "the defaults were not measured or miss an SLO"
            if not found.defaults or not feasible(found.defaults)
            else ""
        )
        why = why or "it was not launched again to verify it: see --verify"
        return f"Trial {found.winner.number} is the best that was measured ({why})."
    v = found.verdict
    noise = "unknown" if v.noise is None else f"{v.noise:.1%}"
    launches = f"{_count(v.winner)} against {v.defaults} of the defaults, noise {noise}"
    if v.better:
        gain = f"launched again, its {objective.name} is {v.gain:+.1%}"
        return f"Trial {found.winner.number} is better than vLLM's defaults: {gain} ({launches})."
    return (
        f"Keep vLLM's defaults: trial {found.winner.number} looked best in the search, but launched again it is "
        f"{v.gain:+.1%} on {objective.name}, which is not clear of the noise ({launches})."
    )


def _count(launches: int) -> str:
    return "1 new launch" if launches == 1 else f"{launches} new launches"
