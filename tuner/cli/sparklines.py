"""A time line in; a line of blocks for each of its series out, with the measured window marked below.

The lowest and the highest sample stand beside the line; a series that nobody could tell, or that was 0 throughout, has none.
Where stdout cannot encode the blocks, they are signs of ASCII.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from rich.console import Console

from tuner.cli.console import say
from tuner.types import Timeline

_BLOCKS, _SIGNS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
#: A sample that is missing.
_MISSING = " "
_MEASURED = "measured"
_WIDTH = 60
_LEAST_WIDTH = 12


@dataclass(frozen=True, slots=True)
class _Series:
    """One of a time line: its name there, its label with the unit, what its values are multiplied by, and their decimals."""

    name: str
    label: str
    factor: float = 1.0
    decimals: int = 0


_SERIES = (
    _Series("output_throughput", "tok/s"),
    _Series("running", "running"),
    _Series("waiting", "waiting"),
    _Series("kv_cache_usage", "KV cache %", 100.0),
    _Series("gpu_utilization", "GPU %", 100.0),
    _Series("steps_per_s", "steps/s"),
    _Series("server_cores", "server cores", 1.0, 1),
    _Series("engine_core_cores", "EngineCore cores", 1.0, 1),
    _Series("preemptions", "preemptions"),
)


def sparklines(found: Timeline, width: int = 80, encoding: str | None = None) -> list[str]:
    """As many lines as there are series to see, and one that marks the window; nothing without any. `encoding` is what has to
    take them, stdout's if None; `width` are the columns of the screen."""
    known = [one for one in _SERIES if any(getattr(found, one.name))]
    if not known:
        return []
    blocks, mark = (_BLOCKS, "▔") if _takes(_BLOCKS + "▔", encoding) else (_SIGNS, "~")
    sides = [_side(one, getattr(found, one.name)) for one in known]
    labels = max(len(_MEASURED), *(len(one.label) for one in known))
    room = width - labels - max(map(len, sides)) - 4
    columns = min(len(found.t_s), max(_LEAST_WIDTH, min(_WIDTH, room)))
    lines = [
        f"{one.label:<{labels}}  {_drawn(_folded(getattr(found, one.name), columns, most=_is_peak(one)), blocks)}  {side}"
        for one, side in zip(known, sides, strict=True)
    ]
    length = f"{found.window_end_s - found.window_begin_s:,.0f} s"
    return [*lines, f"{_MEASURED:<{labels}}  {_window(found, columns, mark)}  {length}"]


def _is_peak(one: _Series) -> bool:
    """Preemptions are rare: a column has its worst sample, not the mean."""
    return one.name == "preemptions"


def _folded(values: Sequence[float | None], columns: int, *, most: bool) -> list[float | None]:
    """As many as there are columns: the mean, or the most, of what falls into each."""
    found: list[float | None] = []
    for column in range(columns):
        begin, end = column * len(values) // columns, ceil((column + 1) * len(values) / columns)
        known = [value for value in values[begin:end] if value is not None]
        found.append((max(known) if most else sum(known) / len(known)) if known else None)
    return found


def _drawn(values: Sequence[float | None], blocks: str) -> str:
    """From 0 up, so that what is twice as high is twice as much."""
    highest = max((value for value in values if value is not None), default=0.0)
    return "".join(_MISSING if value is None else blocks[_step(value, highest, len(blocks))] for value in values)


def _step(value: float, highest: float, steps: int) -> int:
    return min(steps - 1, max(0, round(value / highest * (steps - 1)))) if highest > 0 else 0


def _side(one: _Series, values: Sequence[float | None]) -> str:
    known = [value * one.factor for value in values if value is not None]
    return f"{min(known):,.{one.decimals}f}..{max(known):,.{one.decimals}f}"


def _window(found: Timeline, columns: int, mark: str) -> str:
    """A mark under each column that lies in the measured window."""
    end_s = found.t_s[-1] or 1.0
    inside = [
        found.window_begin_s <= (column + 0.5) / columns * end_s < found.window_end_s for column in range(columns)
    ]
    return "".join(mark if is_in else " " for is_in in inside)


def _takes(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def show_sparklines(console: Console, found: Timeline | None) -> None:
    """Print them under a heading; nothing where there are none."""
    lines = sparklines(found, console.width) if found else []
    if lines:
        say(console, "how the load went, from its beginning on; at the side the lowest and the highest sample:")
    for line in lines:
        say(console, f"  {line}".rstrip())
