"""The surfaces of `make bench-search`, each with its space, and with what is asked of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DATA = Path(__file__).parents[1] / "data"
FOLDER = DATA / "search"
Kind = Literal["recorded", "simulated", "given"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """`space` is a file or a shipped space's name. Without `model` or `workload` the surface's header says which they are."""

    name: str
    kind: Kind
    surface: Path
    space: str
    objective: str = "throughput"
    slos: tuple[str, ...] = ()
    model: Path | None = None
    workload: str | None = None


def _entry(name: str, kind: Kind, objective: str = "throughput", *slos: str, space: str | None = None) -> Entry:
    return Entry(
        name=name,
        kind=kind,
        surface=FOLDER / f"{name}.jsonl",
        space=space or str(FOLDER / f"{name}.yaml"),
        objective=objective,
        slos=slos,
    )


ENTRIES: Sequence[Entry] = ()
