from dataclasses import replace

import pytest

from tuner.measure.gpu_window import GpuSample, GpuSpan, energy_between, gpu_metrics, share, throttle_reasons
from tuner.types import GpuMetrics

GIB = 1024**3
SAMPLE = GpuSample(
    utilization=0.5, memory_used_bytes=10 * GIB, power_w=300.0, sm_clock_hz=1.8e9, clock_reasons=0, sm_clock_max_hz=2e9
)
SPAN = GpuSpan(energy_j=600.0, sm_activity=0.5, tensor_activity=0.25, dram_activity=0.125)
NOTHING = GpuSample(utilization=0.5, memory_used_bytes=GIB, power_w=None, sm_clock_hz=None, clock_reasons=None)


def test_means_over_time_and_gpus_and_sums_over_gpus() -> None:
    busy = replace(SAMPLE, utilization=1.0, memory_used_bytes=12 * GIB, power_w=500.0, sm_clock_hz=1.2e9)
    other = GpuSpan(energy_j=1000.0, sm_activity=1.0, tensor_activity=0.75, dram_activity=0.375)
    metrics = gpu_metrics([2, 3], [[SAMPLE, busy], [SAMPLE, SAMPLE]], [[SPAN, other]], 4000)
    assert metrics == GpuMetrics(
        gpus=(2, 3),
        samples=2,
        utilization=0.625,
        memory_used_bytes=22 * GIB,
        power_w=700.0,
        sm_activity=0.75,
        tensor_activity=0.5,
        dram_activity=0.25,
        energy_j=1600.0,
        energy_per_1k_tokens_j=400.0,
        sm_clock_hz=1.65e9,
        sm_clock_max_hz=2e9,
        throttled=0.0,
        throttle_reasons=(),
    )


def test_a_window_is_many_spans_and_the_last_may_be_too_short_to_tell_activity() -> None:
    later = GpuSpan(energy_j=200.0, sm_activity=1.0, tensor_activity=0.75, dram_activity=0.375)
    metrics = gpu_metrics([0], [[SAMPLE]], [[SPAN], [later], [GpuSpan(energy_j=50.0)]], 1000)
    assert metrics is not None
    assert metrics.energy_j == 850.0
    assert (metrics.sm_activity, metrics.tensor_activity, metrics.dram_activity) == (0.75, 0.5, 0.25)


def test_what_a_card_does_not_tell_is_absent() -> None:
    metrics = gpu_metrics([0], [[NOTHING]], [[GpuSpan()]], 1000)
    assert metrics == GpuMetrics(gpus=(0,), samples=1, utilization=0.5, memory_used_bytes=GIB, power_w=None)


def test_what_one_of_two_cards_does_not_tell_is_no_half_sum() -> None:
    metrics = gpu_metrics([0, 1], [[SAMPLE, NOTHING]], [[SPAN, GpuSpan(sm_activity=0.75)]], 1000)
    assert metrics is not None
    assert metrics.energy_j is metrics.energy_per_1k_tokens_j is metrics.power_w is metrics.tensor_activity is None
    assert metrics.sm_activity == 0.625


def test_without_samples_there_are_no_metrics() -> None:
    assert gpu_metrics([0], [], [[SPAN]], 1000) is None


def test_a_board_that_shares_the_memory_of_its_host_has_all_the_other_numbers() -> None:
    """NVML answers its memory with NOT_SUPPORTED (GB10: leptonai/gpud 1170, Syllo/nvtop 411)."""
    known, unified = (
        gpu_metrics([0], [[sample]], [[SPAN]], 1000) for sample in (SAMPLE, replace(SAMPLE, memory_used_bytes=None))
    )
    assert known is not None
    assert unified == replace(known, memory_used_bytes=None)


@pytest.mark.parametrize("tokens", [None, 0.0])
def test_no_tokens_have_no_energy_each(tokens: float | None) -> None:
    metrics = gpu_metrics([0], [[SAMPLE]], [[SPAN]], tokens)
    assert metrics is not None
    assert metrics.energy_j == 600.0
    assert metrics.energy_per_1k_tokens_j is None


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        (0x00, ()),
        (0x01 | 0x02 | 0x10 | 0x100, ()),  # idle, set clocks, sync boost, display
        (0x04, ("sw power cap",)),
        (0x08 | 0x40, ("hw slowdown", "hw thermal")),
        (0x20, ("sw thermal",)),
        (0x80, ("power brake",)),
    ],
)
def test_reasons_by_name(mask: int, names: tuple[str, ...]) -> None:
    assert throttle_reasons(mask) == names


def test_the_power_cap_is_named_but_is_no_throttling() -> None:
    rounds = [[SAMPLE, replace(SAMPLE, clock_reasons=mask)] for mask in (0x04, 0x04, 0x24, 0x01)]
    metrics = gpu_metrics([0, 1], rounds, [[SPAN, SPAN]], None)
    assert metrics is not None
    assert metrics.throttled == 0.25
    assert metrics.throttle_reasons == ("sw power cap", "sw thermal")


def test_percentages() -> None:
    assert share(37.5) == 0.375
    assert share(100.4) == 1.0
    assert share(float("nan")) is share(-1.0) is share(1e6) is None


def test_energy_between_two_readings() -> None:
    assert energy_between(1_000, 4_500) == 3.5
    assert energy_between(None, 4_500) is energy_between(1_000, None) is energy_between(4_500, 1_000) is None
