"""Rows in, tables out."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(width=160, highlight=False)


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    shown = Table(*header, title=Text(title), title_justify="left")
    for row in rows:
        shown.add_row(*map(Text, row))
    console.print(shown)


def percent(share: float) -> str:
    return f"{share:.1%}" if share < 10 else f"{share:,.0f} x"


def verdict(target: str, met: bool | None, number: str) -> str:
    """`met` is None where the points do not tell."""
    return f"target {target}: {'not decided' if met is None else 'met' if met else 'missed'}, {number}"
