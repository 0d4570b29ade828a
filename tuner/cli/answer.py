"""What is compared in; the table of before and after out."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from tuner.decide.attribution import Attribution
from tuner.decide.before_after import before_after
from tuner.decide.objective import Objective
from tuner.decide.words.attribution import HEADERS, attribution_rows, attribution_title
from tuner.decide.words.numbers import change_of_metric, change_words, is_good, spread_text
from tuner.decide.words.rows import ROWS, Row
from tuner.types import Outcome, Trial


def comparison_table(
    defaults: Trial,
    winner: Trial,
    again: Sequence[tuple[int, Outcome]] = (),
    unreal: str | None = None,
    objectives: Sequence[Objective] = (),
    hand: Sequence[Trial] = (),
) -> Table:
    """Before (vLLM's defaults), the user's own settings, `hand`, and after, with the change in percent and how far launches of
    the same settings differ: means over what was launched again, if both were, else what the search saw."""
    found = before_after(defaults, winner, again, objectives, hand)
    table = Table(
        title=f"{unreal} {found.title}" if unreal else found.title,
        box=None,
        header_style="bold",
        pad_edge=False,
        title_justify="left",
    )
    table.add_column("")
    for header in ("defaults", *(f"hand (trial {one.trial})" for one in found.hand), found.after, "change"):
        table.add_column(header, justify="right")
    for one in found.metrics:
        row = ROWS[one.metric]
        change = change_of_metric(one.metric, one.before, one.after)
        told = "-" if change is None else change_text(row, change)
        cells = (spread_text(one.metric, values) for values in (one.before, *one.hand, one.after))
        table.add_row(row.label, *cells, told)
    return table


def attribution_table(told: Attribution, trials: Sequence[Trial]) -> Table:
    """What each setting of the winner brings."""
    table = Table(title=attribution_title(told), box=None, header_style="bold", pad_edge=False, title_justify="left")
    for header in HEADERS:
        table.add_column(header)
    winner = next(trial for trial in trials if trial.number == told.of)
    for row in attribution_rows(told, winner):
        table.add_row(*map(escape, row))
    return table


def change_text(row: Row, change: float) -> str:
    """In words; green where it is better, red where it is worse."""
    text, good = change_words(row, change), is_good(row, change)
    return text if good is None or row.unit == "%" else f"[{'green' if good else 'red'}]{text}[/]"
