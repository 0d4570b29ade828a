"""A table in; what fits the width of a console out: the table, its rows with the long text below, or a card a row.

Nothing is ever cut: names and values stay whole at any width.
"""

from collections.abc import Iterator, Sequence
from textwrap import wrap

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from tuner.cli.console import ENDLESS

#: The header of a column whose text may be long, always the last: where it does not fit, it stands below its row.
LONG = "settings"
_INDENT = "  "
#: A blank that is no place to fold at, and how long a text may be that is not folded.
_FIRM, _SHORT = "\N{NO-BREAK SPACE}", 36


def show(console: Console, table: Table) -> None:
    """Print it as wide as it may be. Lines have no blanks at their end."""
    if table.title:
        prose(console, str(table.title))
        table.title = None
    if not table.rows:
        return
    has_text = table.columns[-1].header == LONG
    if _width(console, table) <= console.width:
        _print(console, _lines(console, table))
    elif has_text and _width(console, short := _without_the_last(table)) <= console.width:
        _print(console, _with_text_below(console, short, table))
    else:
        _print(console, _cards(console, table))


def prose(console: Console, text: str, indent: str = "") -> None:
    """A sentence, folded at words; `indent` is that of its further lines. In a pipe without a width it is one line."""
    lines = wrap(text, console.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    for line in lines or [""]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _width(console: Console, table: Table) -> int:
    return Measurement.get(console, console.options.update(max_width=ENDLESS), table).maximum


def _lines(console: Console, table: Table) -> list[Text]:
    """As printed where there is room for it, a line a row."""
    options = console.options.update(max_width=ENDLESS, width=_width(console, table), no_wrap=True)
    found = []
    for segments in console.render_lines(table, options, pad=False):
        line = Text.assemble(*((segment.text, segment.style or "") for segment in segments))
        line.rstrip()
        found.append(line)
    return found


def _print(console: Console, lines: Sequence[Text]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def _copy(table: Table, columns: Sequence[Column]) -> Table:
    made = Table(box=None, header_style=table.header_style, pad_edge=False, show_header=table.show_header)
    for column in columns:
        made.add_column(column.header, justify=column.justify)
    for cells, row in zip(zip(*(column.cells for column in columns), strict=True), table.rows, strict=True):
        made.add_row(*cells, style=row.style)
    return made


def _without_the_last(table: Table) -> Table:
    return _copy(table, table.columns[:-1])


def _with_text_below(console: Console, short: Table, table: Table) -> list[Text]:
    lines = _lines(console, short)
    found, rows = lines[:1], zip(lines[1:], table.columns[-1].cells, table.rows, strict=True)
    indent = _INDENT + " " * _wide([str(cell) for cell in table.columns[0].cells])
    for line, text, row in rows:
        found += [line, *(Text(part, style=row.style or "") for part in _wrapped(console, _plain(text), indent))]
    return found


def _cards(console: Console, table: Table) -> list[Text]:
    """A card a row: its first cell, and below it each other one with the name of its column."""
    found: list[Text] = []
    for number, row in enumerate(table.rows):
        cells = [_plain(list(column.cells)[number]) for column in table.columns]
        headers = [_plain(column.header) for column in table.columns]
        title = cells[0] if not headers[0] or len(headers[0]) > 2 else f"{headers[0]}{cells[0]}"
        found.append(Text(title, style=row.style or "bold"))
        named: list[str] = []
        texts: list[str] = []
        for header, cell in zip(headers[1:], cells[1:], strict=True):
            if cell and cell != "-":
                (texts if header == LONG else named).append(cell if header == LONG else _together(header, cell))
        for text in (", ".join(named), *texts):
            found += [Text(line.replace(_FIRM, " ")) for line in _wrapped(console, text, _INDENT)]
    return found


def _together(header: str, cell: str) -> str:
    """Short ones stay on one line."""
    text = f"{header} {cell}".strip()
    return text.replace(" ", _FIRM) if len(text) <= _SHORT else text


def _plain(cell: object) -> str:
    return Text.from_markup(str(cell)).plain


def _wrapped(console: Console, text: str, indent: str) -> Iterator[str]:
    yield from wrap(
        text,
        console.width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _wide(texts: Sequence[str]) -> int:
    return max((cell_len(text) for text in texts), default=0)
