"""The cores, processes and servers of the load benchmarks: who runs where, and what CPU time it costs."""

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from truth import Truth, read_truth

from tuner.launch.vllm import VllmLauncher
from tuner.space.files import load_space
from tuner.types import Endpoint

CORES = sorted(os.sched_getaffinity(0))
#: The server has a core of its own. Costs and rates of clients are taken on one core, everything else on all but the server's.
SERVER = CORES[:1]
CLIENT = CORES[1:2] or CORES
CLIENTS = CORES[1:] or CORES
PACED_SERVER = Path(__file__).parents[1] / "paced_server.py"


@contextmanager
def on_cores(cores: Sequence[int], *, real_time: bool = False) -> Iterator[None]:
    """This process, and what it starts meanwhile. With `real_time` other processes of the machine hardly disturb it, where that
    is permitted: a client that has to wait for its core reads several chunks at once, which looks cheap."""
    affinity, policy, priority = os.sched_getaffinity(0), os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setaffinity(0, cores)
    if real_time:
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)
        os.sched_setaffinity(0, affinity)


@contextmanager
def preferred() -> Iterator[None]:
    """Other processes of the machine get little beside this one and what it starts, where that is permitted. For servers with
    threads on several cores, which real-time priority would let starve each other."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


@dataclass(frozen=True, slots=True)
class Paced:
    """A running paced server."""

    url: str

    def truth(self) -> Truth:
        """What it has served since it was last asked to forget."""
        with urllib.request.urlopen(f"{self.url}/stats", timeout=60) as response:
            return read_truth(json.load(response))

    def forget(self) -> None:
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/stats", method="DELETE"), timeout=60).close()


@contextmanager
def paced_server(*, ttft_s: float, itl_s: float, step: bool = False, real_time: bool = False) -> Iterator[Paced]:
    flags = ["--ttft", str(ttft_s), "--itl", str(itl_s), *["--step"] * step]
    with on_cores(SERVER, real_time=real_time):
        process = subprocess.Popen([sys.executable, PACED_SERVER, *flags], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield Paced(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


@contextmanager
def cpu_engine(python: Path, model: Path) -> Iterator[Endpoint]:
    """vLLM's CPU engine, started as tuner starts it."""
    space = load_space("cpu")
    engine = VllmLauncher(python=python, model=str(model), fixed=space.fixed, environment=space.environment)
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        launch = engine.launch(engine.command({}), Path(folder) / "log", lambda launch: None)
        endpoint, _ = runner.run(launch.__aenter__())
        try:
            yield endpoint
        finally:
            runner.run(launch.__aexit__(None, None, None))


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended well: when it began, on the clock of perf_counter, and what it and its children used."""

    began_s: float
    wall_s: float
    cpu_s: float


def run(argv: Sequence[str | Path]) -> Ended:
    """Run a command to its end. Raises SystemExit with the end of what it said when it fails."""
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    with tempfile.TemporaryFile("w+") as said:
        began_s = perf_counter()
        process = subprocess.Popen(argv, env=offline, stdout=said, stderr=said, start_new_session=True)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{Path(argv[0]).name} failed ({process.returncode}):\n{said.read()[-2000:]}")
        return Ended(began_s, perf_counter() - began_s, usage.ru_utime + usage.ru_stime)
