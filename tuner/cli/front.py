"""A study of several objectives and its decision in; the answer in words, and the front as a table, out."""

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from tuner.cli.answer import also, change_text, launches_text, number, others, reason
from tuner.cli.display import settings
from tuner.cli.rows import ROWS
from tuner.cli.tables import LONG
from tuner.decide.objective import Objective
from tuner.decide.pareto import Front, FrontPoint, Told
from tuner.decide.verdict import Answer, Decision, Verdict


def front_text(found: Decision, front: Front, unreal: str | None = None) -> str:
    """The answer, in words; `unreal` is said first where nothing was run."""
    text = _answer(found, front)
    return f"{unreal}: {text}" if unreal else text


def front_table(found: Decision, front: Front) -> Table:
    """A row a point: each objective with its 95 % interval and the change over the defaults, and the settings."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("")
    for objective in front.objectives:
        row = ROWS[objective.metric]
        table.add_column(f"{row.label} {row.unit}".strip(), justify="right")
    table.add_column(LONG)
    defaults = found.defaults.params if found.defaults else None
    for point in front.points:
        cells = [_cell(objective, told) for objective, told in zip(front.objectives, point.told, strict=True)]
        named = "vLLM's defaults" if point.trial.is_default else settings(point.trial.params, defaults)
        is_chosen = found.chosen is not None and found.chosen.number == point.trial.number
        style = "bold green" if is_chosen else None if point.is_verified else "dim"
        table.add_row(
            str(point.trial.number), _status(point, front, is_chosen=is_chosen), *cells, escape(named), style=style
        )
    return table


def _status(point: FrontPoint, front: Front, *, is_chosen: bool) -> str:
    words = ["recommended"] if is_chosen else []
    words += ["knee"] if point.trial.number == front.knee else []
    words.append(launches_text(point.launches) if point.is_verified else "not verified")
    return ", ".join(words)


def _cell(objective: Objective, told: Told) -> str:
    metric = objective.metric
    low, high = (number(metric, end, unit=False) for end in (told.low, told.high))
    change = f" {change_text(ROWS[metric], change_of(objective, told.gain))}" if told.gain is not None else ""
    return f"{number(metric, told.value, unit=False)} ({low} to {high}){change}"


def change_of(objective: Objective, gain: float) -> float:
    """Of the number itself: a gain in a latency is a smaller one."""
    return gain if objective.maximize or gain <= -1 else 1 / (1 + gain) - 1


def _answer(found: Decision, front: Front) -> str:
    v = found.verdict
    keep = "Keep vLLM's defaults" if found.chosen is not None else "Nothing to recommend"
    looked = f"trial {v.trial} looked best in the search"
    is_leader = found.chosen is not None and found.chosen.number == v.trial
    match v.answer:
        case Answer.BETTER:
            return f"Deploy trial {v.trial}, the knee of the front: {_gained(v, front)}.{also(v)}"
        case Answer.TRADE if is_leader:
            return f"Trial {v.trial} is the knee of the front, and a trade-off: {_gained(v, front)}.{also(v)}"
        case Answer.TRADE:
            return f"{keep}, the knee of the front: trial {v.trial} is a trade-off: {_gained(v, front)}.{also(v)}"
        case Answer.ALONE:
            times = launches_text(v.launches)
            return f"Deploy trial {v.trial}, the knee of the front: it was verified on its own, in {times}, because {v.why}."
        case Answer.NOT_TOLD_APART | Answer.WORSE:
            return f"{keep}: {looked}, but in no objective it is better than they are: {_gained(v, front)}.{also(v)}"
        case Answer.CRASHED | Answer.MISSES:
            return f"{keep}: {looked}, but launched again it {reason(v)}{others(found)}"
        case Answer.NOT_VERIFIED:
            return f"Trial {v.trial} is the knee of what was measured, and is not verified: {v.why}."
        case _:
            return f"{keep}: {v.why}."


def _gained(v: Verdict, front: Front) -> str:
    """`launched again, its throughput is 30.1 % higher (95 % interval ...) and its ttft_p99 12.0 % lower`."""
    point = front.point(v.trial) if v.trial is not None else None
    if point is None:
        return f"it is dominated ({launches_text(v.launches)} against {v.defaults} of the defaults)"
    told = " and ".join(_words(front, point))
    return f"launched again, {told} ({launches_text(v.launches)} against {v.defaults} of the defaults)"


def _words(front: Front, point: FrontPoint) -> Iterator[str]:
    for objective, told in zip(front.objectives, point.told, strict=True):
        if told.gain is None:
            continue
        change, is_known = change_of(objective, told.gain), told.is_better or told.is_worse
        word = "higher" if change > 0 else "lower"
        much = f"{abs(change):.1%} {word}" if is_known else f"the same within noise ({change:+.1%})"
        yield f"its {objective.name} is {much}"
