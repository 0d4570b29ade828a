"""This machine in; how many cores it lends to its processes, and how busy they are, out. Linux only.

A container may lend fewer than the machine has: by its set of cores (the affinity that processes inherit), or by a quota of
processor time (cgroup's cpu.max, or cfs_quota_us of its first version). Time that a hypervisor took (steal) counts as busy.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

_STAT = Path("/proc/stat")
_OWN = Path("/proc/self/cgroup")
_CGROUP = Path("/sys/fs/cgroup")
#: Of a line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal (proc(5)); guests are in user.
_FIELDS, _IDLE, _IOWAIT = 8, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTime:
    """So far: seconds of its clock, busy and whole ticks of the cores that are lent, and processor seconds that a group with a
    quota used."""

    time_s: float
    busy: int
    whole: int
    quota_used_s: float | None = None
    quota: float | None = None


def host_cores() -> int:
    """Those that processes here may use; a quota of 3.5 is 4."""
    lent = len(os.sched_getaffinity(0))
    quota = _quota()
    return lent if quota is None else max(1, min(lent, math.ceil(quota[0])))


def host_time() -> HostTime | None:
    """None where the machine does not tell."""
    try:
        lent = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        lines = [line.split() for line in _STAT.read_text(encoding="ascii").splitlines() if line.startswith("cpu")]
        ticks = [[*map(int, line[1 : 1 + _FIELDS])] for line in lines if line[0] in lent]
    except (OSError, ValueError):
        return None
    if not ticks or min(map(len, ticks)) <= _IOWAIT:
        return None
    quota = _quota()
    whole = sum(map(sum, ticks))
    idle = sum(core[_IDLE] + core[_IOWAIT] for core in ticks)
    return HostTime(
        time_s=perf_counter(),
        busy=whole - idle,
        whole=whole,
        quota_used_s=quota[1] if quota else None,
        quota=quota[0] if quota else None,
    )


def busy(first: HostTime, last: HostTime) -> float | None:
    """The share 0..1 of the cores that anything used in between; of a quota where more of that was used."""
    if last.whole <= first.whole:
        return None
    shares = [(last.busy - first.busy) / (last.whole - first.whole)]
    elapsed_s = last.time_s - first.time_s
    if last.quota and last.quota_used_s is not None and first.quota_used_s is not None and elapsed_s > 0:
        shares.append((last.quota_used_s - first.quota_used_s) / elapsed_s / last.quota)
    return min(max(*shares, 0.0), 1.0)


def _quota() -> tuple[float, float | None] | None:
    """The smallest quota of this process's group and those above it, in cores, and the processor seconds used of it; None
    without one."""
    found = [quota for folder in _folders() if (quota := _quota_of(folder)) is not None]
    return min(found, key=lambda quota: quota[0], default=None)


def _folders() -> list[Path]:
    try:
        lines = [line.split(":", 2) for line in _OWN.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return []
    folders: list[Path] = []
    for parts in lines:
        if len(parts) == 3 and (not parts[1] or "cpu" in parts[1].split(",")):
            root = _CGROUP / parts[1] if parts[1] else _CGROUP
            own = root / parts[2].strip("/")
            folders += [own, *(parent for parent in own.parents if parent.is_relative_to(root))]
    return list(dict.fromkeys(folders))


def _quota_of(folder: Path) -> tuple[float, float | None] | None:
    try:
        if (limit := folder / "cpu.max").exists():
            most, period = limit.read_text(encoding="ascii").split()[:2]
            used = dict(line.split() for line in (folder / "cpu.stat").read_text(encoding="ascii").splitlines())
            seconds = int(used["usage_usec"]) / 1e6 if "usage_usec" in used else None
            return None if most == "max" else (int(most) / int(period), seconds)
        microseconds = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period_us = int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return (microseconds / period_us, None) if microseconds > 0 and period_us > 0 else None
