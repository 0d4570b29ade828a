"""A study that `tuner optimize` runs in a folder of its own, seen from outside: its rows, its phase, each of its processes.

Its processes are found by an environment variable that all of them inherit, and by their session where a process has written
over its environment (vLLM sets titles); so the search does not depend on what tuner recorded.
"""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

_MARK = "TUNED_IN"
#: Children of an API server or of EngineCore that are neither an engine nor a worker.
_HELPERS = ("resource_tracker", "registry")
_GONE = (psutil.NoSuchProcess, psutil.ZombieProcess, ProcessLookupError, PermissionError, FileNotFoundError)


class FaultyStudy:
    """`options` are those of `tuner optimize`, after the ones that make trials short."""

    def __init__(self, folder: Path, engine: Path, model: Path, *options: str) -> None:
        self.folder, self.database = folder, folder / "x.db"
        self.options = [
            "--gpu",
            "cpu",
            "--model",
            str(model),
            "--study",
            "s",
            "--storage",
            f"sqlite:///{self.database}",
        ]
        self.options += [
            "--vllm-python",
            str(engine),
            "--users",
            "4",
            "--warmup",
            "1",
            "--window",
            "1.5",
            "--precision",
            "0.9",
        ]
        self.options += ["--verify", "0", *options]
        self.output = folder / "output.txt"
        self._sessions: set[int] = set()

    def start(self, *more: str, program: Sequence[str] = ("-m", "tuner")) -> "subprocess.Popen[bytes]":
        """`tuner optimize`, or another `program` that is given the same options; what it says is appended to `output`."""
        self._sessions.clear()
        environment = {**os.environ, _MARK: str(self.folder), "HF_HUB_OFFLINE": "1"}
        with self.output.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, *program, "optimize", *self.options, *more],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @contextmanager
    def running(self, *more: str, program: Sequence[str] = ("-m", "tuner")) -> Iterator["subprocess.Popen[bytes]"]:
        """The same, for a block: it ends with it."""
        tuner = self.start(*more, program=program)
        try:
            yield tuner
        finally:
            tuner.kill()
            tuner.wait(60)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Of a database that may not be there yet, or not have the table yet."""
        try:
            with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=60)) as database:
                return database.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            if not str(error).startswith(("unable to open", "no such table")):
                raise
            return []

    def finished(self) -> dict[int, str]:
        """All that is stored of each finished trial, by number."""
        columns = "number, attempts, params, command, ended_at, failure_kind, outcome, violations"
        found = self.rows(f"SELECT {columns} FROM tuner_trial WHERE state = 'finished' ORDER BY number")
        return {row[0]: json.dumps(row) for row in found}

    def phase(self, tuner: int) -> str:
        """What the tuner of that pid is doing, from its last launch and that one's log."""
        launches = self.rows(
            "SELECT log, ended_at FROM tuner_launch WHERE tuner_pid = ? ORDER BY id DESC LIMIT 1", tuner
        )
        if not launches:
            return "importing vLLM"
        log, ended_at = launches[0]
        if ended_at is not None:
            return "between launches"
        text = Path(log).read_text(errors="replace") if Path(log).exists() else ""
        if "[shutdown]" in text or "Shutting down" in text:
            return "stopping"
        return "under load" if "Application startup complete" in text else "starting"

    def processes(self) -> list[psutil.Process]:
        """All living processes that this study's tuner started, itself included, and all of their sessions."""
        self._sessions |= {row[0] for row in self.rows("SELECT pgid FROM tuner_launch WHERE ended_at IS NULL")}
        living = [process for process in psutil.process_iter() if _is_alive(process)]
        marked = [process for process in living if self._is_marked(process)]
        self._sessions |= {session for process in marked if (session := _session(process)) is not None}
        self._sessions -= {os.getsid(0)}  # ours is never one of tuner's
        return marked + [p for p in living if p not in marked and _session(p) in self._sessions]

    def _is_marked(self, process: psutil.Process) -> bool:
        with suppress(*_GONE):
            return f"{_MARK}={self.folder}".encode() in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        return False


def roles(tuner: int) -> dict[str, psutil.Process]:
    """Who is who among the processes of a tuner: the host and its guard, a worker of the load, and of the newest server all
    that is there."""
    found: dict[str, psutil.Process] = {}
    for child in _children(tuner):
        if _says(child, "guard.py", "serve_forks.py"):
            found["fork server guard"] = child
            for host in _children(child.pid):
                found["fork server"] = host
                for leader in _children(host.pid):
                    found |= _server(leader)
        elif _says(child, "guard.py"):
            found |= _server(child)
        elif _says(child, "tuner.load.worker"):
            found["load worker"] = child
    return found


def _server(leader: psutil.Process) -> dict[str, psutil.Process]:
    if _session(leader) != leader.pid:  # just forked: it still looks like the host
        return {}
    found = {"guard": leader}
    for name in ("API server", "EngineCore", "worker"):
        below = [p for p in _children(list(found.values())[-1].pid) if not any(_says(p, helper) for helper in _HELPERS)]
        if not below:
            break
        found[name] = below[-1]
    return found


def _children(pid: int) -> Iterator[psutil.Process]:
    with suppress(*_GONE):
        yield from [child for child in psutil.Process(pid).children() if _is_alive(child)]


def _says(process: psutil.Process, *words: str) -> bool:
    with suppress(*_GONE):
        line = " ".join(process.cmdline())
        return all(word in line for word in words)
    return False


def _is_alive(process: psutil.Process) -> bool:
    with suppress(*_GONE):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _session(process: psutil.Process) -> int | None:
    with suppress(*_GONE):
        return os.getsid(process.pid)
    return None
