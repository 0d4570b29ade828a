"""Arguments of `vllm serve` in; what vLLM would make of them out, or a server that starts without importing anything.

One process with vLLM imported (standalone/serve_forks.py) does both. It is tuner's child under a guard, so it dies with tuner;
when it dies first it is started anew. It does not know how a server becomes ready.
"""

import json
import os
import select
import socket
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tuner.errors import EngineError
from tuner.launch.engine import CannotFork, EngineInfo
from tuner.launch.failures import refusal
from tuner.launch.interpreter import engine_environment
from tuner.launch.process import KILLED, ProcessGroup
from tuner.types import Failed, FailureKind, Resolved

_SERVE_FORKS = Path(__file__).parent / "standalone" / "serve_forks.py"
#: Importing vLLM takes 10 s on an idle machine and was seen to take 60 s on a busy one.
_IMPORT_DEADLINE_S = 300.0
#: Milliseconds, but the first answer loads the model's classes: 25 s were seen on a busy host.
_ANSWER_DEADLINE_S = 300.0
_MAX_ANSWER_BYTES = 1 << 20


class ForkServer:
    """vLLM, imported once. Use as a context manager."""

    def __init__(self, python: Path, environment: Mapping[str, str]) -> None:
        """Start it, without waiting for it."""
        self._python, self._environment = python, dict(environment)
        self._info: EngineInfo | None = None
        self._asking = threading.RLock()
        self._launch()

    @property
    def info(self) -> EngineInfo:
        """Waits until vLLM is imported; once more if somebody killed the process. Raises EngineError if it cannot be."""
        if self._info is None:
            hello = self._read(_IMPORT_DEADLINE_S)
            if hello is None and self._group.exit_code() == KILLED:
                self._relaunch()
                hello = self._read(_IMPORT_DEADLINE_S)
            if hello is None:
                raise EngineError(f"vLLM cannot be used with {self._python}: {self._last()}")
            self._info = EngineInfo(
                hello["version"], hello["platform"], frozenset(hello["arguments"]), hello["import_s"]
            )
        return self._info

    @property
    def is_alive(self) -> bool:
        """Whether the process lives; a dead one is replaced when it is needed next."""
        return self._group.exit_code() is None

    def resolve(self, arguments: tuple[str, ...]) -> Resolved | Failed:
        """The settings that `vllm serve *arguments` would use, or its refusal. Raises EngineError if vLLM cannot be asked."""
        answer = self._ask({"resolve": arguments})
        if "resolved" in answer:
            key = answer["compile_key"]
            return Resolved(settings=dict(answer["resolved"]), digest=answer["digest"], compile_key=key)
        sentence = str(answer["error"])
        return Failed(kind=FailureKind.REJECTED if answer["usage"] else refusal(sentence), message=sentence)

    def fork(self, arguments: tuple[str, ...], environment: Mapping[str, str], log: IO[bytes]) -> ProcessGroup:
        """A server of these arguments, with `environment` on top of its own, on the cores of the thread that asks. Raises
        CannotFork, EngineError."""
        ours, theirs = socket.socketpair()
        with theirs:
            request = {"start": arguments, "environment": dict(environment), "cores": sorted(os.sched_getaffinity(0))}
            answer = self._ask(request, theirs.fileno(), log.fileno())
        if "pid" not in answer:
            ours.close()
            raise CannotFork(answer["error"])
        return ProcessGroup(answer["pid"], ours)

    def close(self) -> None:
        """End the process, and with it all servers that it forked."""
        self._channel.close()
        self._group.kill()
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _relaunch(self) -> None:
        self.close()
        self._info = None
        self._launch()

    def _launch(self) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  closed with the fork server
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            self._group = ProcessGroup.spawn(
                (str(self._python), str(_SERVE_FORKS), str(number)),
                engine_environment(self._environment),
                self._output,
                Path.cwd(),
                pass_fd=number,
            )

    def _ask(self, request: Mapping[str, object], *descriptors: int) -> Any:
        """The answer; from a new process if the old one died."""
        with self._asking:
            return self._asked(request, *descriptors)

    def _asked(self, request: Mapping[str, object], *descriptors: int) -> Any:
        for _ in range(2):
            assert self.info
            try:
                socket.send_fds(self._channel, [json.dumps(request).encode()], descriptors)
                answer = self._read(_ANSWER_DEADLINE_S)
            except OSError:
                answer = None
            if answer is not None:
                return answer
            said = self._last()
            self._relaunch()
        raise EngineError(f"vLLM of {self._python} died twice while it was asked for its settings: {said}")

    def _read(self, deadline_s: float) -> Any:
        """The next answer; None when the process died. Raises EngineError at the deadline."""
        end = time.monotonic() + deadline_s
        while not select.select([self._channel], [], [], 0.5)[0]:
            if not self.is_alive:
                return None
            if time.monotonic() > end:
                raise EngineError(f"{self._python} did not answer within {deadline_s:.0f} s; it said: {self._last()}")
        if line := self._channel.recv(_MAX_ANSWER_BYTES):
            return json.loads(line)
        while self.is_alive and time.monotonic() < end:  # it closed the channel by ending
            time.sleep(0.02)
        return None

    def _last(self) -> str:
        text = os.pread(self._output.fileno(), _MAX_ANSWER_BYTES, 0).decode("utf-8", errors="replace")
        said = [line.strip() for line in text.splitlines() if line.strip()]
        errors = [line for line in said if "Error" in line]
        killed = ["it was ended by SIGKILL"] if self._group.exit_code() == KILLED else []
        return (errors or killed or said or ["nothing"])[-1]
