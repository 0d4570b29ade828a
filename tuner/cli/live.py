"""A measurement's steps in; a bar with the phase, the live throughput and the time left out, on stderr."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tuner.cli.console import errors, say
from tuner.types import Underway


def underway_text(state: Underway) -> str:
    """Seconds of how many at most, and how fast it is so far."""
    if state.most_s is None:
        return f"{state.past_s:.0f} s"
    rate = f", {state.tokens_per_s:,.0f} tok/s" if state.tokens_per_s is not None else ""
    return f"{state.past_s:.0f}/{state.most_s:.0f} s{rate}"


def left_text(seconds: float, about: str = "~") -> str:
    """`~3 min left`, or with "at most", "at least"; short, for a line of 80 columns."""
    return f"{about}{seconds / 60:.0f} min left" if seconds >= 60 else "<1 min left"


class Live:
    """What is told of a measurement. Of several (`of`) the time left is that of those that ended, from the first on."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._what = progress, "connecting"
        self._task = progress.add_task(self._what, total=None, more="") if progress else None
        self._began_s, self._done, self._of = time.monotonic(), 0, 1

    def tell(self, text: str) -> None:
        self._what = text
        if self._progress is None or self._task is None:
            say(errors, text)
        else:
            self._progress.update(self._task, description=text, more=self._left())

    def underway(self, state: Underway) -> None:
        if self._progress is None or self._task is None:
            return
        share = min(1.0, state.past_s / state.most_s) if state.most_s else 0.0
        more = f"{underway_text(state)} {self._left()}".strip()
        self._progress.update(self._task, completed=self._done + share, total=self._of, more=more)

    def ended(self, done: int, of: int) -> None:
        """So many of the measurements have ended."""
        self._done, self._of = done, of

    def _left(self) -> str:
        if not self._done or self._done >= self._of:
            return ""
        each_s = (time.monotonic() - self._began_s) / self._done
        return left_text(each_s * (self._of - self._done))


@contextmanager
def progress() -> Iterator[Live]:
    """A live line on a terminal, a line a step elsewhere; on stderr."""
    if not errors.is_terminal:
        yield Live(None)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=10),
        TimeElapsedColumn(),
        TextColumn("{task.fields[more]}", markup=False),
    )
    with Progress(*columns, console=errors, transient=True) as live:
        yield Live(live)
