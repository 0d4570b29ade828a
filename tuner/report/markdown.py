"""A report in, Markdown for a pull request out: GitHub's dialect, without pictures, whose tables say the same. Pure."""

from collections.abc import Iterable, Iterator, Sequence

from tuner.report.content import Report
from tuner.report.document import WORDS, Block, Code, Details, Document, Gallery, Paragraph, Section, Table, Tone
from tuner.report.outline import document_of
from tuner.report.text import code, fenced, html, markdown

#: Rows of a table that stand in a comment; more are in the HTML and the JSON.
_ROWS = 40


def report_markdown(report: Report) -> str:
    return "\n\n".join(_document(document_of(report))) + "\n"


def _document(document: Document) -> Iterator[str]:
    yield f"# {markdown(document.title)}"
    if document.unreal is not None:
        yield f"> **{markdown(document.unreal)}**"
    yield "  \n".join(f"{name}: {code(value)}" for name, value in document.about)
    for section in document.sections:
        yield from _section(section)
    yield f"---\n\n{markdown(document.footer)}"


def _section(section: Section) -> Iterator[str]:
    yield f"## {markdown(section.title)}"
    for block in section.blocks:
        yield from _block(block)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Paragraph(text=text, tone=tone):
            yield _toned(markdown(text), tone)
        case Code(label=label, text=text):
            yield f"{markdown(label)}:\n\n{fenced(text)}"
        case Table():
            yield from _table(block)
        case Details(summary=summary, blocks=blocks):
            inside = "\n\n".join(part for one in blocks for part in _block(one))
            yield f"<details><summary>{html(summary)}</summary>\n\n{inside}\n\n</details>"
        case Gallery(figures=figures, is_told=is_told):
            yield from (markdown(one.description) for one in figures if not is_told)


def _toned(text: str, tone: Tone) -> str:
    return {Tone.PLAIN: text, Tone.ANSWER: f"**{text}**", Tone.CAUTION: f"> ⚠ {text}"}[tone]


def _table(table: Table) -> Iterator[str]:
    rows = table.rows[:_ROWS]
    ruler = ["---:" if column in table.numbers else "---" for column in range(len(table.headers))]
    lines = [_line(map(markdown, table.headers)), _line(ruler)]
    lines += [_line(_cells(row, table)) for row in rows]
    yield f"{markdown(table.caption)}:"
    yield "\n".join(lines)
    if len(rows) < len(table.rows):
        yield f"{len(table.rows) - len(rows):,} more rows are in the report as HTML or JSON."


def _cells(row: Sequence[str], table: Table) -> Iterator[str]:
    for column, cell in enumerate(row):
        is_code = column in table.codes and cell not in WORDS
        yield code(cell) if is_code else markdown(cell)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
