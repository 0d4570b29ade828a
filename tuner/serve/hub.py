"""Who watches which study: each study is asked once for what is new, however many watch it, and all are given the same bytes.

A client that does not take what it is given is cut off, and comes again with the last id that it has. It knows nothing of what
is told.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from tuner.errors import TunerError
from tuner.serve.following import Place

#: What a process writes is looked for so often, the database every other time; without news all are told that we are there.
POLL_S, _EVERY, HEARTBEAT_S = 0.5, 2, 15.0
#: So many pieces may wait for a client.
_PIECES = 64
_log = logging.getLogger("tuner.serve")


class News(Protocol):
    """What there is to tell of one study; following.py has it."""

    def now(self) -> bytes: ...
    def since(self, place: Place) -> bytes: ...
    def news(self, *, everything: bool) -> bytes: ...


class Client:
    """What is to be sent to one; None ends it."""

    def __init__(self, cut: Callable[[], None]) -> None:
        """`cut` ends its connection at once."""
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_PIECES)
        self._cut = cut

    def give(self, piece: bytes | None) -> bool:
        """False where it has too much already, and is cut off."""
        try:
            self._pieces.put_nowait(piece)
        except asyncio.QueueFull:
            self._cut()
            return False
        return True

    async def take(self) -> bytes | None:
        """All that waits, as one."""
        piece = await self._pieces.get()
        while piece is not None and not self._pieces.empty():
            more = self._pieces.get_nowait()
            if more is None:
                self._pieces.put_nowait(None)
                break
            piece += more
        return piece


class Hub:
    """`follow` makes what is asked for news, blocking; it is called in a thread."""

    def __init__(self, follow: Callable[[str], News]) -> None:
        self._follow = follow
        self._channels: dict[str, _Channel] = {}
        self._closed = False

    @property
    def clients(self) -> int:
        return sum(len(channel.clients) for channel in self._channels.values())

    @asynccontextmanager
    async def watching(self, study: str, place: Place | None, cut: Callable[[], None]) -> AsyncIterator[Client]:
        """A client that is told from now on, or from `place` on, while the block runs. Raises NotThere."""
        channel = self._channels.get(study)
        if channel is None or channel.is_over:
            channel = self._channels[study] = _Channel(study, self._follow)
        client = Client(cut)
        try:
            await channel.add(client, place)
            if self._closed:
                client.give(None)
            yield client
        finally:
            channel.remove(client)
            if not channel.clients and self._channels.get(study) is channel:
                del self._channels[study]

    async def close(self) -> None:
        """End all."""
        self._closed = True
        for channel in [*self._channels.values()]:
            channel.end()


class _Channel:
    def __init__(self, study: str, follow: Callable[[str], News]) -> None:
        self.clients: set[Client] = set()
        self.is_over = False
        self._study, self._follow = study, follow
        self._following: News | None = None
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def add(self, client: Client, place: Place | None) -> None:
        """The lock keeps what it is told first and what all are told in order."""
        async with self._lock:
            if self._following is None:
                self._following = await asyncio.to_thread(self._follow, self._study)
            following = self._following
            first = await asyncio.to_thread(following.now if place is None else lambda: following.since(place))
            client.give(first)
            self.clients.add(client)
            if self._task is None:
                self._task = asyncio.create_task(self._tell(following))
                self._task.add_done_callback(self._told)

    def remove(self, client: Client) -> None:
        self.clients.discard(client)
        if not self.clients and self._task is not None:
            self.is_over = True
            self._task.cancel()

    def end(self) -> None:
        self.is_over = True
        for client in self.clients:
            client.give(None)

    def _told(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("study %r is not followed any more", self._study, exc_info=error)
            self.end()

    async def _tell(self, following: News) -> None:
        clock = asyncio.get_running_loop().time
        turn, spoken_s = 0, clock()
        while not self.is_over:
            await asyncio.sleep(POLL_S)
            turn += 1
            try:
                async with self._lock:
                    piece = await asyncio.to_thread(following.news, everything=turn % _EVERY == 0)
                    if not piece and clock() > spoken_s + HEARTBEAT_S:
                        piece = b": here\n\n"
                    if piece:
                        spoken_s = clock()
                        self.clients = {client for client in self.clients if client.give(piece)}
            except TunerError as error:
                _log.info("study %r is not followed any more: %s", self._study, error)
                self.end()
