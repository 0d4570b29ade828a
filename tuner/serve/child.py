"""Options in, the process that runs their study out: `tuner optimize` as a list of arguments, in a session of its own.

Whatever ends the service leaves the study running; a study is ended as a person would, with Ctrl-C. What a process was told to
write is below the folder of logs, by the job's token. It knows no queue.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tuner.launch.processes import identity, is_alive
from tuner.serve.allowed import Asked
from tuner.study.events import Begin, End, events_in
from tuner.study.flags import STORAGE, flags
from tuner.types import ProcessId

#: A study waits for a card that a terminal uses, as it does for one that another of the queue uses.
_WAIT_FOR_GPU_S = 86_400.0
#: Of a log so much is looked at.
_TAIL_BYTES = 65_536
_OWN = ("log_dir", "cache_dir", "vllm_python", "wait_for_gpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What every study of the service has in common."""

    storage: str
    logs: Path
    caches: Path | None = None
    python: str | None = None

    @property
    def folder(self) -> Path:
        """Of what the processes write."""
        return self.logs / "service"

    def events(self, token: str) -> Path:
        return self.folder / f"{token}.jsonl"

    def log(self, token: str) -> Path:
        return self.folder / f"{token}.log"


class Child:
    """A process that runs a study, started here or found."""

    def __init__(self, known: ProcessId, process: "subprocess.Popen[bytes] | None" = None) -> None:
        self.known, self._process = known, process

    @property
    def lives(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return is_alive(self.known)

    @property
    def code(self) -> int | None:
        """What it ended with; None of one that was not started here."""
        return None if self._process is None else self._process.poll()

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        if self.lives:
            with suppress(OSError):
                os.kill(self.known.pid, signal.SIGINT)


def arguments(asked: Asked, places: Places, token: str) -> list[str]:
    """The command. The database is not in it, for a URL may hold a password."""
    words = [sys.executable, "-m", "tuner", "optimize", f"--events={places.events(token)}"]
    words += flags(asked.options, without=_OWN)
    words += [f"--log-dir={places.logs}", f"--wait-for-gpu={_WAIT_FOR_GPU_S:.0f}"]
    words += [f"--cache-dir={places.caches}"] if places.caches else []
    return words + ([f"--vllm-python={places.python}"] if places.python else [])


def environment(asked: Asked, places: Places, mine: Mapping[str, str]) -> dict[str, str]:
    """Ours, with nothing that would be an option of the study beside those that were asked for."""
    handed = {name: value for name, value in mine.items() if not name.startswith("TUNER_")}
    if asked.hf_token is not None:
        handed["HF_TOKEN"] = mine[asked.hf_token]
    return {**handed, STORAGE: places.storage}


def start(asked: Asked, places: Places, token: str) -> Child:
    """Raises OSError where no process can be started."""
    places.folder.mkdir(parents=True, exist_ok=True)
    with places.log(token).open("ab") as log:
        process = subprocess.Popen(
            arguments(asked, places, token),
            env=environment(asked, places, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    with suppress(psutil.NoSuchProcess):
        return Child(identity(process.pid), process)
    return Child(ProcessId(process.pid, 0.0, None), process)


def ending(places: Places, token: str, pid: int) -> End | None:
    """How the run of that process ended, by what it wrote; None where it did not come to that."""
    told = events_in(_tail(places.events(token)))
    begun = [place for place, event in enumerate(told) if isinstance(event, Begin)]
    last = begun[-1] if begun else None
    if last is not None:
        begin = told[last]
        if isinstance(begin, Begin) and begin.pid != pid:
            return None
    ends = [event for event in told[last or 0 :] if isinstance(event, End)]
    return ends[-1] if ends else None


def last_line(places: Places, token: str) -> str:
    """Of the log: what a command says that was refused before it began."""
    lines = _tail(places.log(token)).decode(errors="replace").strip().splitlines()
    return "".join(letter for letter in lines[-1] if letter.isprintable())[:500] if lines else "its log is empty"


def _tail(path: Path) -> bytes:
    """From the first whole line on."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            data = file.read()
    except OSError:
        return b""
    return data if size <= _TAIL_BYTES else data.partition(b"\n")[2]
