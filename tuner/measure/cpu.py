"""A session of processes in; how many cores it kept busy over the window out. Knows nothing of what the processes are."""

import os
from collections.abc import Mapping
from time import perf_counter
from types import TracebackType
from typing import Self

import psutil

#: CPU seconds by (pid, start time): a pid that is used again is another process.
_CpuSeconds = Mapping[tuple[int, float], float]


class CpuSampler:
    """`with CpuSampler(session) as sampler:` around the window; afterwards `sampler.mean_cores()`.

    A process that ends inside the window is left out: what it used after the start is not known.
    """

    def __init__(self, session: int) -> None:
        self._session = session

    def __enter__(self) -> Self:
        self._start_s = perf_counter()
        self._before = cpu_seconds(self._session)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._after = cpu_seconds(self._session)
        self._elapsed_s = perf_counter() - self._start_s

    def mean_cores(self) -> float | None:
        """CPU seconds per second over the session's processes; None when it had none at the end."""
        if not self._after or self._elapsed_s <= 0:
            return None
        return sum(used - self._before.get(key, 0.0) for key, used in self._after.items()) / self._elapsed_s


def cpu_seconds(session: int) -> _CpuSeconds:
    """User plus system seconds of each process of the session so far."""
    found: dict[tuple[int, float], float] = {}
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session:
                process = psutil.Process(pid)
                times = process.cpu_times()
                found[pid, process.create_time()] = times.user + times.system
        except (psutil.Error, ProcessLookupError, PermissionError):
            continue  # it ended while we looked
    return found
