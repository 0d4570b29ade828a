"""Loads of known course, and what their time lines say of them."""

import json
import zlib
from array import array
from dataclasses import fields, replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import CLIENT

from tuner.measure.timeline import MOST, CpuSeconds, Gauges, timeline
from tuner.record.timelines import packed, unpacked
from tuner.types import LoadResult, RequestRecord, Timeline

#: When the load began, on the client's clock.
BEGIN_S = 1000.0


def streams(count: int, first_s: float, gap_s: float, chunks: int) -> tuple[RequestRecord, ...]:
    """One after another; each has a token a chunk."""
    records = []
    for index in range(count):
        sent_s = BEGIN_S + first_s + index * chunks * gap_s
        times = array("d", (sent_s + gap_s * (1 + chunk) for chunk in range(chunks)))
        records.append(
            RequestRecord(
                index=index,
                scheduled_s=sent_s,
                sent_s=sent_s,
                ended_s=times[-1],
                chunk_times_s=times,
                input_tokens=8,
                output_tokens=chunks,
                error=None,
            )
        )
    return tuple(records)


def load(warmup_s: float, window_s: float, records: tuple[RequestRecord, ...], **more: object) -> LoadResult:
    start_s = BEGIN_S + warmup_s
    told = {"records": records, "window_start_s": start_s, "window_end_s": start_s + window_s, "warmup_s": warmup_s}
    return LoadResult(**told, client=CLIENT, stationary=True, shared_tokens=0, **more)  # type: ignore[arg-type]


def gauge(at_s: float, running: float | None = None, waiting: float | None = None) -> Gauges:
    return Gauges(time_s=BEGIN_S + at_s, running=running, waiting=waiting, kv_cache_usage=None)


def known(values: tuple[float | None, ...]) -> list[float]:
    return [value for value in values if value is not None]


def test_it_goes_from_the_beginning_to_the_windows_end_and_has_the_windows_tokens() -> None:
    """100 tok/s in the window, 40 in the warm-up, of which there are no records."""
    result = load(4.0, 6.0, streams(60, 4.0, 0.01, 10), warmup_rates=[40.0] * 16, tick_s=0.25)
    found = timeline(result)
    assert found.t_s == pytest.approx([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0])
    assert (found.window_begin_s, found.window_end_s) == (4.0, 10.0)
    rates = known(found.output_throughput)
    assert rates[:4] == pytest.approx([40.0] * 4)
    assert rates[4:] == pytest.approx([100.0] * 6, abs=2)
    assert sum(rates[4:]) == pytest.approx(600, abs=2)  # nothing is counted twice at the edge
    assert (found.running, found.waiting, found.kv_cache_usage, found.gpu_utilization) == ((), (), (), ())


def test_what_the_last_ticks_of_a_warm_up_did_not_tell_is_taken_from_the_records() -> None:
    result = load(4.0, 6.0, streams(80, 3.0, 0.01, 10), warmup_rates=[100.0] * 14, tick_s=0.25)
    assert known(timeline(result).output_throughput) == pytest.approx([100.0] * 10, abs=2)


def test_a_warm_up_that_nobody_counted_is_unknown_not_zero() -> None:
    found = timeline(load(4.0, 6.0, streams(60, 4.0, 0.01, 10)))
    assert found.output_throughput[:4] == (None,) * 4
    assert known(found.output_throughput) == pytest.approx([100.0] * 6, abs=2)


def test_a_load_without_a_whole_request_has_no_throughput() -> None:
    failed = tuple(replace(record, error="cut") for record in streams(3, 4.0, 0.01, 10))
    assert timeline(load(4.0, 6.0, failed, warmup_rates=[1.0], tick_s=4.0)).output_throughput == ()


def test_gauges_are_means_are_held_for_a_while_and_then_are_unknown() -> None:
    read = [gauge(0.2, 2.0), gauge(0.7, 4.0), gauge(1.5, 6.0)]
    found = timeline(load(4.0, 6.0, streams(60, 4.0, 0.01, 10)), read, [(BEGIN_S + 9.5, 0.75)])
    assert found.running == (3.0, 6.0, 6.0, 6.0, None, None, None, None, None, None)
    assert found.waiting == ()  # the server does not tell
    assert found.gpu_utilization == (None,) * 9 + (0.75,)


def test_a_long_load_has_longer_samples_and_takes_less_than_10_kb() -> None:
    records = streams(72000, 60.0, 0.01, 10)
    read = [gauge(at_s / 2, (at_s * 7919) % 256, (at_s * 104729) % 999) for at_s in range(2 * 7260)]
    utilization = [(BEGIN_S + at_s / 5, (at_s * 31 % 100) / 100) for at_s in range(5 * 7260)]
    found = timeline(load(60.0, 7200.0, records, warmup_rates=[100.0] * 240, tick_s=0.25), read, utilization)
    assert len(found.t_s) == MOST
    assert found.t_s[-1] == pytest.approx(7260)
    assert known(found.output_throughput) == pytest.approx([100.0] * MOST, rel=0.02)
    assert len(packed(found)) < 10_000
    assert unpacked(packed(found)).t_s == pytest.approx(found.t_s, rel=1e-6)


