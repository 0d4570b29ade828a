"""`tuner serve`: a database, a queue and an address in; a service until it is told to end.

At its end the studies that run are interrupted and queued again; whatever else ends it, they go on, and are found by the next.
"""

import asyncio
import ipaddress
import logging
import signal
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from aiohttp import web

from tuner.errors import TunerError, UsageError
from tuner.serve.allowed import Allowed
from tuner.serve.app import Parts, application
from tuner.serve.child import Places
from tuner.serve.following import Following
from tuner.serve.guard import Guard
from tuner.serve.hub import Hub
from tuner.serve.prometheus import Counts
from tuner.serve.routes import HEALTH
from tuner.serve.verbs import Verbs
from tuner.serve.working import Worker

_STEP_S = 0.5
#: How long the studies have to end when the service does: a loaded machine takes its time, and Kubernetes kills after 30 s.
_END_S = 20.0
_LEAST_TOKEN = 16
_log = logging.getLogger("tuner.serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the service listens, the token that it asks for, and the names of hosts that it is reached by."""

    host: str
    port: int
    token: str | None = None
    names: Sequence[str] = ()


def read_token(file: Path) -> str:
    """Raises UsageError, which never says what is in the file."""
    try:
        mode, text = file.stat().st_mode, file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"--token-file {file} cannot be read: {why}") from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise UsageError(f"--token-file {file} can be read or written by everybody on this machine: chmod 600 {file}")
    if len(text) < _LEAST_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(
            f"--token-file {file}: the token must be one word of at least {_LEAST_TOKEN} letters and digits"
        )
    return text


def check_open(address: Address) -> None:
    """Raises UsageError for an address that others reach, without a token."""
    with suppress(ValueError):
        if ipaddress.ip_address(address.host).is_loopback:
            return
    if address.host != "localhost" and address.token is None:
        raise UsageError(
            f"--host {address.host} can be reached by others, who could then run studies here: give --token-file FILE, or "
            "listen on 127.0.0.1"
        )


def serve(allowed: Allowed, places: Places, address: Address, listening: Callable[[], None]) -> None:
    """Until SIGINT or SIGTERM. `listening` is told once requests are answered. Raises UsageError where the port is taken."""
    check_open(address)
    verbs = Verbs(places.storage, allowed)
    try:
        asyncio.run(_Service(verbs, allowed, places, address).run(listening))
    finally:
        verbs.close()


class _Service:
    def __init__(self, verbs: Verbs, allowed: Allowed, places: Places, address: Address) -> None:
        self._address = address
        self._worker = Worker(verbs.queue, verbs.reading, allowed, places, lambda text: _log.info("%s", text))
        self._awake, self._ended = asyncio.Event(), asyncio.Event()
        self._stepped = True
        names = (*address.names,)
        self._parts = Parts(
            verbs=verbs,
            hub=Hub(lambda study: Following(verbs, places, study)),
            guard=Guard.of(address.host, address.token, names, [HEALTH, "/"], ["/page/"]),
            counts=Counts(),
            version=version("tuner"),
            logs=places.logs,
            is_working=lambda: self._stepped,
            wake=self._awake.set,
        )

    async def run(self, listening: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._ended.set)
        runner = web.AppRunner(application(self._parts), access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        try:
            await self._listen(runner)
            working = asyncio.create_task(self._work())
            listening()
            ended = asyncio.create_task(self._ended.wait())
            await asyncio.wait((working, ended), return_when=asyncio.FIRST_COMPLETED)
            self._ended.set()
            self._awake.set()
            await working
            await asyncio.to_thread(self._worker.stop, _END_S)
        finally:
            await runner.cleanup()

    async def _listen(self, runner: web.AppRunner) -> None:
        host, port = self._address.host, self._address.port
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
        except OSError as error:
            raise UsageError(f"{host}:{port} cannot be used: {error.strerror}: choose another with --port") from error

    async def _work(self) -> None:
        """A database that refuses is asked again."""
        while not self._ended.is_set():
            try:
                await asyncio.to_thread(self._worker.step)
                self._stepped = True
            except (TunerError, OSError) as error:
                self._stepped = False
                _log.warning("the queue waits: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._awake.wait(), _STEP_S)
            self._awake.clear()
