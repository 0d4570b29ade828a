"""Rows in, tables out."""

from collections.abc import Iterable, Sequence
from statistics import median

from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(width=150, highlight=False)


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    shown = Table(*header, title=Text(title), title_justify="left")
    for row in rows:
        shown.add_row(*map(Text, row))
    console.print(shown)


def spread(values: Sequence[float], decimals: int = 1) -> str:
    """The median, and the range of several."""
    middle = f"{median(values):,.{decimals}f}"
    return middle if len(values) == 1 else f"{middle} [{min(values):,.{decimals}f}-{max(values):,.{decimals}f}]"


def verdict(met: bool, target: str) -> str:
    return f"{'met' if met else 'MISSED'}: {target}"
