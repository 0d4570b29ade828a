"""A page and two marks in it in; the page with a text between them out."""

from pathlib import Path


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """Raises ValueError where the marks are missing."""
    before, rest = page.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
