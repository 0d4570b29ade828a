"""What of a host and of a model must be equal for two trials to be comparable, told where it is asked.

It does not know what else a fingerprint has, nor whose host this is.
"""

import hashlib
import os
import platform
import re
from pathlib import Path


def processor() -> str:
    """The host as far as speed goes: its processor. A container's host name changes with every start."""
    names = re.findall(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def revision(model: str) -> str | None:
    """Tells a model folder from another by its config.json; None of a name of the hub."""
    config = Path(model) / "config.json"
    return hashlib.sha256(config.read_bytes()).hexdigest()[:16] if config.is_file() else None


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
