"""A study's decision in; the answer in words, and the table of before and after, out.

A reader who knows no statistics reads the first sentence; what stands in brackets is for one who does.
"""

from collections.abc import Sequence
from math import floor, log10
from statistics import fmean

from rich.table import Table

from tuner.cli.rows import ROWS, Row
from tuner.decide.gain import USEFUL_GAINS, Gain
from tuner.decide.objective import COST, Objective, metrics_of
from tuner.decide.verdict import Answer, Decision, Missed, Verdict
from tuner.types import Estimate, Measured, Outcome, Trial

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
    COST,
    "server_cpu_cores",
    "startup_s",
)


def answer_text(found: Decision, objective: Objective, unreal: str | None = None) -> str:
    """The answer, in words; `unreal` is said first where nothing was run."""
    text = _SENTENCES[found.verdict.answer](found, found.verdict, objective) + _of_the_defaults(found)
    return f"{unreal}: {text}" if unreal else text


def _better(found: Decision, v: Verdict, objective: Objective) -> str:
    assert v.gain is not None
    return f"Trial {v.trial} is better than vLLM's defaults: {_gained(v.gain, objective)} ({_launches(v)}).{also(v)}"


def _alone(found: Decision, v: Verdict, objective: Objective) -> str:
    return f"Deploy trial {v.trial}: it was verified on its own, in {launches_text(v.launches)}, because {v.why}."


def _not_told_apart(found: Decision, v: Verdict, objective: Objective) -> str:
    assert v.gain is not None
    seen = f": a gain of less than {v.gain.least_seen:.0%} would not have been seen" if v.gain.least_seen else ""
    return (
        f"Keep vLLM's defaults: trial {v.trial} looked best in the search, but launched again the two cannot be told apart"
        f"{seen}{_to_see_more(v, v.gain)} ({_launches(v)}).{also(v)}"
    )


def _to_see_more(v: Verdict, gain: Gain) -> str:
    """What to do where the smallest gain that would have been seen is of no use, and more launches were not allowed."""
    if v.enough is not None:
        return f", and the same command with --verify {v.enough.launches} would see one of {v.enough.gain:.0%}"
    if v.is_cut_short and (gain.least_seen or 0) > USEFUL_GAINS[-1]:
        return ", and more --verify alone would not help: measure longer (--window)"
    return ""


def _worse(found: Decision, v: Verdict, objective: Objective) -> str:
    assert v.gain is not None
    return (
        f"Keep vLLM's defaults: trial {v.trial} looked best in the search, but launched again "
        f"{_gained(v.gain, objective)} ({_launches(v)}).{also(v)}"
    )


def _dropped_out(found: Decision, v: Verdict, objective: Objective) -> str:
    looked = f"trial {v.trial} looked best in the search, but launched again it {reason(v)}"
    return f"{_instead(found)}: {looked}{others(found)}{_FEW if v.is_cut_short else ''}"


def reason(v: Verdict) -> str:
    """What a setting did that is not recommended for it."""
    if v.failure is not None:
        return f"ended as {v.failure.kind.value} in launch {v.launches}: {v.failure.message}"
    return "; ".join(_missed(one) for one in v.missed) or "stayed too near its limit to be relied on"


_FEW = " More launches may show that it can: the same command with more --verify."


def _not_verified(found: Decision, v: Verdict, objective: Objective) -> str:
    return f"Trial {v.trial} is the best that was measured, and is not verified: {v.why}."


def _nothing_better(found: Decision, v: Verdict, objective: Objective) -> str:
    return f"{_instead(found)}: {v.why}."


_SENTENCES = {
    Answer.BETTER: _better,
    Answer.ALONE: _alone,
    Answer.NOT_TOLD_APART: _not_told_apart,
    Answer.WORSE: _worse,
    Answer.CRASHED: _dropped_out,
    Answer.MISSES: _dropped_out,
    Answer.NOT_VERIFIED: _not_verified,
    Answer.NOTHING_BETTER: _nothing_better,
}


def _instead(found: Decision) -> str:
    return "Nothing to recommend" if found.chosen is None else "Keep vLLM's defaults"


def _of_the_defaults(found: Decision) -> str:
    """What speaks against them where no setting is deployed in their place."""
    v = found.verdict
    if v.answer in (Answer.BETTER, Answer.ALONE, Answer.TRADE) or not v.defaults_missed:
        return ""
    return f" The defaults {'; '.join(_missed(one) for one in v.defaults_missed)}."


def others(found: Decision) -> str:
    """How many further settings of the shortlist went the same way."""
    others = len([side for side in found.finalists if side.outcomes]) - 1
    return f"; so did the next {others} of the search's best." if others > 0 else "."


def _gained(gain: Gain, objective: Objective) -> str:
    """In words, not by a sign: a latency is lower or higher, all else more or less."""
    value = abs(gain.gain)
    words = ("higher", "lower") if objective.maximize else ("lower (faster)", "higher (slower)")
    if not objective.maximize and gain.gain > -1:  # of the latency itself, as users see it
        value = abs(1 / (1 + gain.gain) - 1)
    spread = ""
    if gain.low is not None and gain.high is not None and objective.maximize:
        spread = f" (95 % interval {gain.low:+.1%} to {gain.high:+.1%})"
    return f"launched again, its {objective.name} is {value:.1%} {words[0] if gain.gain >= 0 else words[1]}{spread}"


