"""NVIDIA's management library: which GPUs there are, and how busy they are. The only door to NVML.

Without a driver nothing here raises: there are no GPUs. GPUs are numbered as NVML numbers them, which CUDA_VISIBLE_DEVICES does
not change. Knows nothing of vLLM. Utilization is the share of time with at least one kernel running: one sequence is enough to
read near 1, so it tells idle from busy, not how well the card is used.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from types import TracebackType
from typing import Any, Self, TypeVar

import pynvml

from tuner.types import GpuMetrics

SAMPLE_S = 0.2
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedGpu:
    """One GPU. `memory_bytes` is None on boards that share the host's memory; `compute_capability` is (major, minor)."""

    index: int
    uuid: str
    name: str
    memory_bytes: int | None
    compute_capability: tuple[int, int]
    driver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process on a GPU. In a container NVML may list none, or pids of the host. Bytes are None where it does not tell."""

    pid: int
    memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    utilization: float
    memory_used_bytes: int | None
    power_w: float | None


def detect() -> list[DetectedGpu]:
    """The GPUs that NVML sees, by index; empty without a driver."""
    with _nvml() as available:
        if not available:
            return []
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        return [_detected(index, driver) for index in range(pynvml.nvmlDeviceGetCount())]


def memory_used_bytes(gpu: int) -> int | None:
    """Memory in use on GPU `gpu`, by all processes; None without that GPU or where it does not tell."""
    with _nvml() as available:
        return _read(lambda: _memory(_handle(gpu))[0]) if available else None


def processes(gpu: int) -> list[GpuProcess]:
    """The compute processes on GPU `gpu`; empty without that GPU."""
    with _nvml() as available:
        running = _read(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(_handle(gpu))) if available else None
        return [GpuProcess(pid=process.pid, memory_bytes=process.usedGpuMemory) for process in running or []]


class GpuSampler:
    """`with GpuSampler(gpus) as sampler:` around the window; afterwards `sampler.metrics()`. Samples in its own thread."""

    def __init__(self, gpus: Sequence[int]) -> None:
        self._gpus = tuple(gpus)
        self._rounds: list[list[_Sample]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu-sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def metrics(self) -> GpuMetrics | None:
        """The window's means and maximum; None without a GPU or where NVML tells no utilization or memory."""
        rounds = self._rounds
        memory = [_total([sample.memory_used_bytes for sample in samples]) for samples in rounds]
        known = [used for used in memory if used is not None]
        if not known:
            return None
        power = [_total([sample.power_w for sample in samples]) for samples in rounds]
        watts = [drawn for drawn in power if drawn is not None]
        return GpuMetrics(
            gpus=self._gpus,
            samples=len(rounds),
            utilization=fmean(sample.utilization for samples in rounds for sample in samples),
            memory_used_bytes=int(max(known)),
            power_w=fmean(watts) if watts else None,
        )

    def _run(self) -> None:
        with _nvml() as available:
            while available and self._gpus:
                samples = [_sample(gpu) for gpu in self._gpus]
                complete = [sample for sample in samples if sample is not None]
                if len(complete) == len(samples):
                    self._rounds.append(complete)
                if self._stop.wait(SAMPLE_S):
                    return


@contextmanager
def _nvml() -> Iterator[bool]:
    """Whether NVML can be used inside the block. NVML counts its users, so blocks may overlap."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        pynvml.nvmlShutdown()


def _read(call: Callable[[], Read]) -> Read | None:
    """What the card tells, or None: which readings a card supports differs by product, and cards can fall off the bus."""
    try:
        return call()
    except pynvml.NVMLError:
        return None


def _handle(gpu: int) -> Any:
    return pynvml.nvmlDeviceGetHandleByIndex(gpu)


def _memory(handle: Any) -> tuple[int, int]:
    """Used and total bytes. Version 2 does not count the driver's reserve as used; older drivers have only version 1."""
    try:
        info = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except (pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_ArgumentVersionMismatch):
        info = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return int(info.used), int(info.total)


def _detected(index: int, driver: str) -> DetectedGpu:
    handle = _handle(index)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    memory = _read(lambda: _memory(handle))
    return DetectedGpu(
        index=index,
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
        name=str(pynvml.nvmlDeviceGetName(handle)),
        memory_bytes=memory[1] if memory else None,
        compute_capability=(int(major), int(minor)),
        driver=driver,
    )


def _sample(gpu: int) -> _Sample | None:
    handle = _read(lambda: _handle(gpu))
    rates = _read(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle)) if handle else None
    if rates is None:
        return None
    memory = _read(lambda: _memory(handle))
    milliwatts = _read(lambda: pynvml.nvmlDeviceGetPowerUsage(handle))
    return _Sample(
        utilization=rates.gpu / 100,
        memory_used_bytes=memory[0] if memory else None,
        power_w=milliwatts / 1000 if milliwatts is not None else None,
    )


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
