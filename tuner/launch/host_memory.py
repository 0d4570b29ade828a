"""What the kernel says of the host's memory: how much there is, and how often it ended a process for want of it."""

import re
from pathlib import Path

import psutil

_VMSTAT = Path("/proc/vmstat")
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def oom_kills() -> int | None:
    """How many processes the kernel's OOM killer has ended since the host started; None where it does not tell."""
    found = re.search(r"^oom_kill (\d+)$", _read(_VMSTAT), re.MULTILINE)
    return int(found[1]) if found else None


def memory_bytes() -> int:
    """What this host or container may use at the most."""
    total, limit = psutil.virtual_memory().total, _read(_CGROUP).strip()
    return min(total, int(limit)) if limit.isdigit() else total


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
