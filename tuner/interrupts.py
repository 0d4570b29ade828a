"""Ctrl-C and SIGTERM, which end a command in order, and coroutines that heed them.

An interrupt can be lost: a coroutine that waits with a deadline may take its cancellation for the deadline's, one that has
just ended has nothing left to cancel, and Python ignores what is raised where it calls back. So what was heard is remembered:
nothing that runs through `run` begins or goes on after it.
"""

import asyncio
import signal
import threading
from collections.abc import Coroutine
from types import FrameType
from typing import TypeVar

Found = TypeVar("Found")

_HEARD: list[int] = []
_RUNNING: "list[asyncio.Task[object]]" = []


def heed_signals() -> None:
    """Raise KeyboardInterrupt in the main thread, also where a shell that starts us with & has Ctrl-C ignored."""
    _HEARD.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def interrupted_code() -> int:
    """What a command that was ended by a signal exits with: 130 after Ctrl-C, 143 after SIGTERM, as a shell tells it."""
    return 128 + (_HEARD[0] if _HEARD else signal.SIGINT)


def run(main: Coroutine[object, object, Found]) -> Found:
    """As asyncio.run; the first signal cancels `main`, so that it can clean up, and a further one ends that, too.

    Raises KeyboardInterrupt once a signal was heard, whatever `main` made of it: at once if that was before.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not _interrupt:
        return asyncio.run(main)
    if _HEARD:
        main.close()
        raise KeyboardInterrupt
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(main)
        _RUNNING.append(task)
        try:
            found = loop.run_until_complete(task)
        except asyncio.CancelledError:
            if not _HEARD:
                raise
        finally:
            _RUNNING.remove(task)
    if _HEARD:
        raise KeyboardInterrupt
    return found


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _HEARD.append(number)
    if len(_HEARD) == 1 and _RUNNING and not (task := _RUNNING[-1]).done():
        task.cancel()
        task.get_loop().call_soon_threadsafe(lambda: None)  # it may wait in select
        return
    raise KeyboardInterrupt
