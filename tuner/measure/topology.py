"""This host's folder of the kernel's files in; its cores and the memory nodes that they and the GPUs are near, out. Linux only.

A sandbox without these files, and a machine with one node, tell less: then each thread is a core of its own, and nothing is
near anything. It divides nothing.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tuner.measure.gpu import pci_address
from tuner.measure.host_cores import host_cores
from tuner.types import DetectedGpu

_SYS = Path("/sys")
#: The threads of a core: the newer name, and the one before Linux 5.3.
_SIBLINGS = ("core_cpus_list", "thread_siblings_list")


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """A core: those of its hardware threads that processes here may use, and the memory node (NUMA) that it is near."""

    threads: frozenset[int]
    node: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The cores that processes here may use, by their threads; `lent` is how many threads' time they get at once, which a quota
    makes fewer; `gpu_nodes` is the node that a GPU is near, by its UUID, where the host tells."""

    cores: tuple[Core, ...]
    lent: int
    gpu_nodes: Mapping[str, int] = field(default_factory=dict)


def topology(
    gpus: Sequence[DetectedGpu] = (), root: Path = _SYS, address: Callable[[str], str | None] = pci_address
) -> Topology:
    """Of this process. `address` is that of a GPU on the PCI bus, by the UUID of its card."""
    allowed = frozenset(os.sched_getaffinity(0))
    nodes = _nodes(root)
    siblings = {_siblings(root, thread) & allowed for thread in allowed}
    cores = [Core(threads=threads, node=nodes.get(min(threads))) for threads in siblings]
    found = {gpu.uuid: _node_of(root, address(gpu.card_uuid or gpu.uuid)) for gpu in gpus}
    return Topology(
        cores=tuple(sorted(cores, key=lambda core: min(core.threads))),
        lent=host_cores(),
        gpu_nodes={uuid: node for uuid, node in found.items() if node is not None},
    )


def _siblings(root: Path, thread: int) -> frozenset[int]:
    folder = root / "devices/system/cpu" / f"cpu{thread}" / "topology"
    return next((found for name in _SIBLINGS if thread in (found := _listed(folder / name))), frozenset({thread}))


def _nodes(root: Path) -> dict[int, int]:
    """The node of each thread."""
    folders = sorted((root / "devices/system/node").glob("node[0-9]*"))
    return {thread: int(folder.name[4:]) for folder in folders for thread in _listed(folder / "cpulist")}


def _node_of(root: Path, address: str | None) -> int | None:
    """The node of a device; the kernel says -1 where it knows none."""
    found = _read(root / "bus/pci/devices" / address / "numa_node") if address else ""
    return int(found) if found.isdecimal() else None


def _listed(path: Path) -> frozenset[int]:
    """What stands in a list such as 0-3,8; nothing where it cannot be read."""
    found: set[int] = set()
    try:
        for part in _read(path).split(","):
            first, _, last = part.partition("-")
            found.update(range(int(first), int(last or first) + 1))
    except ValueError:
        return frozenset()
    return frozenset(found)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
