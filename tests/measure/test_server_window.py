"""Pages before, in and after a window, and what they say together."""

import pytest

from tuner.errors import LaunchError
from tuner.measure.server_page import AWAKE, COUNTERS, HISTOGRAMS, totals
from tuner.measure.server_window import in_flight, of_the_engine, server_metrics
from tuner.types import ServerMetrics


def page(counted: float, histograms: dict[str, tuple[float, float]] | None = None, more: str = "") -> dict[str, float]:
    lines = [f"{name} {counted}" for name in COUNTERS.values()]
    for field, (total, count) in (histograms or {}).items():
        lines += [f'{HISTOGRAMS[field]}_sum{{engine="0"}} {total}', f'{HISTOGRAMS[field]}_count{{engine="0"}} {count}']
    return totals("\n".join([*lines, more, ""]))


def test_histograms_are_differences_and_what_is_absent_is_none() -> None:
    before = page(5.0, {"step_tokens_mean": (1000.0, 10.0), "queue_time_mean_s": (4.0, 4.0), "itl_mean_s": (1.0, 9.0)})
    after = page(9.0, {"step_tokens_mean": (9000.0, 110.0), "queue_time_mean_s": (7.0, 10.0), "itl_mean_s": (1.0, 9.0)})
    found = server_metrics(before, after, [])
    assert (found.steps, found.step_tokens_mean, found.queue_time_mean_s) == (100.0, 80.0, 0.5)
    assert found.itl_mean_s is None  # nothing came
    assert found.decode_time_mean_s is None
    assert found.running_max is None
    assert found.generation_tokens == 4.0


def test_engines_are_summed_and_the_gauges_have_a_maximum() -> None:
    def gauges(running: float, capacity: float, deferred: float) -> dict[str, float]:
        reasons = {"capacity": capacity, "deferred": deferred}
        return totals(
            "".join(f'vllm:num_requests_running{{engine="{engine}"}} {running}\n' for engine in "01")
            + f"vllm:num_requests_waiting {capacity + deferred}\n"
            + "".join(f'vllm:num_requests_waiting_by_reason{{reason="{r}"}} {n}\n' for r, n in reasons.items())
            + 'vllm:engine_sleep_state{sleep_state="awake"} 1.0\nvllm:engine_sleep_state{sleep_state="discard_all"} 0.0\n'
        )

    inside = [gauges(4, 10, 2), gauges(6, 20, 0)]
    assert inside[0][AWAKE] == 1.0
    found = server_metrics(page(1.0), page(1.0), inside)
    assert (found.running_mean, found.running_max) == (10.0, 12.0)
    assert (found.waiting_mean, found.waiting_max) == (16.0, 20.0)
    assert (found.waiting_capacity_mean, found.waiting_deferred_mean) == (15.0, 1.0)


def test_several_api_servers_count_each_step_when_there_are_requests_for_all() -> None:
    counted = ServerMetrics(steps=2000.0, step_tokens_mean=40.0)
    assert of_the_engine(counted, 1, None) == counted
    shared = of_the_engine(counted, 2, 64.0)
    assert (shared.steps, shared.step_tokens_mean) == (1000.0, 80.0)
    unknown = of_the_engine(counted, 2, 3.0)
    assert (unknown.steps, unknown.step_tokens_mean) == (None, None)
    assert of_the_engine(counted, 4, None).steps is None


def test_requests_in_flight_are_by_littles_law() -> None:
    before, after = page(0.0), page(0.0, {"inference_time_mean_s": (30.0, 60.0)})
    assert in_flight(before, after, 10.0) is None
    before = page(0.0, {"inference_time_mean_s": (10.0, 20.0)})
    assert in_flight(before, after, 10.0) == pytest.approx(2.0)


def test_a_page_without_vllms_counters_is_told_of() -> None:
    with pytest.raises(LaunchError, match="has no vllm:prompt_tokens_total: is this a vLLM"):
        server_metrics({}, {}, [])
