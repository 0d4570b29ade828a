"""A fingerprint in; the folder where vLLM keeps what it compiled for it, and whether this host has used it since it booted.

The first server on a host compiles kernels while it is loaded, reads everything from disk, and was measured 20 to 40 % slower
than later ones: its measurement is worth nothing, its caches are.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from tuner.errors import UsageError
from tuner.types import Fingerprint

_BOOT = Path("/proc/sys/kernel/random/boot_id")
#: What is said of the first start on a host, which is run twice.
COLD = "the first start on this host fills the caches; its measurement is discarded"


@dataclass(frozen=True, slots=True)
class Caches:
    """One folder for all studies whose servers can share compiled code."""

    folder: Path

    def environment(self) -> dict[str, str]:
        """What tells vLLM, torch.compile and Triton to keep theirs there; a place that the user chose stays."""
        places = {
            "VLLM_CACHE_ROOT": self.folder / "vllm",
            "TORCHINDUCTOR_CACHE_DIR": self.folder / "inductor",
            "TRITON_CACHE_DIR": self.folder / "triton",
        }
        return {name: str(place) for name, place in places.items() if name not in os.environ}

    def is_cold(self) -> bool:
        """Whether no server has been measured with these caches since the host booted. Settings of a new compile key are not
        cold by that: they are compiled before the server is ready, which no measurement contains."""
        try:
            return self._mark.read_text(encoding="utf-8") != _boot()
        except OSError:
            return True

    def mark_warm(self) -> None:
        """Note that one has."""
        self._mark.write_text(_boot(), encoding="utf-8")

    @property
    def _mark(self) -> Path:
        return self.folder / "booted"


def caches_of(fingerprint: Fingerprint, root: Path) -> Caches:
    """The folder in `root`, made. The workload is no part of its name: it changes nothing that is compiled.

    Raises UsageError when it cannot be made.
    """
    known = fingerprint.conditions()
    del known["workload_hash"]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
    folder = root.expanduser().absolute() / digest
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made for compiled code: {error.strerror}: see --cache-dir") from error
    return Caches(folder)


def default_root() -> Path:
    """Where users expect caches: XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "tuner"


def _boot() -> str:
    return _BOOT.read_text(encoding="utf-8").strip() if _BOOT.is_file() else "unknown"


class Unused(Caches):
    """Nothing is compiled here, so nothing is cold."""

    __slots__ = ()

    def is_cold(self) -> bool:
        return False
