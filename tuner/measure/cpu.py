"""A server's processes in; how many cores they kept busy over the window, who of them, and how busy the machine was, out.

Read once a second in a thread of its own: the processes that are known by then at each reading, new ones at every few. Which
process has which part is in roles.py.
"""

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import Self

import psutil

from tuner.measure.host_cores import HostTime, busy, host_cores, host_time
from tuner.measure.roles import Role, by_role, role_of
from tuner.measure.timeline import CpuSeconds
from tuner.types import Cores

#: CPU seconds by (pid, start time): a pid that is used again is another process.
_CpuSeconds = Mapping[tuple[int, float], float]
_SAMPLE_S = 1.0
#: New processes are looked for at every so many readings.
_LOOK = 5
#: How long a reading in progress at the window's end is waited for.
_READ_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    time_s: float
    used: _CpuSeconds
    host: HostTime | None


class CpuSampler:
    """`with CpuSampler(sessions) as sampler:` around the window; afterwards `sampler.mean_cores()`, `sampler.cores()` and
    `sampler.seconds()`.

    A process that ends inside the window is left out: what it used after its last reading is not known.
    """

    def __init__(self, sessions: Collection[int] = (), pids: Iterable[int] = ()) -> None:
        """The server's processes are those of `sessions`, else `pids` and all that these have started."""
        self._members: Callable[[], list[int]] = (
            (lambda: _of_sessions(sessions)) if sessions else (lambda: _with_children(pids))
        )
        self._readings: list[_Reading] = []
        self._roles: dict[tuple[int, float], Role] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cpu-sampler", daemon=True)

    def __enter__(self) -> Self:
        self._readings.append(_read(self._members()))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_READ_S)
        self._readings.append(last := _read(self._members()))
        self._roles = {key: role_of(key[0]) for key in last.used}

    def mean_cores(self) -> float | None:
        """CPU seconds per second over the processes; None when there was none at the end."""
        used = self._used()
        return sum(used.values()) if used else None

    def cores(self) -> Cores:
        """Who was busy, and the machine; None in it for what nobody can tell."""
        first, last = self._readings[0], self._readings[-1]
        roles = by_role({key: (self._roles[key], cores) for key, cores in self._used().items()})
        return Cores(
            engine_core=roles.engine_core,
            api_server_max=roles.api_server_max,
            api_servers=roles.api_servers,
            worker_max=roles.worker_max,
            host_cores=host_cores(),
            host_busy=busy(first.host, last.host) if first.host and last.host else None,
        )

    def seconds(self) -> list[CpuSeconds]:
        """What was used since the first reading, at each; EngineCore's is that of all of them."""
        first, found = self._readings[0].used, []
        engine_core = [key for key, role in self._roles.items() if role is Role.ENGINE_CORE]
        for reading in self._readings:
            used = {key: seconds - first.get(key, 0.0) for key, seconds in reading.used.items() if key in self._roles}
            engine = [used[key] for key in engine_core if key in used]
            found.append(
                CpuSeconds(
                    time_s=reading.time_s, server=sum(used.values()), engine_core=sum(engine) if engine else None
                )
            )
        return found if self._roles else []

    def _used(self) -> dict[tuple[int, float], float]:
        """The mean cores of each process that was there at the end."""
        first, last = self._readings[0], self._readings[-1]
        elapsed_s = last.time_s - first.time_s
        if elapsed_s <= 0:
            return {}
        return {key: (used - first.used.get(key, 0.0)) / elapsed_s for key, used in last.used.items()}

    def _run(self) -> None:
        pids, rounds = [pid for pid, _ in self._readings[0].used], 0
        while not self._stop.wait(_SAMPLE_S):
            rounds += 1
            pids = self._members() if rounds % _LOOK == 0 else pids
            self._readings.append(_read(pids))


def cpu_seconds(session: int) -> _CpuSeconds:
    """User plus system seconds of each process of the session so far."""
    return _read(_of_sessions([session])).used


def _read(pids: Iterable[int]) -> _Reading:
    found: dict[tuple[int, float], float] = {}
    time_s = perf_counter()
    for pid in pids:
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            found[pid, process.create_time()] = times.user + times.system
        except psutil.Error:
            continue  # it ended while we looked
    return _Reading(time_s=time_s, used=found, host=host_time())


def _of_sessions(sessions: Collection[int]) -> list[int]:
    return [pid for pid in psutil.pids() if _session(pid) in sessions]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _with_children(pids: Iterable[int]) -> list[int]:
    found = {}
    for pid in pids:
        try:
            found[pid] = process = psutil.Process(pid)
            found |= {child.pid: child for child in process.children(recursive=True)}
        except psutil.Error:
            continue
    return [*found]
