"""The user's own command and a server in; what it says of the server's answers out, or one sentence why it says nothing.

It runs in a shell, in a session of its own, and is killed with all that it started at its timeout, when tuner is interrupted,
and when tuner dies. It has the user's environment, and where the server is; what it prints is kept without what looks like a
secret.
"""

import asyncio
import os
import re
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import IO

from tuner.launch.process import ProcessGroup
from tuner.space.redaction import redacted
from tuner.space.words import is_secret
from tuner.types import Target
from tuner.types.quality import Task

_POLL_S = 0.05
_STOP_S = 2.0
#: What is read of the end of its output, and kept.
_MOST_BYTES = 1 << 20
_RIGHT = re.compile(r"(\S+)\s+([01])")
#: What a shell ends with that cannot start a command; and, with a signal's number on top, where one ended it.
_NOT_STARTED, _SIGNALLED = (126, 127), 128


async def run_quality_command(command: str, target: Target, timeout_s: float, log: Path) -> Task | str:
    """Its answers, else a sentence. `log` gets what it printed."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        argv = ("/bin/sh", "-c", f"exec 2>/dev/fd/{complaints.fileno()}\n{command}")
        environment = {**os.environ, "TUNER_BASE_URL": target.base_url, "TUNER_MODEL": target.model}
        try:
            group = ProcessGroup.spawn(argv, environment, output, Path.cwd(), pass_fd=complaints.fileno())
        except OSError as error:
            return f"--quality-cmd cannot be started: {error.strerror}"
        try:
            code = await _end(group, timeout_s)
        finally:
            await _gone(group)
            said, complained = _tail(output), _tail(complaints)
            with suppress(OSError):  # a full disk
                log.write_text(f"{said}{'--- stderr' if complained else ''}\n{complained}", encoding="utf-8")
    if code is None:
        return f"--quality-cmd did not end within {timeout_s:g} s (--quality-timeout)"
    if code in _NOT_STARTED or code - _SIGNALLED in signal.valid_signals():
        why = "could not be started" if code in _NOT_STARTED else f"was ended by signal {code - _SIGNALLED}"
        last = next((line.strip() for line in reversed(complained.splitlines()) if line.strip()), "")
        return f"--quality-cmd {why}{f': {last[:200]}' if last else ''} (see {log})"
    return task_of(code, said, log)


def task_of(code: int, said: str, log: Path) -> Task | str:
    """What an exit code and the output mean: the last line is a number, or `ID 0` or `ID 1`, as others before it may be;
    without any line the exit code is all that counts, and so it is of a command that failed."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if code or not lines:
        return Task(exit_code=code)
    if _RIGHT.fullmatch(lines[-1]) is not None:
        return _answers(code, lines, log)
    try:
        score = float(lines[-1])
    except ValueError:
        score = float("nan")
    if not isfinite(score):
        found = f"{lines[-1][:80]!r} (see {log})"
        return f"--quality-cmd printed neither a number nor lines of `ID 0` or `ID 1` at its end, but {found}"
    return Task(exit_code=code, score=score)


def _answers(code: int, lines: Sequence[str], log: Path) -> Task | str:
    right: dict[str, bool] = {}
    for line in lines:
        if (found := _RIGHT.fullmatch(line)) is None:
            continue
        if found[1] in right:
            return f"--quality-cmd printed {found[1]} twice: each answer needs a name of its own (see {log})"
        right[found[1]] = found[2] == "1"
    return Task(exit_code=code, right=right)


async def _end(group: ProcessGroup, timeout_s: float) -> int | None:
    """The exit code, None where it had to be stopped."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while (code := group.exit_code()) is None and loop.time() < end:
        await asyncio.sleep(_POLL_S)
    return code


async def _gone(group: ProcessGroup) -> None:
    if group.exit_code() is None:
        with suppress(asyncio.CancelledError):
            await group.stop(_STOP_S)
    group.kill()


def _tail(file: IO[bytes]) -> str:
    """The end of what was written, without secrets: those that have the form of one, and those of the environment."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _MOST_BYTES))
    secrets = [value for name, value in os.environ.items() if is_secret(name)]
    return redacted(file.read().decode(errors="replace"), secrets)
