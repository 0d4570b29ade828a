"""Ctrl-C and SIGTERM, which end a command in order, and coroutines that heed them.

An interrupt can be lost: a coroutine that waits with a deadline may take its cancellation for the deadline's, one that has
just ended has nothing left to cancel, and Python ignores what is raised where it calls back. So what was heard is remembered:
nothing that runs through `run` begins or goes on after it.
"""

import asyncio
import signal
import threading
from collections.abc import Coroutine, Iterable
from types import FrameType
from typing import Any, TypeVar

Found = TypeVar("Found")

_HEARD: list[int] = []
_WOKEN: list[int] = []
#: What runs, by its thread.
_RUNNING: "dict[int, asyncio.Task[Any]]" = {}


def heed_signals() -> None:
    """Raise KeyboardInterrupt in the main thread, also where a shell that starts us with & has Ctrl-C ignored."""
    _HEARD.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    signal.signal(signal.SIGCONT, lambda number, _: _WOKEN.append(number))


def times_woken() -> int:
    """How often this process was stopped and went on (Ctrl-Z and fg, or the like) since it heeds signals."""
    return len(_WOKEN)


def interrupted_code() -> int:
    """What a command that was ended by a signal exits with: 130 after Ctrl-C, 143 after SIGTERM, as a shell tells it."""
    return 128 + (_HEARD[0] if _HEARD else signal.SIGINT)


def was_heard() -> bool:
    """Whether this command was interrupted: whoever waits for something gives it up."""
    return bool(_HEARD)


def run(main: Coroutine[object, object, Found]) -> Found:
    """As asyncio.run; the first signal cancels what the main thread runs, so that it can clean up, and a further one ends that,
    too. What another thread runs is cancelled by `cancel`.

    Raises KeyboardInterrupt once a signal was heard, whatever `main` made of it: at once if that was before.
    """
    heeds = signal.getsignal(signal.SIGINT) is _interrupt
    if not heeds and threading.current_thread() is threading.main_thread():
        return asyncio.run(main)
    if _HEARD:
        main.close()
        raise KeyboardInterrupt
    with asyncio.Runner() as runner:
        task = runner.get_loop().create_task(main)
        _RUNNING[threading.get_ident()] = task
        try:
            found = runner.get_loop().run_until_complete(task)
        except asyncio.CancelledError:
            if not _HEARD:
                raise
        finally:
            del _RUNNING[threading.get_ident()]
    if _HEARD:
        raise KeyboardInterrupt
    return found


def cancel(threads: Iterable[threading.Thread]) -> None:
    """What these threads run now, once: a clean-up is not cancelled."""
    for thread in threads:
        task = _RUNNING.get(thread.ident or 0)
        if task is not None and not task.done() and not task.cancelling():
            task.get_loop().call_soon_threadsafe(task.cancel)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _HEARD.append(number)
    task = _RUNNING.get(threading.get_ident())
    if len(_HEARD) == 1 and task is not None and not task.done():
        task.cancel()
        task.get_loop().call_soon_threadsafe(lambda: None)  # it may wait in select
        return
    raise KeyboardInterrupt
