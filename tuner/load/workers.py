"""The load generator's processes: started, told, listened to, and gone when they are left. Knows no load.

They end when their channel does, so whatever kills tuner leaves none behind.
"""

import asyncio
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import tuner
from tuner.errors import LaunchError
from tuner.load.messages import Message, Progress, Report, receive, send
from tuner.types import Failed, FailureKind, Workload
from tuner.workload.lengths import mean

#: What one worker serves with timestamps that are true; measured by benchmarks/load with room to spare.
_USERS = 256
_TOKENS_PER_S = 20_000
_GONE_S = 5.0


def workers_for(workload: Workload) -> int:
    """How many workers a workload begins with: not more than a quarter of the cores, which are the server's, too."""
    if workload.users is not None:
        needed = workload.users / _USERS
    else:
        needed = (workload.request_rate or 0.0) * mean(workload.output_tokens) / _TOKENS_PER_S
    return max(1, min(math.ceil(needed), most_workers() // 2))


def most_workers() -> int:
    """How many workers this machine has cores for, while a server runs beside them."""
    return max(1, len(os.sched_getaffinity(0)) // 2)


class Workers:
    """`async with Workers(count) as workers`. Entering does not wait for the processes to be ready."""

    def __init__(self, count: int = 1) -> None:
        self._first = count
        self._workers: list[_Worker] = []

    @property
    def count(self) -> int:
        return len(self._workers)

    async def __aenter__(self) -> Self:
        await self.grow(self._first)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def renew(self) -> None:
        """As many new processes: what the old ones had open is closed, and what they have still said is not heard."""
        count = self.count
        await self._end()
        self._workers.clear()
        await self.grow(count)

    async def _end(self) -> None:
        for worker in self._workers:
            worker.hang_up()
        await asyncio.shield(asyncio.gather(*(worker.gone() for worker in self._workers)))

    async def grow(self, count: int) -> None:
        """Have `count` workers, if there are fewer."""
        while len(self._workers) < count:
            self._workers.append(await _Worker.start())

    def send(self, number: int, message: Message) -> None:
        self._workers[number].send(message)

    async def receive(self, number: int) -> Progress | Report:
        """The next message of a worker. Raises LaunchError (CLIENT_BOUND) when it is dead."""
        return await self._workers[number].receive()


class _Worker:
    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process, self._reader, self._writer = process, reader, writer

    @classmethod
    async def start(cls) -> "_Worker":
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tuner.load.worker", str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": _python_path()},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        ours.setblocking(False)
        return cls(process, *await asyncio.open_connection(sock=ours, limit=1 << 30))

    def send(self, message: Message) -> None:
        send(self._writer, message)

    async def receive(self) -> Progress | Report:
        try:
            message: Progress | Report = await receive(self._reader)
        except EOFError as error:
            raise LaunchError(Failed(kind=FailureKind.CLIENT_BOUND, message=await self._how_it_ended())) from error
        return message

    def hang_up(self) -> None:
        self._writer.close()

    async def gone(self) -> None:
        """Wait for its end, and see to it."""
        clock = asyncio.get_running_loop().time
        until_s = clock() + _GONE_S
        while self._process.poll() is None:
            if clock() > until_s:
                self._process.kill()
            await asyncio.sleep(0.005)
        if self._process.stderr is not None:
            self._process.stderr.close()

    async def _how_it_ended(self) -> str:
        self.hang_up()
        while self._process.poll() is None:
            await asyncio.sleep(0.01)
        said = self._process.stderr.read().decode("utf-8", "replace").split("\n") if self._process.stderr else []
        last = next((line for line in reversed(said) if line.strip()), "")
        return f"a process of the load generator ended by itself (exit code {self._process.returncode}){last and ': ' + last}"


def _python_path() -> str:
    """The workers run this very tuner."""
    here = str(Path(tuner.__file__).resolve().parents[1])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
