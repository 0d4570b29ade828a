"""NVIDIA's management library: which GPUs there are, and how busy they are. The only door to NVML.

Without a driver nothing here raises: there are no GPUs. GPUs are numbered as NVML numbers them, which CUDA_VISIBLE_DEVICES does
not change. Knows nothing of vLLM. Utilization is the share of time with at least one kernel running: one sequence is enough to
read near 1, so it tells idle from busy, not how well the card is used.
"""

import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from time import monotonic, perf_counter
from types import TracebackType
from typing import Any, Self, TypeVar

import pynvml

from tuner.measure.gpu_window import GpuSample, GpuSpan, energy_between, gpu_metrics, share
from tuner.types import DetectedGpu, GpuMetrics

SAMPLE_S = 0.2
#: How long a reading in progress at the window's end is waited for: a card that falls off the bus may never answer.
_DRIVER_S = 5.0
#: GPM's counters need this long between two samples (nvmlGpmSampleGet in nvml.h).
_GPM_S = 0.1
#: And at most: on an H200 at full load the counters gave activities over 1 s, and none over 10 s.
_SPAN_S = 1.0
_ACTIVITIES = {
    "sm_activity": pynvml.NVML_GPM_METRIC_SM_UTIL,
    "tensor_activity": pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL,
    "dram_activity": pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL,
}
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process on a GPU. In a container NVML may list none, or pids of the host. Bytes are None where it does not tell."""

    pid: int
    memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edge:
    """One end of the window on one GPU. `gpm` is NVML's sample of its activity counters, to be freed."""

    time_s: float
    energy_mj: int | None
    gpm: Any | None


def detect() -> list[DetectedGpu]:
    """The GPUs that NVML sees, by index, those in MIG mode as their slices; empty without a driver. One that is lost is left
    out."""
    with _nvml() as available:
        if not available:
            return []
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        cards = [_read(_card, index, driver) for index in range(pynvml.nvmlDeviceGetCount())]
        return [gpu for card in cards for gpu in card or ()]


def memory_bytes(uuid: str) -> tuple[int, int] | None:
    """Memory of the GPU or MIG slice of that UUID: in use by all processes, and total; None without it or where it does not
    tell."""
    with _nvml() as available:
        return _read(lambda: _memory(pynvml.nvmlDeviceGetHandleByUUID(uuid))) if available else None


def tells_energy(uuid: str) -> bool:
    """Whether the GPU of that UUID counts the energy it takes: Volta and newer do, their MIG slices do not."""
    with _nvml() as available:
        handle = _read(pynvml.nvmlDeviceGetHandleByUUID, uuid) if available else None
        return handle is not None and _read(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle) is not None


def pci_address(uuid: str) -> str | None:
    """Where the GPU of that UUID is on the PCI bus, as Linux names it; None without it."""
    with _nvml() as available:
        handle = _read(pynvml.nvmlDeviceGetHandleByUUID, uuid) if available else None
        place = _read(pynvml.nvmlDeviceGetPciInfo, handle) if handle is not None else None
    return f"{place.domain:04x}:{place.bus:02x}:{place.device:02x}.0" if place else None


def processes(uuid: str) -> list[GpuProcess]:
    """The compute processes on the GPU of that UUID; empty without it."""
    with _nvml() as available:
        handle = _read(pynvml.nvmlDeviceGetHandleByUUID, uuid) if available else None
        return _processes(handle) if handle is not None else []


def utilization(uuids: Sequence[str]) -> float | None:
    """The share of the last moment that these GPUs worked, their mean; None where none of them tells."""
    with _nvml() as available:
        handles = [_read(pynvml.nvmlDeviceGetHandleByUUID, uuid) for uuid in uuids] if available else []
        rates = [_read(pynvml.nvmlDeviceGetUtilizationRates, handle) for handle in handles if handle is not None]
    known = [float(rate.gpu) / 100 for rate in rates if rate is not None]
    return sum(known) / len(known) if known else None


