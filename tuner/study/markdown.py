"""Text of any origin in; Markdown that shows just that text, out. Pure.

optuna-dashboard takes HTML and formulas in Markdown for what they are, so whatever a user or a server has written is escaped.
"""

import re
from collections.abc import Sequence

_INLINE = re.compile(r"([\\`*_\[\]<>&$~|#!])")
#: What a list, a heading or a rule begins with.
_LEADING = re.compile(r"^(\d*)([-+=.)])(?=[-=\s]|$)")
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """A line of words."""
    line = _INLINE.sub(r"\\\1", " ".join(_CONTROL.sub("", text.replace("\r", " ")).split()))
    return _LEADING.sub(r"\1\\\2", line)


def fenced(text: str) -> str:
    """A block that is shown as it is."""
    shown = _CONTROL.sub("", text.replace("\r\n", "\n"))
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown.rstrip()}\n{fence}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, *rows]
    cells = [f"| {' | '.join(map(plain, line))} |" for line in lines]
    return "\n".join([cells[0], f"|{' --- |' * len(header)}", *cells[1:]])
