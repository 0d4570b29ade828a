"""Functions of a slot in, their futures out: one thread a slot, after concurrent.futures. It knows no trials."""

import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from tuner import interrupts
from tuner.execute.slot import Slot

Found = TypeVar("Found")
_Task = tuple["Future[Any]", Callable[[Slot], Any]]


class Pool:
    """Use as a context manager: what runs when it ends is cancelled, and waited for."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._running: set[Future[Any]] = set()
        self._threads = [
            threading.Thread(target=self._work, args=(slot,), name=f"slot-{slot.number}", daemon=True) for slot in slots
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[[Slot], Found]) -> "Future[Found]":
        """What `call` makes of the next slot that is free. A server that it starts has the slot's cores and no others."""
        future: Future[Found] = Future()
        self._running = {one for one in self._running if not one.done()} | {future}
        self._tasks.put((future, call))
        return future

    def close(self) -> None:
        """Cancel what runs through `interrupts.run` in a slot, and wait until nothing does."""
        for future in self._running:
            future.cancel()
        for _ in self._threads:
            self._tasks.put(None)
        while any(thread.is_alive() for thread in self._threads):
            interrupts.cancel(self._threads)
            for thread in self._threads:
                thread.join(0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _work(self, slot: Slot) -> None:
        if slot.cores is not None:
            with suppress(OSError):  # such as a core that was taken away since
                os.sched_setaffinity(0, slot.cores)  # of this thread, and of what it starts
        while (task := self._tasks.get()) is not None:
            future, call = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                found = call(slot)
            except BaseException as error:  # noqa: BLE001  it is raised where the future is asked
                future.set_exception(error)
            else:
                future.set_result(found)
