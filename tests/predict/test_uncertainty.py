"""Intervals of predictions: their widths, what a study's own predictions do to them, and how often they hold."""

import random
from math import exp, log

import pytest

from tuner.predict.step import MEASURED
from tuner.predict.uncertainty import CALIBRATED, SPREAD, Known, estimate, estimates, is_measured, known_of
from tuner.space.files import load_space
from tuner.space.search_space import Gpu

METRICS = (
    "output_throughput",
    "request_throughput",
    "goodput",
    "ttft_p50_s",
    "ttft_p99_s",
    "tpot_mean_s",
    "e2el_p95_s",
)


def width(metric: str, known: Known, seen: tuple[float, ...] = ()) -> float:
    found = estimate(metric, 7.0, known, seen)
    assert found is not None
    assert found.low < found.value == 7.0 < found.high
    assert found.high * found.low == pytest.approx(49.0)  # as far below as above, as a factor
    return log(found.high / found.value)


@pytest.mark.parametrize("metric", METRICS)
def test_the_less_was_measured_the_wider(metric: str) -> None:
    widths = [width(metric, known) for known in Known]
    assert widths == sorted(widths)
    if not metric.startswith("ttft"):  # which the model knows nowhere better
        assert widths[0] < widths[-1]


@pytest.mark.parametrize("known", Known)
def test_without_any_seen_it_is_two_standard_deviations(known: Known) -> None:
    for family, metric in (("ttft", "ttft_p99_s"), ("output_throughput", "goodput"), ("tpot", "itl_p50_s")):
        assert width(metric, known) == pytest.approx(2 * SPREAD[family][known], rel=0.01)


def test_what_a_study_saw_narrows_or_widens() -> None:
    usual = width("output_throughput", Known.HOST)
    assert width("output_throughput", Known.HOST, (1.01, 0.99, 1.0, 1.02) * 3) < 0.7 * usual
    assert width("output_throughput", Known.HOST, (2.6, 2.2, 0.4)) > 2 * usual


@pytest.mark.parametrize("metric", ["running_mean", "gpu_busy", "window_s", "ttft_std_s", "startup_s", "tpot"])
def test_what_nobody_compared_has_no_interval(metric: str) -> None:
    assert (estimate(metric, 1.0, Known.CARD) is None) == (metric != "tpot")
    assert estimates({metric: 0.0}, Known.CARD) == {}


def test_a_goodput_of_nothing_has_no_interval() -> None:
    assert estimates({"goodput": 0.0, "output_throughput": 5.0}, Known.CARD).keys() == {"output_throughput"}


@pytest.mark.parametrize("deviation", [0.06, 0.20, 0.60])
def test_95_of_100_lie_inside_also_where_the_model_is_better_or_worse_than_thought(deviation: float) -> None:
    """In studies of 20 trials whose predictions are off with a deviation that is, or is not, the table's 0.20."""
    rng, inside, all_of_them = random.Random(1), 0, 0
    for _ in range(200):
        seen: list[float] = []
        for trial in range(20):
            found = estimate("output_throughput", 100.0, Known.HOST, seen)
            assert found is not None
            ratio = exp(rng.gauss(0.0, deviation))
            if trial >= 8:
                inside, all_of_them = inside + (found.low <= 100 * ratio <= found.high), all_of_them + 1
            seen.append(ratio)
    assert 0.90 <= inside / all_of_them <= (0.98 if deviation >= 0.20 else 1.0)


def card(name: str, capability: str) -> Gpu:
    return Gpu(names=(name,), memory_gib=80.0, compute_capability=capability)


@pytest.mark.parametrize(
    ("gpu", "known"),
    [
        (card("NVIDIA H100 80GB HBM3", "9.0"), True),
        (card("NVIDIA H100 NVL", "9.0"), True),
        (card("NVIDIA H200", "9.0"), True),
        (card("NVIDIA GH200 480GB", "9.0"), False),
        (card("NVIDIA A100-SXM4-80GB", "8.0"), True),
        (card("NVIDIA A10G", "8.6"), False),
        (card("NVIDIA L40S", "8.9"), True),
        (card("NVIDIA L4", "8.9"), False),
        (card("NVIDIA L40", "8.9"), False),
        (card("Tesla T4", "7.5"), False),
        (load_space("cpu").gpu, False),
    ],
    ids=lambda value: value.names[0] if getattr(value, "names", None) else str(value),
)
def test_which_cards_were_measured(gpu: Gpu, known: bool) -> None:
    assert is_measured(gpu) is known
    assert known_of(gpu) is (Known.CARD if known else Known.NOTHING)
    assert known_of(gpu, CALIBRATED) is Known.HOST
    assert known_of(gpu, CALIBRATED - 1) is known_of(gpu)


def test_each_measured_card_is_one_of_a_capability() -> None:
    for capability, names in MEASURED.items():
        number = ".".join(map(str, capability))
        assert all(is_measured(card(f"NVIDIA {name} 80GB", number)) for name in names)
