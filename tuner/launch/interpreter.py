"""Which Python runs vLLM, and one process of it that answers what settings would become (host.py).

In: `--vllm-python`, TUNER_VLLM_PYTHON, or nothing. Out: a path; a `Resolver`. vLLM is never imported here.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any

from tuner.errors import EngineError
from tuner.launch.failures import refusal
from tuner.types import Failed, FailureKind, Params

_HOST = Path(__file__).with_name("host.py")
#: Importing vLLM takes 10 s on an idle machine and was seen to take 60 s on a busy one.
_IMPORT_DEADLINE_S = 300.0
#: Milliseconds, but the first answer loads the model's classes: 25 s were seen on a busy host.
_RESOLVE_DEADLINE_S = 300.0


def find_python(given: str | None) -> Path:
    """The interpreter that has vLLM: the given one, TUNER_VLLM_PYTHON, ./.engine, the one behind `vllm` on the PATH, or
    tuner's own. Raises EngineError."""
    named = given or os.environ.get("TUNER_VLLM_PYTHON")
    if named:
        path = Path(shutil.which(named) or named)
        if not path.is_file():
            origin = "--vllm-python" if given else "TUNER_VLLM_PYTHON"
            raise EngineError(f"{origin} names {named}, which is no file: give the python of the environment with vLLM")
        return path.absolute()
    for candidate in _candidates():
        if candidate.is_file() and _has_vllm(candidate):
            return candidate
    raise EngineError(
        "no vLLM was found: install it with `tuner install-engine`, or name its interpreter with --vllm-python PATH"
    )


def _candidates() -> list[Path]:
    found = [Path.cwd() / ".engine" / "bin" / "python"]
    if command := shutil.which("vllm"):
        found.append(Path(command).resolve().parent / "python")
    return [*found, Path(sys.executable)]


def _has_vllm(python: Path) -> bool:
    probe = "import importlib.util as u, sys; sys.exit(u.find_spec('vllm') is None)"
    return subprocess.run([str(python), "-c", probe], capture_output=True, check=False).returncode == 0


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine says of itself. `arguments` are the names that `vllm serve` takes."""

    version: str
    platform: str
    arguments: frozenset[str]


class Resolver:
    """Ask vLLM what it would make of some arguments, in milliseconds after one slow import. Use as a context manager."""

    def __init__(self, python: Path, environment: Mapping[str, str]) -> None:
        """Start the host. Raises EngineError if vLLM cannot be imported."""
        self._python = python
        self._stderr: deque[str] = deque(maxlen=40)
        self._host = subprocess.Popen(
            [str(python), str(_HOST)],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        Thread(target=self._drain, daemon=True).start()
        self._info: EngineInfo | None = None

    @property
    def info(self) -> EngineInfo:
        """Waits until vLLM is imported. Raises EngineError."""
        if self._info is None:
            hello = self._read(_IMPORT_DEADLINE_S)
            self._info = EngineInfo(hello["version"], hello["platform"], frozenset(hello["arguments"]))
        return self._info

    def resolve(self, arguments: tuple[str, ...]) -> Params | Failed:
        """The settings that `vllm serve *arguments` would use, or its refusal. Raises EngineError if vLLM cannot be asked."""
        assert self.info
        assert self._host.stdin
        try:
            self._host.stdin.write(json.dumps(arguments) + "\n")
            self._host.stdin.flush()
        except OSError as error:
            raise self._died() from error
        answer = self._read(_RESOLVE_DEADLINE_S)
        if "resolved" in answer:
            return dict(answer["resolved"])
        sentence = str(answer["error"])
        return Failed(kind=FailureKind.REJECTED if answer["usage"] else refusal(sentence), message=sentence)

    def close(self) -> None:
        if self._host.stdin:
            self._host.stdin.close()
        try:
            self._host.wait(5)
        except subprocess.TimeoutExpired:
            self._host.kill()
            self._host.wait()
        for pipe in (self._host.stdout, self._host.stderr):
            if pipe:
                pipe.close()

    def __enter__(self) -> "Resolver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, deadline_s: float) -> Any:
        assert self._host.stdout
        end = time.monotonic() + deadline_s
        while not select.select([self._host.stdout], [], [], 0.5)[0]:
            if time.monotonic() > end:
                raise EngineError(f"{self._python} did not answer within {deadline_s:.0f} s; it said: {self._last()}")
        line = self._host.stdout.readline()
        if not line:
            raise self._died()
        return json.loads(line)

    def _drain(self) -> None:
        assert self._host.stderr
        try:
            for line in self._host.stderr:
                if line.strip():
                    self._stderr.append(line.strip())
        except ValueError:  # closed
            return

    def _last(self) -> str:
        errors = [line for line in self._stderr if "Error" in line]
        return (errors or list(self._stderr) or ["nothing"])[-1]

    def _died(self) -> EngineError:
        self._host.wait()
        return EngineError(f"vLLM cannot be used with {self._python}: {self._last()}")
