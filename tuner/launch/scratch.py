"""A short private folder for what a server leaves in the temporary folder: sockets of ZeroMQ, locks, compilers' files.

In: nothing. Out: a folder, removed with the launch by its guard (standalone/guard.py), by the launcher, and where both were
killed by the next launch of any tuner. A Unix socket's path has at most 107 bytes, so the folder's name is short.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import getpid, sysconf
from pathlib import Path

from tuner.launch.processes import identity, is_alive, place
from tuner.types import ProcessId

#: What a socket's name may take behind the folder: vLLM's is a UUID of 36, multiprocessing's two names of 32.
_LONGEST_ROOT = 30
_PREFIX = "tuner-"


def variables(folder: Path) -> dict[str, str]:
    """What makes a server keep its files there, and its guard remove them."""
    return {"TMPDIR": str(folder), "VLLM_RPC_BASE_PATH": str(folder), "TUNER_SCRATCH": str(folder)}


@contextmanager
def scratch() -> Iterator[Path]:
    """A new folder for the block. Raises OSError where it cannot be made."""
    root = Path(tempfile.gettempdir())
    root = root if len(str(root)) <= _LONGEST_ROOT else Path("/tmp")
    _remove_abandoned(root)
    me = identity(getpid())
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{_here()}-{me.pid}-{_ticks(me)}-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(root: Path) -> None:
    """Those of tuners of this boot and PID namespace that are gone."""
    for folder in root.glob(f"{_PREFIX}{_here()}-*"):
        _, _, pid, ticks, *_ = folder.name.split("-")
        if not is_alive(ProcessId(int(pid), int(ticks) / sysconf("SC_CLK_TCK"), place())):
            shutil.rmtree(folder, ignore_errors=True)


def _here() -> str:
    return hashlib.sha256(place().encode()).hexdigest()[:6]


def _ticks(known: ProcessId) -> int:
    return round(known.started_s * sysconf("SC_CLK_TCK"))
