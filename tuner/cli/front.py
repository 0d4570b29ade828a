"""A study of several objectives and its decision in; the front as a table out."""

from rich.markup import escape
from rich.table import Table

from tuner.cli.answer import change_text
from tuner.cli.tables import LONG
from tuner.decide.objective import Objective
from tuner.decide.pareto import Front, Told
from tuner.decide.verdict import Decision
from tuner.decide.words.front import change_of, point_status, told_text
from tuner.decide.words.rows import ROWS
from tuner.decide.words.settings import settings


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
            str(point.trial.number), point_status(point, front, is_chosen=is_chosen), *cells, escape(named), style=style
        )
    return table


def _cell(objective: Objective, told: Told) -> str:
    change = f" {change_text(ROWS[objective.metric], change_of(objective, told.gain))}" if told.gain is not None else ""
    return f"{told_text(objective, told)}{change}"
