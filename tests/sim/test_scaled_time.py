"""Simulated and real seconds: there and back, nothing is lost."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import CLIENT, load_metrics, measured

from tuner.sim.scaled_time import faster, slower
from tuner.types import DataFile, Distribution, Lengths, Measured, RateFound, RateTried, Timeline, Workload, present
from tuner.workload.presets import PRESETS

SPEEDS = st.floats(1.01, 1000.0)
TRACED = Workload(
    name="trace",
    api="chat",
    trace=DataFile(path=Path("t.csv"), digest="d", speedup=2.0),
    input_tokens=Lengths(low=1, high=9),
    output_tokens=Lengths(low=1, high=9),
    think_time_s=3.0,
    ramp_up_s=5.0,
    max_window_s=30.0,
)
WORKLOADS = [*PRESETS.values(), TRACED]


@given(SPEEDS, st.sampled_from(WORKLOADS))
def test_a_workload_comes_back(speed: float, workload: Workload) -> None:
    there = faster(workload, speed)
    back = faster(there, 1 / speed)
    for entry in fields(Workload):
        before, after = getattr(workload, entry.name), getattr(back, entry.name)
        if isinstance(before, DataFile):
            assert after.speedup == pytest.approx(before.speedup)
        else:
            assert after == (pytest.approx(before) if isinstance(before, float) else before)
    assert there.stall_s == workload.stall_s


@given(SPEEDS)
def test_a_rate_times_a_time_is_the_same_number_of_requests(speed: float) -> None:
    """Also what is thrown away in the warm-up."""
    opened = PRESETS["open-chat"]
    there = faster(opened, speed)
    assert there.request_rate is not None
    assert opened.request_rate is not None
    assert there.request_rate * there.window_s == pytest.approx(opened.request_rate * opened.window_s)
    assert there.request_rate * there.warmup_s == pytest.approx(opened.request_rate * opened.warmup_s)


@given(SPEEDS)
def test_a_time_line_has_as_many_tokens_on_either_clock(speed: float) -> None:
    seen = Timeline(
        t_s=(1.0, 2.0), window_begin_s=1.0, window_end_s=2.0, output_throughput=(None, 40.0), running=(3.0, 4.0)
    )
    found = slower(replace(measured(), timeline=seen), speed).timeline
    assert found is not None
    assert found.t_s == (speed, 2 * speed)
    assert (found.window_begin_s, found.window_end_s) == (speed, 2 * speed)
    assert found.output_throughput[0] is None
    assert present(found.output_throughput[1]) * speed == pytest.approx(40.0)
    assert found.running == (3.0, 4.0)


@given(SPEEDS)
def test_a_measurement_comes_back(speed: float) -> None:
    seen = replace(
        measured(),
        load=replace(load_metrics(), output_throughput_ci95=3.0, request_rate=5.0),
        client=replace(CLIENT, send_delay_mean_s=0.001, send_delay_p99_s=0.002),
    )
    tried = RateTried(request_rate=6.0, requests=200, met=False, seen={"ttft_p99_s": 0.7}, failure="too much")
    seen = replace(seen, rate=RateFound(low=5.0, high=None, tried=(tried,)))
    back = slower(slower(seen, speed), 1 / speed)
    assert back.rate is not None
    assert back.rate.low == pytest.approx(5.0)
    assert back.rate.high is None
    assert back.rate.tried[0].request_rate == pytest.approx(6.0)
    assert back.rate.tried[0].seen == pytest.approx({"ttft_p99_s": 0.7})
    before, after = seen.metrics(), back.metrics()
    gone = {name for name in before if name.startswith("itl_") or name in ("chunk_tokens", "server_cpu_cores")}
    assert after.keys() == before.keys() - gone
    for name, value in after.items():
        assert value == pytest.approx(before[name]), name


@given(SPEEDS)
def test_counts_are_the_same_on_both_clocks(speed: float) -> None:
    """Tokens in the window are throughput times time, requests are those that ended."""
    found = slower(measured(), speed)
    assert found.load.output_tokens == pytest.approx(
        present(found.load.output_throughput) * present(found.load.window_s)
    )
    assert found.load.completed == measured().load.completed
    assert present(present(found.load.ttft_s).mean) == pytest.approx(0.1 * speed)
    assert isinstance(found.load.ttft_s, Distribution)


def test_intervals_are_of_the_same_clock_as_what_they_are_of() -> None:
    load = replace(load_metrics(), ci95={"ttft_p99_s": (0.1, 0.2), "goodput": (3.0, 4.0)})
    found = slower(replace(measured(), load=load), 10.0).load.ci95
    assert found is not None
    assert found["ttft_p99_s"] == pytest.approx((1.0, 2.0))
    assert found["goodput"] == pytest.approx((0.3, 0.4))


def test_what_is_simulated_has_no_processors_and_grouped_chunks_no_gaps() -> None:
    found: Measured = slower(measured(), 10.0)
    assert (found.server_cpu_cores, found.load.itl_s, found.load.chunk_tokens) == (None, None, None)
    assert slower(measured(), 1.0).load.itl_s == measured().load.itl_s
    assert found.startup_s == measured().startup_s  # the endpoint says it in simulated seconds
