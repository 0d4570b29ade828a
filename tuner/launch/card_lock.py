"""One tuner a card and host: a lock file by the card's UUID, held as long as this process lives and the block lasts.

The kernel lets go of it whatever ends the process. Containers that share no /tmp do not see each other's; what they hold of the
card's memory is still seen before each launch. It knows nothing of studies.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tuner.errors import RunError
from tuner.types import DetectedGpu

#: Not TMPDIR, which differs between users.
_FOLDER = Path("/tmp")
_POLL_S = 0.5


@contextmanager
def holding_cards(gpus: Sequence[DetectedGpu], wait_s: float, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the cards while the block runs, all tuners in the same order. Raises RunError when another tuner has not let go of
    one within `wait_s` seconds. `tell` is told once who is waited for."""
    with ExitStack() as stack:
        for gpu in sorted(gpus, key=lambda gpu: gpu.uuid):
            descriptor = _open(_FOLDER / f"tuner-{gpu.uuid}.lock")
            if descriptor is not None:
                stack.callback(os.close, descriptor)
                _lock(descriptor, gpu, wait_s, tell)
        yield


def _lock(descriptor: int, gpu: DetectedGpu, wait_s: float, tell: Callable[[str], None]) -> None:
    end, told = time.monotonic() + wait_s, False
    while not _taken(descriptor):
        holder = os.pread(descriptor, 64, 0).decode("ascii", errors="replace").strip() or "unknown"
        if time.monotonic() >= end:
            raise RunError(
                f"GPU {gpu.index} ({gpu.name}) is in use by another tuner (process {holder}), which was waited for {wait_s:g} "
                "s: wait for it, see --wait-for-gpu, or name another card in CUDA_VISIBLE_DEVICES"
            )
        if not told:
            tell(f"waiting for GPU {gpu.index}: another tuner (process {holder}) uses it")
            told = True
        time.sleep(min(_POLL_S, max(end - time.monotonic(), 0.0)))
    with suppress(OSError):  # another user's file can be locked, and not written
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: Path) -> int | None:
    """None where no lock can be kept: a card that cannot be locked is used as one that nobody else uses."""
    old = os.umask(0)
    try:
        for flags in (os.O_RDWR, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDONLY):
            with suppress(OSError):
                return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        return None
    finally:
        os.umask(old)
