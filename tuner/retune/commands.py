"""An operator's own shell command in; whether it worked, and the end of what it said without secrets, out.

It runs in a session of its own, so that a Ctrl-C meant for tuner does not end it, and what it starts in the background may
stay. It is never read from a database or a request.
"""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil

from tuner.launch.processes import kill_session
from tuner.space.words import is_secret

_TAIL = 2000
#: Shorter values of secret variables are words that stand anywhere.
_LEAST_SECRET = 6
_NAMED = r"[\w-]*(?:token|secret|password|passwd|api[_-]?key)(?![a-z])"
_SAID = re.compile(rf"(?i)(bearer\s+|--{_NAMED}[=\s]\s*['\"]?|{_NAMED}['\"]?\s*[=:]\s*['\"]?)[^\s'\"]+")
_IN_URL = re.compile(r"(://[^\s/:@]*:)[^\s/@]+@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """`exit_code` is None for a command that was killed because its time was up; `said` is the end of its output."""

    exit_code: int | None
    said: str
    took_s: float

    @property
    def worked(self) -> bool:
        return self.exit_code == 0

    def sentence(self, name: str) -> str:
        """What became of it; `name` is the option that it was given with."""
        end = f": {line}" if (line := next(reversed(self.said.splitlines()), "").strip()) else ""
        if self.exit_code is None:
            return f"{name} was still running after {self.took_s:.0f} s and was killed{end}"
        return f"{name} ended with exit code {self.exit_code} after {self.took_s:.0f} s{end}"


def run_command(command: str, variables: Mapping[str, str], timeout_s: float) -> Ran:
    """Run it by `sh -c`, with `variables` on top of this process's. An exception (Ctrl-C) kills it, and goes on."""
    began_s = time.monotonic()
    with tempfile.TemporaryFile() as output:  # a pipe would be held open by what stays in the background
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        exit_code: int | None
        try:
            exit_code = process.wait(timeout_s)
        except BaseException as error:
            kill_session(process.pid)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            exit_code = None
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - 4 * _TAIL))
        said = without_secrets(output.read().decode(errors="replace"), {**os.environ, **variables})
    return Ran(exit_code=exit_code, said=_printable(said[-_TAIL:]), took_s=time.monotonic() - began_s)


def end_left(variables: Mapping[str, str]) -> int:
    """Kill the commands that a dead tuner gave these variables, with what they started; how many there were."""
    found = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == process.pid and process.cmdline()[:2] == ["/bin/sh", "-c"]:
                its = process.environ()
                if all(its.get(name) == value for name, value in variables.items()):
                    kill_session(process.pid)
                    found += 1
    return found


def without_secrets(text: str, environment: Mapping[str, str]) -> str:
    """With *** for the values of secret variables, and for what stands behind words that announce a secret."""
    values = [value for name, value in environment.items() if is_secret(name) and len(value) >= _LEAST_SECRET]
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, "***")
    return _IN_URL.sub(r"\1***@", _SAID.sub(r"\1***", text))


def _printable(text: str) -> str:
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