def _missed(one: Missed) -> str:
    worst, limit = one.worst_s * 1e3, one.limit_s * 1e3
    times = f"{one.times} of {launches_text(one.launches)}"
    return f"missed {one.slo} in {times}, at the worst with {worst:,.0f} ms of {limit:,.0f} ms"


def _launches(v: Verdict) -> str:
    noise = "" if v.gain is None or v.gain.noise is None else f", which differ by {v.gain.noise:.1%} among themselves"
    return f"{launches_text(v.launches)} against {v.defaults} of the defaults{noise}"


def launches_text(launches: int) -> str:
    """`3 launches`."""
    return "1 launch" if launches == 1 else f"{launches} launches"


def also(v: Verdict) -> str:
    """What is to be known beside the answer, as a sentence."""
    return f" {v.why[0].upper()}{v.why[1:]}." if v.why else ""


def comparison_table(
    defaults: Trial,
    winner: Trial,
    again: Sequence[tuple[int, Outcome]] = (),
    unreal: str | None = None,
    objectives: Sequence[Objective] = (),
) -> Table:
    """Before (vLLM's defaults) and after, with the change in percent and how far launches of the same settings differ: means
    over what was launched again, if both were, else what the search saw."""
    assert isinstance(defaults.outcome, Measured)
    assert isinstance(winner.outcome, Measured)
    launched = _later(defaults, again, objectives), _later(winner, again, objectives)
    both = all(launched)
    told = f"mean of {len(launched[0])} and {len(launched[1])} new launches" if both else "as the search measured them"
    searched = [metrics_of(defaults.outcome, objectives)], [metrics_of(winner.outcome, objectives)]
    old, new = launched if both else searched
    title = f"Before and after: vLLM's defaults (trial {defaults.number}) against trial {winner.number}, {told}"
    table = Table(
        title=f"{unreal} {title}" if unreal else title,
        box=None,
        header_style="bold",
        pad_edge=False,
        title_justify="left",
    )
    table.add_column("")
    for header in ("defaults", f"trial {winner.number}", "change"):
        table.add_column(header, justify="right")
    for metric in _COMPARED:
        a, b = ([values[metric] for values in side if metric in values] for side in (old, new))
        if a or b:
            table.add_row(ROWS[metric].label, _spread(metric, a), _spread(metric, b), _change(metric, a, b))
    return table


def number(metric: str, value: float | None, unit: bool = True) -> str:
    """A metric's value as the user reads it; "-" where there is none."""
    if value is None:
        return "-"
    row = ROWS[metric]
    return f"{value * row.factor:,.{row.decimals}f}" + (f" {row.unit}" if unit else "")


def estimate_text(found: Estimate, factor: float = 1.0, unit: str = "") -> str:
    """`22,400 tok/s (18,000 to 28,000)`: three digits, for more are not known."""
    value, low, high = (three_digits(one * factor) for one in (found.value, found.low, found.high))
    return f"{value}{f' {unit}' if unit else ''} ({low} to {high})"


def three_digits(value: float) -> str:
    """22,400; 1.25; 0.0312."""
    if not value:
        return "0"
    decimals = 2 - floor(log10(abs(value)))
    return f"{round(value, decimals):,.{max(0, decimals)}f}"


def _spread(metric: str, values: Sequence[float]) -> str:
    """The mean, and half of what the launches span."""
    if not values:
        return "-"
    shown = number(metric, fmean(values))
    return shown if len(values) < 2 else f"{shown} ±{number(metric, (max(values) - min(values)) / 2, unit=False)}"


def _later(
    trial: Trial, again: Sequence[tuple[int, Outcome]], objectives: Sequence[Objective]
) -> list[dict[str, float]]:
    """The metrics of each later launch of a trial that was measured."""
    mine = [outcome for number, outcome in again if number == trial.number]
    return [metrics_of(outcome, objectives) for outcome in mine if isinstance(outcome, Measured)]


def _change(metric: str, before: Sequence[float], after: Sequence[float]) -> str:
    row = ROWS[metric]
    if not before or not after or not fmean(before):
        return "-"
    a, b = fmean(before), fmean(after)
    if row.unit == "%":  # a change of a share, in percent of it, would be taken for points
        return f"{row.factor * (b - a):+.0f} points"
    return change_text(row, b / a - 1)


def change_text(row: Row, change: float) -> str:
    """In percent; of a latency also in a word, because less of it is better."""
    word = ""
    if row.unit == "ms" and abs(change) >= 0.0005:
        word = " slower" if change > 0 else " faster"
    text = f"{change:+.1%}{word}"
    if row.more_is_better is None or abs(change) < 0.005:
        return text
    return f"[{'green' if (change > 0) == row.more_is_better else 'red'}]{text}[/]"
