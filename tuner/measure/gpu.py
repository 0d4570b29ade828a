"""NVIDIA's management library: which GPUs there are, and how busy they are. The only door to NVML.

Without a driver nothing here raises: there are no GPUs. GPUs are numbered as NVML numbers them, which CUDA_VISIBLE_DEVICES does
not change. Knows nothing of vLLM. Utilization is the share of time with at least one kernel running: one sequence is enough to
read near 1, so it tells idle from busy, not how well the card is used.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
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
    """`with GpuSampler(gpus) as sampler:` around the window; afterwards `sampler.metrics(output_tokens)`.

    Reads in its own thread, so that neither entering nor leaving waits for the driver. The thread's first reading is later
    than the window's start by what the driver takes to be opened, so energy lacks that much of it.
    """

    def __init__(self, gpus: Sequence[int]) -> None:
        self._gpus = tuple(gpus)
        self._rounds: list[list[GpuSample]] = []
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

        None without a GPU or where NVML tells no utilization or memory.
        """
        self._thread.join(_DRIVER_S)
        return gpu_metrics(self._gpus, self._rounds, self._spans, output_tokens)

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
                ends = self._stop.wait(SAMPLE_S)
                if ends or monotonic() - edges[0].time_s >= _SPAN_S:
                    edges = self._take_span(handles, edges)
                if ends:
                    break
            _free(edges)

    def _take_span(self, handles: Sequence[Any], starts: Sequence[_Edge]) -> list[_Edge]:
        """What happened since `starts`, which are freed; the new edges."""
        ends = [_edge(handle) for handle in handles]
        # a span that is shorter than the others would weigh too much
        least_s = _SPAN_S if self._spans else _GPM_S
        self._spans.append([_span(start, end, least_s) for start, end in zip(starts, ends, strict=True)])
        _free(starts)
        return ends


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


def _detected(index: int, driver: str) -> DetectedGpu:
    handle = _handle(index)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    memory = _read(_memory, handle)
    return DetectedGpu(
        index=index,
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
        name=str(pynvml.nvmlDeviceGetName(handle)),
        memory_bytes=memory[1] if memory else None,
        compute_capability=(int(major), int(minor)),
        driver=driver,
    )


def _sample(handle: Any) -> GpuSample | None:
    rates = _read(pynvml.nvmlDeviceGetUtilizationRates, handle)
    if rates is None:
        return None
    memory = _read(_memory, handle)
    milliwatts = _read(pynvml.nvmlDeviceGetPowerUsage, handle)
    megahertz = _read(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM)
    return GpuSample(
        utilization=rates.gpu / 100,
        memory_used_bytes=memory[0] if memory else None,
        power_w=milliwatts / 1000 if milliwatts is not None else None,
        sm_clock_hz=megahertz * 1e6 if megahertz is not None else None,
        clock_reasons=_read(_clock_reasons, handle),
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
