import time
from collections.abc import Callable

import pytest

from tuner.measure.gpu import GpuProcess, GpuSampler, detect, memory_bytes, others_bytes, processes
from tuner.types import present


@pytest.fixture
def gpu() -> int:
    found = detect()
    if not found:
        pytest.skip("no NVIDIA GPU: NVML finds no driver or no device")
    return found[0].index


def test_without_a_gpu_everything_is_absent() -> None:
    if detect():
        pytest.skip("this machine has a GPU")
    assert memory_bytes("GPU-0") is None
    assert processes("GPU-0") == []
    with GpuSampler([0]) as sampler:
        pass
    assert sampler.metrics(1000) is None


def test_a_sampler_of_no_gpus_has_no_metrics() -> None:
    with GpuSampler([]) as sampler:
        pass
    assert sampler.metrics(1000) is None


def test_others_are_told_by_pid_where_ours_is_among_them() -> None:
    ours, other = GpuProcess(pid=1, memory_bytes=7), GpuProcess(pid=2, memory_bytes=5)
    assert others_bytes([ours, other], lambda pid: pid == 1) == 5
    assert others_bytes([ours], lambda pid: pid == 1) == 0
    assert others_bytes([GpuProcess(pid=88, memory_bytes=9), other], lambda pid: pid == 1) == 0
    assert others_bytes([], lambda pid: True) == 0


@pytest.mark.gpu
def test_a_gpu_that_is_not_there_is_absent(gpu: int) -> None:
    assert memory_bytes("GPU-0") is None
    with GpuSampler([gpu, 4096]) as sampler:
        time.sleep(0.3)
    assert sampler.metrics(1000) is None


@pytest.mark.gpu
def test_a_real_gpu_is_sampled(gpu: int) -> None:
    found = detect()[0]
    assert found.name.startswith(("NVIDIA", "Tesla", "Quadro", "GeForce"))
    assert found.uuid.startswith("GPU-")
    assert found.compute_capability >= (5, 0)
    with GpuSampler([gpu]) as sampler:
        time.sleep(1.0)
    metrics = sampler.metrics(1000)
    assert metrics is not None
    assert metrics.gpus == (gpu,)
    assert present(metrics.samples) >= 2
    assert 0 <= present(metrics.utilization) <= 1
    assert 0 <= present(metrics.memory_used_bytes) <= (found.memory_bytes or 0)  # an idle card may use none
    assert metrics.power_w is None or metrics.power_w > 1
    assert metrics.sm_clock_hz is None or 1e8 < metrics.sm_clock_hz < 5e9
    assert metrics.sm_clock_hz is None or metrics.sm_clock_hz <= present(metrics.sm_clock_max_hz)
    assert metrics.throttled is None or 0 <= metrics.throttled <= 1
    assert memory_bytes(found.uuid) is not None


@pytest.mark.gpu
def test_energy_is_power_times_time(gpu: int) -> None:
    with GpuSampler([gpu]) as sampler:
        time.sleep(2.0)
    metrics = sampler.metrics(500)
    assert metrics is not None
    if metrics.energy_j is None or metrics.power_w is None:
        pytest.skip("this card does not count energy")
    assert metrics.energy_j == pytest.approx(2.0 * metrics.power_w, rel=0.25)
    assert metrics.energy_per_1k_tokens_j == pytest.approx(2 * metrics.energy_j)


@pytest.mark.gpu
def test_activity_rises_under_a_matrix_product(gpu: int) -> None:
    torch = pytest.importorskip("torch")
    if detect()[0].compute_capability < (9, 0):
        pytest.skip("GPM needs a Hopper or newer")
    idle = sampled(gpu, lambda: time.sleep(0.02))
    side = torch.ones(8192, 8192, dtype=torch.bfloat16, device=f"cuda:{gpu}")

    def multiply() -> None:
        for _ in range(8):
            side @ side
        torch.cuda.synchronize()

    multiply()
    busy = sampled(gpu, multiply, 12.0)  # long enough for a counter of GPM to wrap around
    for activities in (idle, busy):
        assert all(0 <= value <= 1 for value in activities)
    assert busy[0] > idle[0] + 0.3
    assert busy[1] > idle[1] + 0.3
    assert busy[2] > idle[2]


@pytest.mark.gpu
def test_too_short_a_window_has_no_activity(gpu: int) -> None:
    with GpuSampler([gpu]) as sampler:
        pass
    metrics = sampler.metrics(None)
    assert metrics is None or metrics.sm_activity is None
    assert metrics is None or metrics.energy_per_1k_tokens_j is None


def sampled(gpu: int, work: Callable[[], None], seconds: float = 2.0) -> tuple[float, float, float]:
    """The three activities while `work` is done again and again."""
    with GpuSampler([gpu]) as sampler:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            work()
    metrics = sampler.metrics(None)
    assert metrics is not None
    assert metrics.sm_activity is not None
    assert metrics.tensor_activity is not None
    assert metrics.dram_activity is not None
    return metrics.sm_activity, metrics.tensor_activity, metrics.dram_activity
