"""What a report is made of before it is HTML or Markdown: sections of paragraphs, tables, commands and figures. Pure records.

Every text in them is plain; whoever writes it out escapes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

#: What stands in a column of codes and is none.
WORDS = frozenset({"", "-", "vLLM's defaults", "those of the defaults", "not known"})


class Tone(StrEnum):
    """What a paragraph is for; never told by a colour alone."""

    PLAIN = "plain"
    ANSWER = "answer"
    CAUTION = "caution"


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One or more sentences."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Code:
    """What is typed, or what a machine wrote. `label` says what it is."""

    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """`numbers` are the columns of numbers, `codes` those of what a machine takes; the first column names its row."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    codes: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A drawing as SVG, its `title`, and `description`: what it shows, for who does not see it."""

    svg: str
    title: str
    description: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """Figures that belong together. `is_told` where a table beside them says the same, for who sees no figures."""

    figures: Sequence[Figure]
    is_told: bool = False


@dataclass(frozen=True, slots=True)
class Details:
    """What is folded away until it is asked for, where that is possible."""

    summary: str
    blocks: Sequence["Block"]


Block = Paragraph | Code | Table | Figure | Gallery | Details


@dataclass(frozen=True, slots=True)
class Section:
    """`id` names it in a link."""

    id: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """`unreal` is the sentence that stands above all else of a study that was not measured, and `word` its first; `about` are
    names with values, below the title."""

    title: str
    word: str | None
    unreal: str | None
    about: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    footer: str
    description: str = field(default="")
