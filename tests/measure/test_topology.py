"""The kernel's files, as hosts have them."""

import os
from pathlib import Path

import pytest

from tuner.measure import topology as module
from tuner.measure.topology import topology
from tuner.types import DetectedGpu


def gpu(uuid: str, card: str | None = None) -> DetectedGpu:
    return DetectedGpu(
        index=0,
        uuid=uuid,
        name="NVIDIA L4",
        memory_bytes=None,
        compute_capability=(8, 9),
        driver="580",
        card_uuid=card,
    )


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 4, 5, 6})
    monkeypatch.setattr(module, "host_cores", lambda: 4)


@pytest.mark.usefixtures("allowed")
def test_a_host_of_two_nodes(tmp_path: Path) -> None:
    for thread in range(8):
        folder = tmp_path / "devices/system/cpu" / f"cpu{thread}" / "topology"
        name = "core_cpus_list" if thread % 2 else "thread_siblings_list"
        write(folder / name, f"{thread % 4},{thread % 4 + 4}")
    write(tmp_path / "devices/system/node/node0/cpulist", "0-1,4-5")
    write(tmp_path / "devices/system/node/node1/cpulist", "2-3,6-7")
    write(tmp_path / "bus/pci/devices/0000:3b:00.0/numa_node", "1")
    write(tmp_path / "bus/pci/devices/0000:af:00.0/numa_node", "-1")
    places = {"GPU-a": "0000:3b:00.0", "GPU-b": "0000:af:00.0", "GPU-c": None}
    found = topology([gpu("MIG-1", card="GPU-a"), gpu("GPU-b"), gpu("GPU-c")], tmp_path, places.__getitem__)
    assert [(core.threads, core.node) for core in found.cores] == [({0, 4}, 0), ({1, 5}, 0), ({2, 6}, 1)]
    assert found.lent == 4
    assert found.gpu_nodes == {"MIG-1": 1}


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("text", [None, "", "nonsense", "é"])
def test_a_sandbox_tells_nothing(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        write(tmp_path / "devices/system/cpu/cpu0/topology/core_cpus_list", text)
        write(tmp_path / "devices/system/node/node0/cpulist", text)
        write(tmp_path / "bus/pci/devices/0000:3b:00.0/numa_node", text)
    found = topology([gpu("GPU-a")], tmp_path, lambda _: "0000:3b:00.0")
    assert [(core.threads, core.node) for core in found.cores] == [({thread}, None) for thread in (0, 1, 2, 4, 5, 6)]
    assert not found.gpu_nodes


def test_this_host() -> None:
    found = topology()
    threads = [thread for core in found.cores for thread in core.threads]
    assert sorted(threads) == sorted(os.sched_getaffinity(0))
    assert 1 <= found.lent <= len(threads)
