import dataclasses
import json
import random
import statistics
import subprocess
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import CLIENT

from tuner.errors import LaunchError
from tuner.measure.metrics import distribution, load_metrics
from tuner.measure.window import output_tokens
from tuner.types import Distribution, FailureKind, LoadResult, RequestRecord, present

FLOATS = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


def _record(index: int, sent_s: float, *, ttft_s: float = 0.5, gap_s: float = 0.1, tokens: int = 11) -> RequestRecord:
    times = tuple(sent_s + ttft_s + gap_s * n for n in range(tokens))
    return RequestRecord(
        index=index,
        scheduled_s=sent_s,
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
    return LoadResult(
        records=records,
        window_start_s=start_s,
        window_end_s=end_s,
        client=CLIENT,
        warmup_s=start_s,
        stationary=True,
        shared_tokens=None,
        rates=[
            4 * output_tokens(records, start_s + n / 4, start_s + (n + 1) / 4)
            for n in range(int(4 * (end_s - start_s)))
        ],
    )


def test_a_known_steady_load_is_measured_right() -> None:
    metrics = load_metrics(_result(*_closed_loop()))
    rate = 8 / 1.501
    assert metrics.window_s == 20.0
    assert metrics.output_throughput == pytest.approx(11 * rate, rel=0.01)
    assert metrics.request_throughput == pytest.approx(rate, rel=0.02)
    assert metrics.total_token_throughput == pytest.approx(111 * rate, rel=0.02)
    assert present(metrics.completed) == round(present(metrics.request_throughput) * 20)
    assert metrics.failed == 0
    assert present(present(metrics.ttft_s).mean) == pytest.approx(0.5)
    assert present(present(metrics.ttft_s).p99) == pytest.approx(0.5)
    assert present(present(metrics.e2el_s).p50) == pytest.approx(1.5)
    assert metrics.tpot_s is not None
    assert metrics.tpot_s.p90 == pytest.approx(0.1)
    assert metrics.itl_s is not None
    assert present(present(metrics.itl_s).count) == 10 * present(present(metrics.ttft_s).count)
    assert metrics.output_throughput_ci95 is not None
    assert metrics.output_throughput_ci95 < 0.1 * present(metrics.output_throughput)
    assert metrics.chunk_tokens == 1
    assert metrics.input_tokens == pytest.approx(100 * rate * 20, rel=0.02)
    assert metrics.output_tokens == pytest.approx(20 * present(metrics.output_throughput))
    assert metrics.goodput is None


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
    assert metrics.chunk_tokens == 5


def test_latencies_count_from_when_a_request_was_due() -> None:
    """Sent 2 s late, the server answers 0.5 s after that: the user waited 2.5 s, and 3.5 s for all."""
    late = dataclasses.replace(_record(0, 13.0), scheduled_s=11.0)
    metrics = load_metrics(_result(late))
    assert present(present(metrics.ttft_s).mean) == pytest.approx(2.5)
    assert present(present(metrics.e2el_s).mean) == pytest.approx(3.5)
    assert metrics.tpot_s is not None
    assert metrics.tpot_s.mean == pytest.approx(0.1)


def test_goodput_counts_the_requests_that_ended_within_every_limit() -> None:
    records = [
        _record(0, 11.0),
        _record(1, 12.0, ttft_s=0.9),
        _record(2, 13.0, gap_s=0.3),
        _record(3, 14.0, tokens=1),  # has no TPOT, so it meets any limit of it
        _record(4, 9.0, ttft_s=0.5, gap_s=0.2),  # sent before the window, ended in it
        _record(5, 29.0),  # ends after the window
        dataclasses.replace(_record(6, 15.0), error="cut"),
    ]

    def goodput(**limits: float) -> float | None:
        return load_metrics(_result(*records), limits).goodput

    assert goodput(ttft=0.6) == 4 / 20
    assert goodput(tpot=0.15) == 3 / 20
    assert goodput(ttft=0.6, tpot=0.15) == 2 / 20
    assert goodput(ttft=0.6, tpot=0.25, e2el=2.0) == 2 / 20
    assert goodput(e2el=0.1) == 0
    assert goodput() is None


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
    assert present(present(metrics.ttft_s).count) == 1
    assert present(present(metrics.ttft_s).mean) == pytest.approx(3.0)
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
    assert present(present(metrics.ttft_s).p99) == pytest.approx(0.5)
    assert metrics.output_throughput == pytest.approx(11 / 20)


def test_what_no_request_gives_is_absent() -> None:
    metrics = load_metrics(_result(_record(0, 11.0, tokens=1)))
    assert metrics.tpot_s is None
    assert metrics.itl_s is None
    assert metrics.output_throughput_ci95 is None
    assert metrics.chunk_tokens is None


def test_a_window_in_which_nothing_ended_is_a_failed_load() -> None:
    with pytest.raises(LaunchError, match=r"no request ended in the window of 20 s, so nothing was measured: make"):
        load_metrics(_result(_record(0, 29.0)), {"ttft": 10.0})


def test_a_window_without_a_success_is_a_failed_load() -> None:
    with pytest.raises(LaunchError, match="no request that was sent in the window of 20 s succeeded") as raised:
        load_metrics(_result(_record(0, 1.0)))
    assert raised.value.failed.kind is FailureKind.LOAD_FAILED


@settings(deadline=None)
@given(FLOATS)
def test_percentiles_are_monotone_and_inside(values: list[float]) -> None:
    result = distribution(values)
    assert result.p95 is not None
    found = [present(quantile) for quantile in (result.p50, result.p90, result.p95, result.p99)]
    assert min(values) <= found[0]
    assert found == sorted(found)
    assert found[-1] <= max(values)
    assert result.std == pytest.approx(statistics.pstdev(values), rel=1e-6, abs=1e-6)
    assert result.p50 == pytest.approx(statistics.median(values))
    assert result.count == len(values)


def test_percentiles_interpolate_between_the_closest_ranks() -> None:
    assert distribution([4.0, 2.0, 3.0, 1.0]).p90 == pytest.approx(3.7)
    assert distribution([5.0]) == Distribution(count=1, mean=5.0, p50=5.0, p90=5.0, p99=5.0, p95=5.0, std=0.0)


def test_the_interval_of_the_throughput_holds_the_truth() -> None:
    """Users whose requests take 1 to 3 s each: the window's throughput is off by about what its interval says."""
    widths, covered = [], 0
    for seed in range(60):
        metrics = load_metrics(_result(*_varied_users(seed), start_s=5.0, end_s=25.0))
        assert metrics.output_throughput_ci95 is not None
        widths.append(metrics.output_throughput_ci95 / present(metrics.output_throughput))
        covered += (
            abs(present(metrics.output_throughput) - 16 * 20 / (0.2 + 20 * 0.09)) <= metrics.output_throughput_ci95
        )
    assert covered >= 51  # 95 % is claimed; in ten request lengths 92 % is what batch means give
    assert statistics.median(widths) < 0.06


def test_intervals_are_those_that_ended_the_window() -> None:
    """Of goodput the share is known then; it is of what ended in the window."""
    ended = dataclasses.replace(_result(*_closed_loop()), intervals={"ttft_p99_s": (0.4, 0.6), "goodput": (0.5, 0.75)})
    found = load_metrics(ended, {"ttft": 1.0})
    assert found.ci95 is not None
    assert found.ci95["ttft_p99_s"] == (0.4, 0.6)
    assert found.ci95["goodput"] == pytest.approx(
        (0.5 * present(found.request_throughput), 0.75 * present(found.request_throughput))
    )
    opened = load_metrics(dataclasses.replace(_result(*_closed_loop()), rates=()))
    assert (opened.output_throughput_ci95, opened.ci95) == (None, None)


def _varied_users(seed: int) -> list[RequestRecord]:
    """16 users without pauses; a request has 0.2 s to its first token and a tempo of its own, on average 0.09 s a token."""
    random_s = np.random.default_rng(seed)
    records = []
    for _ in range(16):
        now_s = -float(random_s.uniform(0, 2))
        while now_s < 30:
            gap_s = float(random_s.uniform(0.04, 0.14))
            times = array("d", (now_s + 0.2 + gap_s * np.arange(1, 21)).tolist())
            records.append(
                dataclasses.replace(_record(0, now_s), chunk_times_s=times, output_tokens=20, ended_s=times[-1])
            )
            now_s = times[-1]
    return records


_ASK_VLLM = """
import json, sys
from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput
from vllm.benchmarks.serve import calculate_metrics

asked = json.load(sys.stdin)
outputs = [RequestFuncOutput(**output) for output in asked["outputs"]]
metrics, _ = calculate_metrics([], outputs, asked["dur_s"], None, [50, 90, 95, 99], asked["goodput_ms"])
print("ANSWER" + json.dumps(vars(metrics)))
"""


def _any_requests() -> list[RequestRecord]:
    """As a server that groups tokens gives them: lengths, gaps and tokens a chunk differ; one in ten fails."""
    random_s = np.random.default_rng(4)
    records = []
    for index in range(300):
        chunks = int(random_s.integers(1, 40)) if index % 7 else 1
        sent_s = float(random_s.uniform(0, 20))
        times = sent_s + random_s.uniform(0.02, 0.5) + np.cumsum(random_s.exponential(0.02, chunks))
        tokens = chunks if index % 3 else 1 + 4 * (chunks - 1)
        records.append(
            RequestRecord(
                index=index,
                scheduled_s=sent_s,
                sent_s=sent_s,
                ended_s=float(times[-1]) + 0.001,
                chunk_times_s=array("d", times.tolist()),
                input_tokens=int(random_s.integers(1, 100)),
                output_tokens=tokens,
                error="cut" if index % 10 == 9 else None,
            )
        )
    return records


def _as_vllm_keeps_it(record: RequestRecord) -> dict[str, Any]:
    times = np.asarray(record.chunk_times_s)
    return {
        "success": record.error is None,
        "start_time": record.sent_s,
        "latency": times[-1] - record.sent_s,
        "ttft": times[0] - record.sent_s,
        "itl": np.diff(times).tolist(),
        "output_tokens": record.output_tokens,
        "prompt_len": record.input_tokens,
    }


@pytest.mark.engine
def test_vllm_bench_computes_the_same_numbers(engine_python: Path) -> None:
    """Over a window that is the whole run there is no difference to vLLM's own `calculate_metrics`."""
    records, dur_s = _any_requests(), 30.0
    limits = {"ttft": 0.4, "tpot": 0.021, "e2el": 1.2}
    goodput_ms = {name: 1000 * limit_s for name, limit_s in limits.items()}
    question = {"outputs": [_as_vllm_keeps_it(r) for r in records], "dur_s": dur_s, "goodput_ms": goodput_ms}
    answer = subprocess.run(
        [engine_python, "-c", _ASK_VLLM], input=json.dumps(question), capture_output=True, text=True, check=False
    )
    lines = [line for line in answer.stdout.splitlines() if line.startswith("ANSWER")]
    assert lines, answer.stderr[-2000:]
    theirs = json.loads(lines[0].removeprefix("ANSWER"))
    ours = load_metrics(_result(*records, start_s=0.0, end_s=dur_s), limits)
    for name in ("ttft", "tpot", "itl", "e2el"):
        found = getattr(ours, f"{name}_s")
        percentiles = {str(p): value for p, value in theirs[f"percentiles_{name}_ms"]}
        expected = [theirs[f"{statistic}_{name}_ms"] for statistic in ("mean", "median", "std")]
        expected += [percentiles[p] for p in ("90", "95", "99")]
        values = [found.mean, found.p50, found.std, found.p90, found.p95, found.p99]
        assert [1000 * value for value in values] == pytest.approx(expected, rel=1e-6)
    assert (ours.completed, ours.failed) == (theirs["completed"], theirs["failed"])
    assert ours.input_tokens == theirs["total_input"]
    assert ours.output_tokens == pytest.approx(theirs["total_output"])
    for name in ("request_throughput", "output_throughput", "total_token_throughput"):
        assert getattr(ours, name) == pytest.approx(theirs[name], rel=1e-6)
    assert ours.goodput == pytest.approx(theirs["request_goodput"], rel=1e-6)
    assert 0 < theirs["request_goodput"] < theirs["request_throughput"]
