import time

import pytest

from tuner.measure.gpu import GpuSampler, detect, memory_used_bytes, processes


@pytest.fixture
def gpu() -> int:
    found = detect()
    if not found:
        pytest.skip("no NVIDIA GPU: NVML finds no driver or no device")
    return found[0].index


def test_without_a_gpu_everything_is_absent() -> None:
    if detect():
        pytest.skip("this machine has a GPU")
    assert memory_used_bytes(0) is None
    assert processes(0) == []
    with GpuSampler([0]) as sampler:
        pass
    assert sampler.metrics() is None


def test_a_sampler_of_no_gpus_has_no_metrics() -> None:
    with GpuSampler([]) as sampler:
        pass
    assert sampler.metrics() is None


@pytest.mark.gpu
def test_a_gpu_that_is_not_there_is_absent(gpu: int) -> None:
    assert memory_used_bytes(4096) is None
    with GpuSampler([gpu, 4096]) as sampler:
        time.sleep(0.3)
    assert sampler.metrics() is None


@pytest.mark.gpu
def test_a_real_gpu_is_sampled(gpu: int) -> None:
    found = detect()[0]
    assert found.name.startswith(("NVIDIA", "Tesla", "Quadro", "GeForce"))
    assert found.uuid.startswith("GPU-")
    assert found.compute_capability >= (5, 0)
    with GpuSampler([gpu]) as sampler:
        time.sleep(1.0)
    metrics = sampler.metrics()
    assert metrics is not None
    assert metrics.gpus == (gpu,)
    assert metrics.samples >= 2
    assert 0 <= metrics.utilization <= 1
    assert 0 <= metrics.memory_used_bytes <= (found.memory_bytes or 0)  # an idle card may use none
    assert metrics.power_w is None or metrics.power_w > 1
    assert memory_used_bytes(gpu) is not None