class GpuSampler:
    """`with GpuSampler(gpus) as sampler:` around the window; afterwards `sampler.metrics(output_tokens)`.

    Reads in its own thread, so that neither entering nor leaving waits for the driver. The thread's first reading is later
    than the window's start by what the driver takes to be opened, so energy lacks that much of it.
    """

    def __init__(self, gpus: Sequence[int], sessions: Collection[int] = ()) -> None:
        """The server's processes are those of `sessions`, where it runs on this machine."""
        self._gpus, self._sessions = tuple(gpus), sessions
        self._others_bytes = 0
        self._rounds: list[list[GpuSample]] = []
        self._times_s: list[float] = []
        self._spans: list[list[GpuSpan]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu-sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()

    def metrics(self, output_tokens: float | None) -> GpuMetrics | None:
        """The window's means, maximum and differences; `output_tokens` are the window's, for the energy per token.

        None without a GPU or where NVML tells no utilization.
        """
        self._thread.join(_DRIVER_S)
        return gpu_metrics(self._gpus, self._rounds, self._spans, output_tokens)

    def utilization(self) -> list[tuple[float, float]]:
        """The mean over the GPUs, each time that it was read."""
        self._thread.join(_DRIVER_S)
        means = [fmean(sample.utilization for sample in samples) for samples in self._rounds]
        return list(zip(self._times_s, means, strict=False))

    def others_bytes(self) -> int:
        """The most of a GPU's memory that other processes than the server's had in the window, as far as NVML tells whose it
        is; 0 where it does not."""
        self._thread.join(_DRIVER_S)
        return self._others_bytes

    def _run(self) -> None:
        with _nvml() as available:
            found = [_read(_handle, gpu) for gpu in self._gpus] if available else []
            handles = [handle for handle in found if handle is not None]
            if not handles or len(handles) < len(self._gpus):
                return
            edges = [_edge(handle) for handle in handles]
            while True:
                samples = [sample for handle in handles if (sample := _sample(handle)) is not None]
                if len(samples) == len(handles):
                    self._rounds.append(samples)
                    self._times_s.append(perf_counter())
                ends = self._stop.wait(SAMPLE_S)
                if ends or monotonic() - edges[0].time_s >= _SPAN_S:
                    edges = self._take_span(handles, edges)
                if ends:
                    break
            _free(edges)

    def _take_span(self, handles: Sequence[Any], starts: Sequence[_Edge]) -> list[_Edge]:
        """What happened since `starts`, which are freed; the new edges."""
        if self._sessions:
            others = [others_bytes(_processes(handle), partial(_is_in, self._sessions)) for handle in handles]
            self._others_bytes = max(self._others_bytes, *others)
        ends = [_edge(handle) for handle in handles]
        # a span that is shorter than the others would weigh too much
        least_s = _SPAN_S if self._spans else _GPM_S
        self._spans.append([_span(start, end, least_s) for start, end in zip(starts, ends, strict=True)])
        _free(starts)
        return ends


def others_bytes(running: Sequence[GpuProcess], is_ours: Callable[[int], bool]) -> int:
    """What the processes of a GPU hold of its memory that are not ours; 0 unless one of ours is among them: in a container the
    pids may be another namespace's."""
    others = [process for process in running if not is_ours(process.pid)]
    return sum(process.memory_bytes or 0 for process in others) if len(others) < len(running) else 0


def _is_in(sessions: Collection[int], pid: int) -> bool:
    try:
        return os.getsid(pid) in sessions
    except OSError:
        return False


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


def _read(call: Callable[..., Read], *arguments: Any) -> Read | None:
    """What the card tells, or None: which readings a card supports differs by product, and cards can fall off the bus."""
    try:
        return call(*arguments)
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


def _usable_bytes(handle: Any) -> int:
    """What a CUDA program finds: all but what the driver keeps for itself, which version 1 does not tell."""
    info = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    return int(info.total) - int(info.reserved)


def _processes(handle: Any) -> list[GpuProcess]:
    running = _read(pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
    return [GpuProcess(pid=process.pid, memory_bytes=process.usedGpuMemory) for process in running or []]


def _card(index: int, driver: str) -> list[DetectedGpu]:
    handle = _handle(index)
    gpu = _detected(handle, index, driver)
    mode = _read(pynvml.nvmlDeviceGetMigMode, handle)
    if not mode or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
        return [gpu]
    numbers = range(_read(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0)
    slices = [_read(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number) for number in numbers]
    return [_detected(part, index, driver, gpu) for part in slices if part is not None]


def _detected(handle: Any, index: int, driver: str, card: DetectedGpu | None = None) -> DetectedGpu:
    """With a `card` the handle is that of a MIG slice of it."""
    major, minor = card.compute_capability if card else pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    memory = _read(_memory, handle)
    return DetectedGpu(
        index=index,
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
        name=str(pynvml.nvmlDeviceGetName(handle)),
        memory_bytes=memory[1] if memory else None,
        compute_capability=(int(major), int(minor)),
        driver=driver,
        card_uuid=card.uuid if card else None,
        usable_bytes=_read(_usable_bytes, handle),
    )


def _sample(handle: Any) -> GpuSample | None:
    rates = _read(pynvml.nvmlDeviceGetUtilizationRates, handle)
    if rates is None:
        return None
    memory = _read(_memory, handle)
    milliwatts = _read(pynvml.nvmlDeviceGetPowerUsage, handle)
    megahertz = _read(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM)
    most = _read(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM)
    return GpuSample(
        utilization=rates.gpu / 100,
        memory_used_bytes=memory[0] if memory else None,
        power_w=milliwatts / 1000 if milliwatts is not None else None,
        sm_clock_hz=megahertz * 1e6 if megahertz is not None else None,
        clock_reasons=_read(_clock_reasons, handle),
        sm_clock_max_hz=most * 1e6 if most is not None else None,
    )


def _clock_reasons(handle: Any) -> int:
    try:
        return int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except pynvml.NVMLError_FunctionNotFound:  # drivers before 535
        return int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


def _edge(handle: Any) -> _Edge:
    energy_mj = _read(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle)
    return _Edge(time_s=monotonic(), energy_mj=energy_mj, gpm=_gpm_sample(handle))


def _gpm_sample(handle: Any) -> Any | None:
    """GPM's counters, to be freed; None before Hopper, under MIG, and with older drivers."""
    support = _read(pynvml.nvmlGpmQueryDeviceSupport, handle)
    sample = _read(pynvml.nvmlGpmSampleAlloc) if support and support.isSupportedDevice else None
    if sample and _read(pynvml.nvmlGpmSampleGet, handle, sample) is None:
        _read(pynvml.nvmlGpmSampleFree, sample)
        return None
    return sample


def _free(edges: Sequence[_Edge]) -> None:
    for edge in edges:
        if edge.gpm:
            _read(pynvml.nvmlGpmSampleFree, edge.gpm)


def _span(start: _Edge, end: _Edge, least_s: float) -> GpuSpan:
    """What happened between the two ends; without activity if they are less than `least_s` apart."""
    has_gpm = start.gpm and end.gpm and end.time_s - start.time_s >= least_s
    activities = _activities(start.gpm, end.gpm) if has_gpm else {}
    return GpuSpan(energy_j=energy_between(start.energy_mj, end.energy_mj), **activities)


def _activities(first: Any, last: Any) -> dict[str, float | None]:
    request = pynvml.c_nvmlGpmMetricsGet_t(
        version=pynvml.NVML_GPM_METRICS_GET_VERSION, numMetrics=len(_ACTIVITIES), sample1=first, sample2=last
    )
    for place, metric in enumerate(_ACTIVITIES.values()):
        request.metrics[place].metricId = metric
    if _read(pynvml.nvmlGpmMetricsGet, request) is None:
        return {}
    found = zip(_ACTIVITIES, request.metrics, strict=False)
    return {name: share(metric.value) for name, metric in found if metric.nvmlReturn == pynvml.NVML_SUCCESS}
