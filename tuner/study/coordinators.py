"""A command line for each of several studies in; a process of each, its lines as they come, and what each ended with, out.

One that fails leaves the others alone. An interrupt ends all in order, and all are waited for; whatever kills this process,
each is ended by its guard (launch/process.py). It does not know what the commands do.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tuner import interrupts
from tuner.launch.process import ProcessGroup

_POLL_S = 0.1
#: How long one that was interrupted may take to stop its servers: a launch on Ray is cancelled twice, 40 s each.
_STOP_S = 120.0
_READ_S = 10.0

#: A name, and a line of its process, or what it ended with.
Line = Callable[[str, str], None]
Ended = Callable[[str, int], None]


def run_all(
    commands: Mapping[str, Sequence[str]], environment: Mapping[str, Mapping[str, str]], line: Line, ended: Ended
) -> dict[str, int]:
    """What each ended with, by name, as a shell tells it. Raises KeyboardInterrupt once all are gone."""
    running, telling = dict[str, _Running](), threading.Lock()

    def whole(name: str, text: str) -> None:
        with telling:
            line(name, text)

    try:
        for name, words in commands.items():
            running[name] = _Running(name, words, environment[name], whole)
        interrupts.run(_waited(running, ended))
    finally:
        for one in running.values():
            one.close()
    return {name: one.group.exit_code() or 0 for name, one in running.items()}


async def _waited(running: Mapping[str, "_Running"], ended: Ended) -> None:
    left = dict(running)
    try:
        while left:
            for name, one in [*left.items()]:
                if (code := one.group.exit_code()) is not None:
                    one.read()
                    ended(name, code)
                    del left[name]
            await asyncio.sleep(_POLL_S)
    except asyncio.CancelledError:
        await asyncio.gather(*(one.group.stop(_STOP_S) for one in left.values()))
        raise


class _Running:
    """A process and the thread that reads what it says, on both of its streams."""

    def __init__(self, name: str, words: Sequence[str], environment: Mapping[str, str], line: Line) -> None:
        self._name, self._line = name, line
        ours, theirs = os.pipe()
        with open(theirs, "wb", buffering=0) as output:  # noqa: PTH123  a descriptor
            self.group = ProcessGroup.spawn(tuple(words), environment, output, Path.cwd())
        self._reader = threading.Thread(target=self._read, args=(ours,), name=f"lines of {name}", daemon=True)
        self._reader.start()

    def read(self) -> None:
        """Wait until all is told that it said before it ended."""
        self._reader.join(_READ_S)

    def close(self) -> None:
        self.group.kill()
        self.read()

    def _read(self, descriptor: int) -> None:
        with open(descriptor, encoding="utf-8", errors="replace") as lines, suppress(OSError, ValueError):
            for text in lines:
                self._line(self._name, text.rstrip("\r\n"))
