"""Loads that want to run on one host, each in a thread of its own, in; their turns out: all at once, or one after another.

It does not know what the loads are of.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from tuner.launch.job import Tell, Turn

_POLL_S = 0.1


class Loads:
    """Those that run, and those that wait, the first come first. All run `at_once`, or one at a time. While `are_harmless` is
    not known to be so, what ran beside others may have been slowed. While they are `held`, none begins but one that wants to be
    alone."""

    def __init__(self) -> None:
        self.at_once, self.are_harmless, self.held = True, False, False
        self._lock = threading.Lock()
        self._waiting: list[Turn] = []
        self._running: list[Turn] = []
        self._load_s, self._told_s = 0.0, monotonic()

    @property
    def count(self) -> int:
        """How many run now."""
        return len(self._running)

    @asynccontextmanager
    async def alone(self, phase: Tell) -> AsyncIterator[Turn]:
        """That of a load that no other runs beside: those that run have ended, and none begins before it ends. Then they are
        `held` no more."""
        try:
            async with self._turn(Turn(is_alone=True), phase) as turn:
                yield turn
        finally:
            self.held = False

    @asynccontextmanager
    async def turn(self, phase: Tell) -> AsyncIterator[Turn]:
        """One load's."""
        async with self._turn(Turn(), phase) as turn:
            yield turn

    @asynccontextmanager
    async def _turn(self, turn: Turn, phase: Tell) -> AsyncIterator[Turn]:
        await self._wait(turn, phase)
        with self._lock:
            before_s, began_s = self._so_far_s(), self._told_s
        try:
            yield turn
        finally:
            with self._lock:
                load_s, past_s = self._so_far_s() - before_s, self._told_s - began_s
                self._running.remove(turn)
            turn.others = max(load_s / past_s - 1, 0.0) if past_s > 0 else 0.0
            turn.may_be_slowed = turn.others > 0 and not self.are_harmless

    async def _wait(self, turn: Turn, phase: Tell) -> None:
        self._waiting.append(turn)
        try:
            if not self._begins(turn):
                phase("waiting until no other launch is under load")
                while not self._begins(turn):
                    await asyncio.sleep(_POLL_S)
        finally:
            self._waiting.remove(turn)

    def _begins(self, turn: Turn) -> bool:
        with self._lock:
            if not self._may_begin(turn):
                return False
            self._so_far_s()
            self._running.append(turn)
            return True

    def _may_begin(self, turn: Turn) -> bool:
        if turn.is_alone:
            return not self._running
        if self.held or any(other.is_alone for other in (*self._waiting, *self._running)):
            return False
        return self.at_once or (not self._running and self._waiting[0] is turn)

    def _so_far_s(self) -> float:
        """Seconds under load of all loads until now, with the lock held."""
        now_s = monotonic()
        self._load_s += len(self._running) * (now_s - self._told_s)
        self._told_s = now_s
        return self._load_s
