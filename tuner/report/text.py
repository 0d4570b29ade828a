"""Text that others wrote in; the same for a page, with whatever would act on it made visible, out. Pure.

Names of studies, models and settings, and the sentences of a failing server, come from elsewhere: control characters move a
terminal's cursor, and marks of direction turn the text around them.
"""

import re
from html import escape

#: Marks that change the direction of what stands around them, and what is no character at all.
_TURNING = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ACTING = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff{''.join(map(chr, _TURNING))}]")
#: What Markdown, or the page that shows it, would take for its own.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!$&])")
#: At the beginning of a line also lists and headings.
_LINE = re.compile(r"^(\s*)([-+=]|\d+[.)])(?=\s|$)")


def visible(text: str) -> str:
    """`\\x1b` for an escape, `\\u202e` for a mark of direction; new lines and tabs stay."""
    return _ACTING.sub(lambda found: _named(ord(found[0])), text.replace("\r\n", "\n"))


def _named(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def html(text: str) -> str:
    """For an element or an attribute of HTML, or of SVG."""
    return escape(visible(text), quote=True)


def markdown(text: str) -> str:
    """In a line of Markdown: nothing of it is markup, and nobody is called by it."""
    line = " ".join(visible(text).split())
    line = _LINE.sub(lambda found: f"{found[1]}{found[2][:-1]}\\{found[2][-1]}", _MARKUP.sub(r"\\\1", line))
    line = text if text == "-" else line
    return line.replace("@", "@\N{WORD JOINER}")


def code(text: str) -> str:
    """In a line of Markdown, as code; a cell of a table may hold it."""
    shown = " ".join(visible(text).split())
    return f"<code>{markdown(shown)}</code>" if re.search(r"[|`]", shown) or not shown else f"`{shown}`"


def fenced(text: str) -> str:
    """As code of several lines, between more backticks than it has in a row."""
    shown = visible(text).rstrip("\n")
    fence = "`" * max(3, max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    return f"{fence}text\n{shown}\n{fence}"
