"""The figures of docs/search.md, written between its two marks."""

import re
from collections.abc import Sequence
from pathlib import Path

from summary import Result
from tables import tables

BEGIN, END = "<!-- figures: made by benchmarks/search -->", "<!-- end of the figures -->"


def write(path: Path, results: Sequence[Result], strategies: Sequence[str]) -> None:
    """Raises ValueError where the marks are missing."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
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
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