def test_a_load_of_no_time_has_one_sample() -> None:
    assert len(timeline(load(0.0, 0.3, streams(3, 0.0, 0.01, 10))).t_s) == 1


@given(
    samples=st.lists(st.tuples(st.floats(0, 20), st.floats(0, 1e6)), max_size=40),
    warmup_s=st.floats(0, 10),
    window_s=st.floats(0.5, 10),
    sample_s=st.floats(0.02, 3),
)
def test_each_series_is_as_long_as_its_times_and_inside_what_was_read(
    samples: list[tuple[float, float]], warmup_s: float, window_s: float, sample_s: float
) -> None:
    read = [gauge(at_s, value) for at_s, value in sorted(samples)]
    found = timeline(load(warmup_s, window_s, streams(20, 0.0, 0.01, 10)), read, sample_s=sample_s)
    assert list(found.t_s) == sorted(found.t_s)
    assert len(found.t_s) <= MOST
    for series in (found.output_throughput, found.running):
        assert len(series) in (0, len(found.t_s))
    values = [value for _, value in samples]
    assert all(min(values) - 1e-6 <= value <= max(values) * (1 + 1e-9) for value in known(found.running))
    short = unpacked(packed(found))
    assert known(short.output_throughput) == pytest.approx(known(found.output_throughput), rel=1e-3)
    assert unpacked(packed(short)) == short


def test_what_is_packed_is_json_that_others_can_read() -> None:
    told = Timeline(t_s=(1.0, 2.0), window_begin_s=1.0, window_end_s=2.0, running=(3.0, None))
    assert json.loads(zlib.decompress(packed(told)))["running"] == [3, None]


def test_counters_become_numbers_a_sample_and_rates() -> None:
    """Two preemptions and 50 steps a second, counted from before the load; the processes were seen in the window only."""
    gauges = [
        Gauges(
            time_s=BEGIN_S + at_s / 2,
            running=1.0,
            waiting=0.0,
            kv_cache_usage=None,
            preemptions=7.0 + at_s,
            steps=100.0 + 25 * at_s,
        )
        for at_s in range(17)
    ]
    cpu = [CpuSeconds(time_s=BEGIN_S + 4 + at_s, server=1.5 * at_s, engine_core=0.5 * at_s) for at_s in range(5)]
    found = timeline(load(4.0, 4.0, ()), gauges, (), cpu)
    assert known(found.preemptions) == pytest.approx([2.0] * 8)
    assert known(found.steps_per_s) == pytest.approx([50.0] * 8)
    assert found.server_cores[:4] == (None,) * 4
    assert known(found.server_cores) == pytest.approx([1.5] * 4)
    assert known(found.engine_core_cores) == pytest.approx([0.5] * 4)
    assert known(timeline(load(4.0, 4.0, ()), gauges, step_counts=2).steps_per_s) == pytest.approx([25.0] * 8)
    assert timeline(load(4.0, 4.0, ()), gauges, step_counts=None).steps_per_s == ()
    assert timeline(load(4.0, 4.0, ())).preemptions == ()


def test_a_counter_that_falls_is_not_known() -> None:
    restarted = [replace(gauge(at_s), steps=steps) for at_s, steps in ((0, 90.0), (2, 100.0), (4, 5.0))]
    assert known(timeline(load(2.0, 2.0, ()), restarted).steps_per_s) == []


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.01, 99.0), (0.0, 9e3)])
def test_the_longest_time_line_of_noise_takes_less_than_10_kb(low: float, high: float) -> None:
    """Every series, of as many samples as there can be."""
    random = Random(1)
    names = [field.name for field in fields(Timeline) if field.type == tuple[float | None, ...]]
    series: dict[str, Any] = {name: tuple(random.uniform(low, high) for _ in range(MOST)) for name in names}
    t_s = tuple(1.2345 * at for at in range(1, MOST + 1))
    assert len(series) == 9
    assert len(packed(Timeline(t_s=t_s, window_begin_s=1.0, window_end_s=2.0, **series))) < 10_000


def test_a_row_of_an_older_tuner_is_read() -> None:
    old = {"t_s": [1, 2], "window_begin_s": 1, "window_end_s": 2, "running": [3, None]}
    found = unpacked(zlib.compress(json.dumps(old).encode()))
    assert found.running == (3.0, None)
    assert found.preemptions == found.steps_per_s == found.server_cores == ()
