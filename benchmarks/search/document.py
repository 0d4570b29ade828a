"""The figures of docs/search.md, written between its two marks."""

import re
from collections.abc import Sequence
from pathlib import Path

from summary import Result
from tables import tables

from tuner.cli.console import check_writable, write_file
from tuner.errors import UsageError

BEGIN, END = "<!-- figures: made by benchmarks/search -->", "<!-- end of the figures -->"


def check(path: Path) -> None:
    """Raises UsageError for a file that the figures cannot be written into."""
    check_writable("--docs", path)
    _around(path)


def write(path: Path, results: Sequence[Result], strategies: Sequence[str]) -> None:
    """Raises UsageError, RunError for a full disk."""
    before, after = _around(path)
    lines = [f"{results[0]['seeds']} seeds, at most {results[0]['trials']} launches a search.", ""]
    for title, header, rows in tables(results, strategies):
        lines += [
            f"{title[0].upper()}{title[1:]}:",
            "",
            *(_row(cells) for cells in (header, ["---"] * len(header))),
            "",
        ]
        lines[-1:] = [*(_row(cells) for cells in rows), ""]
    text = re.sub(r"(\d)%", r"\1 %", "\n".join(lines))
    write_file("--docs", path, f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def _around(path: Path) -> tuple[str, str]:
    """What stands before the marks and after them. Raises UsageError where they are missing."""
    try:
        before, *rest = path.read_text(encoding="utf-8").split(BEGIN)
        _, *after = "".join(rest).split(END)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--docs {path} cannot be read: {getattr(error, 'strerror', 'it is no UTF-8 text')}"
        ) from error
    if (len(rest), len(after)) != (1, 1):
        raise UsageError(
            f"--docs {path} must have these two lines once, and the figures go between them: {BEGIN} and {END}"
        )
    return before, after[0]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
