import dataclasses
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.errors import LaunchError
from tuner.measure.metrics import distribution, load_metrics, percentile
from tuner.types import FailureKind, LoadResult, RequestRecord

FLOATS = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


def _record(index: int, sent_s: float, *, ttft_s: float = 0.5, gap_s: float = 0.1, tokens: int = 11) -> RequestRecord:
    times = tuple(sent_s + ttft_s + gap_s * n for n in range(tokens))
    return RequestRecord(
        index=index,
        sent_s=sent_s,
        ended_s=times[-1] + 0.001,
        chunk_times_s=times,
        input_tokens=100,
        output_tokens=tokens,
        error=None,
    )


def _closed_loop(users: int = 8, until_s: float = 60.0) -> tuple[RequestRecord, ...]:
    """Each user: 0.5 s to the first token, then 10 more at 0.1 s: 11 tokens in 1.501 s, without a pause between requests."""
    period_s = 1.501
    return tuple(
        _record(user * 1000 + n, user * period_s / users + n * period_s)
        for user in range(users)
        for n in range(int(until_s / period_s))
    )


def _result(*records: RequestRecord, start_s: float = 10.0, end_s: float = 30.0) -> LoadResult:
    return LoadResult(records=records, window_start_s=start_s, window_end_s=end_s)


def test_a_known_steady_load_is_measured_right() -> None:
    metrics = load_metrics(_result(*_closed_loop()))
    rate = 8 / 1.501
    assert metrics.window_s == 20.0
    assert metrics.output_throughput == pytest.approx(11 * rate, rel=0.01)
    assert metrics.request_throughput == pytest.approx(rate, rel=0.02)
    assert metrics.total_token_throughput == pytest.approx(111 * rate, rel=0.02)
    assert metrics.completed == round(metrics.request_throughput * 20)
    assert metrics.failed == 0
    assert metrics.ttft_s.mean == pytest.approx(0.5)
    assert metrics.ttft_s.p99 == pytest.approx(0.5)
    assert metrics.e2el_s.p50 == pytest.approx(1.5)
    assert metrics.tpot_s is not None
    assert metrics.tpot_s.p90 == pytest.approx(0.1)
    assert metrics.itl_s is not None
    assert metrics.itl_s.count == 10 * metrics.ttft_s.count
    assert metrics.output_throughput_ci95 is not None
    assert metrics.output_throughput_ci95 < 0.1 * metrics.output_throughput


def test_grouped_chunks_give_the_same_throughput_and_tpot() -> None:
    grouped = []
    for record in _closed_loop():
        times = (record.chunk_times_s[0], record.chunk_times_s[5], record.chunk_times_s[10])
        grouped.append(dataclasses.replace(record, chunk_times_s=times))
    metrics, plain = load_metrics(_result(*grouped)), load_metrics(_result(*_closed_loop()))
    assert metrics.output_throughput == pytest.approx(plain.output_throughput, rel=0.02)
    assert metrics.tpot_s is not None
    assert metrics.tpot_s.mean == pytest.approx(0.1)
    assert metrics.itl_s is not None
    assert metrics.itl_s.mean == pytest.approx(0.5)


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_records_does_not_matter(shuffle: random.Random) -> None:
    records = list(_closed_loop(users=3, until_s=20))
    before = load_metrics(_result(*records, start_s=5, end_s=15))
    shuffle.shuffle(records)
    after = load_metrics(_result(*records, start_s=5, end_s=15))
    assert after.ttft_s == before.ttft_s
    assert after.output_throughput == pytest.approx(before.output_throughput)


def test_latencies_are_of_requests_sent_in_the_window_even_when_they_end_after_it() -> None:
    early = _record(0, 9.9, ttft_s=0.2)
    late = _record(1, 29.9, ttft_s=3.0)
    metrics = load_metrics(_result(early, late))
    assert metrics.ttft_s.count == 1
    assert metrics.ttft_s.mean == pytest.approx(3.0)
    assert metrics.completed == 1  # the early one ended in it
    assert metrics.output_throughput == pytest.approx(11 / 20)


def test_failures_are_counted_and_give_no_number() -> None:
    good = _record(0, 11.0)
    cut = dataclasses.replace(_record(1, 11.0, ttft_s=9.0), output_tokens=None, error="cut")
    before = dataclasses.replace(_record(2, 1.0), error="before the window")
    across = dataclasses.replace(_record(3, 9.5), error="ended in the window")
    metrics = load_metrics(_result(good, cut, before, across))
    assert metrics.failed == 2
    assert metrics.completed == 1
    assert metrics.ttft_s.p99 == pytest.approx(0.5)
    assert metrics.output_throughput == pytest.approx(11 / 20)


def test_what_no_request_gives_is_absent() -> None:
    metrics = load_metrics(_result(_record(0, 11.0, tokens=1)))
    assert metrics.tpot_s is None
    assert metrics.itl_s is None
    assert metrics.output_throughput_ci95 is None


def test_a_window_without_a_success_is_a_failed_load() -> None:
    with pytest.raises(LaunchError, match="no request that was sent in the window of 20 s succeeded") as raised:
        load_metrics(_result(_record(0, 1.0)))
    assert raised.value.failed.kind is FailureKind.LOAD_FAILED


@settings(deadline=None)
@given(FLOATS)
def test_percentiles_are_monotone_and_inside(values: list[float]) -> None:
    result = distribution(values)
    assert min(values) <= result.p50 <= result.p90 <= result.p99 <= max(values)
    assert result.p50 == pytest.approx(statistics.median(values))
    assert result.count == len(values)


def test_percentile_interpolates_as_numpy_does() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.9) == pytest.approx(3.7)
    assert percentile([5.0], 0.99) == 5.0
