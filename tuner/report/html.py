"""A report in, one HTML file out that needs nothing else: no script, no network, no font. Pure.

Its policy lets nothing run and nothing be fetched, and its one style sheet is allowed by its hash; everything that came from
elsewhere is escaped.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256

from tuner.report.content import Report
from tuner.report.document import (
    WORDS,
    Block,
    Code,
    Details,
    Document,
    Figure,
    Gallery,
    Paragraph,
    Section,
    Table,
    Tone,
)
from tuner.report.outline import document_of
from tuner.report.style import STYLE
from tuner.report.text import html

#: A text in a cell that is longer wants a wide column, and a table of more rows a height of its own.
_LONG, _TALL = 40, 25
_DESCRIPTION = 300


def report_html(report: Report) -> str:
    return "".join(_page(document_of(report))) + "\n"


def _page(document: Document) -> Iterator[str]:
    yield "<!doctype html>\n"
    if document.unreal is not None:
        yield f"<!-- {html(document.unreal).replace('--', '- -')} -->\n"
    yield '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" content="no-referrer">\n'
    yield f'<meta name="description" content="{html(document.description[:_DESCRIPTION])}">\n'
    yield f"<title>{html(document.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    yield '<a class="skip" href="#verdict">Skip to the verdict</a>\n'
    yield from _head(document)
    yield "<main>\n"
    first, *others = document.sections
    yield from _section(first)
    yield from _contents(document)
    for section in others:
        yield from _section(section)
    yield f"</main>\n<footer><p>{html(document.footer)}</p></footer>\n</body>\n</html>"


def _policy() -> str:
    style = b64encode(sha256(STYLE.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"


def _head(document: Document) -> Iterator[str]:
    yield "<header>\n"
    if document.unreal is not None:
        yield f'<div class="unreal"><p>{html(document.unreal)}.</p></div>\n'
    yield f"<h1><bdi>{html(document.title)}</bdi></h1>\n<dl>\n"
    for name, value in document.about:
        yield f"<dt>{html(name)}</dt><dd>{html(value)}</dd>\n"
    yield "</dl>\n</header>\n"


def _contents(document: Document) -> Iterator[str]:
    """After the verdict, which is what most come for."""
    yield '<nav aria-label="Parts of this report"><ul>\n'
    for section in document.sections:
        yield f'<li><a href="#{section.id}">{html(section.title)}</a></li>\n'
    yield "</ul></nav>\n"


def _section(section: Section) -> Iterator[str]:
    yield f'<section id="{section.id}" aria-labelledby="{section.id}-heading">\n'
    yield f'<h2 id="{section.id}-heading">{html(section.title)}</h2>\n'
    for block in section.blocks:
        yield from _block(block)
    yield "</section>\n"


def _block(block: Block) -> Iterator[str]:
    match block:
        case Paragraph(text=text, tone=tone):
            yield _TONES[tone].format(html(text))
        case Code(label=label, text=text):
            yield f'<p class="label">{html(label)}</p>\n<pre tabindex="0" role="region" aria-label="{html(label)}">'
            yield f"<code>{html(text)}</code></pre>\n"
        case Table():
            yield from _table(block)
        case Details(summary=summary, blocks=blocks):
            yield f"<details><summary>{html(summary)}</summary>\n"
            for inside in blocks:
                yield from _block(inside)
            yield "</details>\n"
        case Gallery(figures=figures):
            yield f'<div class="gallery">\n{"".join(map(_figure, figures))}</div>\n'


_TONES = {
    Tone.PLAIN: "<p>{}</p>\n",
    Tone.ANSWER: '<p class="answer">{}</p>\n',
    Tone.CAUTION: '<p class="caution"><strong>Note:</strong> {}</p>\n',
}


def _figure(figure: Figure) -> str:
    return f"<figure>\n{figure.svg}\n<figcaption>{html(figure.title)}</figcaption>\n</figure>\n"


def _table(table: Table) -> Iterator[str]:
    tall = " tall" if len(table.rows) > _TALL else ""
    yield f'<div class="scroll{tall}" role="region" tabindex="0" aria-label="{html(table.caption)}">\n<table>\n'
    yield f"<caption>{html(table.caption)}</caption>\n<thead><tr>"
    for column, header in enumerate(table.headers):
        yield f'<th scope="col"{_kind(table, column)}>{html(header)}</th>' if header else "<td></td>"
    yield "</tr></thead>\n<tbody>\n"
    for row in table.rows:
        yield f"<tr>{''.join(_cells(table, row))}</tr>\n"
    yield "</tbody></table>\n</div>\n"


def _cells(table: Table, row: Sequence[str]) -> Iterator[str]:
    for column, cell in enumerate(row):
        shown = html(cell)
        if column in table.codes and cell not in WORDS:
            shown = f"<code>{shown}</code>"
        if column == 0:
            yield f'<th scope="row"{_kind(table, column, cell)}>{shown}</th>'
        else:
            yield f"<td{_kind(table, column, cell)}>{shown}</td>"


def _kind(table: Table, column: int, cell: str = "") -> str:
    if column in table.numbers:
        return ' class="number"'
    return ' class="long"' if len(cell) > _LONG else ""
