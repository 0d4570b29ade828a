"""A load's records in; its `LoadMetrics` out. Pure; knows no server.

Definitions are those of `vllm bench serve` 0.32 (benchmarks/serve.py), request by request:

- TTFT: first chunk with output minus the moment before the request is sent, connection included.
- TPOT: (last chunk - first chunk) / (output tokens - 1); requests with one token have none.
- ITL: gaps between chunks of one request. A chunk can hold several tokens (stream_interval), so it is no token latency then.
- E2EL: last chunk with output minus the moment before the request is sent.

They differ in what they are taken over. `vllm bench serve` divides by the whole run, ramp-up and drain included, which reads
7-35 % low with short runs; here throughput is what arrived in the steady window, divided by its length, and latencies are
those of the requests sent in the window. Streams that were cut are failures here and successes there.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, stdev

from tuner.errors import LaunchError
from tuner.measure.steady import batches, ended_in, input_tokens, output_tokens, sent_in, whole
from tuner.types import Distribution, Failed, FailureKind, LoadMetrics, LoadResult, RequestRecord

BATCHES = 10
#: Student's t, 97.5 %, 9 degrees of freedom: NIST/SEMATECH e-Handbook of Statistical Methods, table 1.3.6.7.2.
T_975_9 = 2.262


def load_metrics(result: LoadResult) -> LoadMetrics:
    """The window's metrics. Raises LaunchError (LOAD_FAILED) when no request that was sent in the window succeeded."""
    start_s, end_s = result.window_start_s, result.window_end_s
    window_s = end_s - start_s
    good = whole(result.records)
    sent = sent_in(good, start_s, end_s)
    if not sent:
        message = f"no request that was sent in the window of {window_s:.0f} s succeeded: make window_s longer"
        raise LaunchError(Failed(kind=FailureKind.LOAD_FAILED, message=message))
    output = output_tokens(good, start_s, end_s)
    completed = len(ended_in(good, start_s, end_s))
    tpots = [tpot for record in sent if (tpot := _tpot_s(record)) is not None]
    gaps = [later - earlier for record in sent for earlier, later in pairwise(record.chunk_times_s)]
    return LoadMetrics(
        window_s=window_s,
        completed=completed,
        failed=sum(r.error is not None and start_s <= r.ended_s and r.sent_s < end_s for r in result.records),
        request_throughput=completed / window_s,
        output_throughput=output / window_s,
        output_throughput_ci95=_half_width(batches(good, start_s, end_s, BATCHES)) if completed >= BATCHES else None,
        total_token_throughput=(output + input_tokens(good, start_s, end_s)) / window_s,
        ttft_s=distribution([record.chunk_times_s[0] - record.sent_s for record in sent]),
        tpot_s=distribution(tpots) if tpots else None,
        itl_s=distribution(gaps) if gaps else None,
        e2el_s=distribution([record.chunk_times_s[-1] - record.sent_s for record in sent]),
    )


def distribution(values: Sequence[float]) -> Distribution:
    """Mean and percentiles of at least one value."""
    ordered = sorted(values)
    return Distribution(
        count=len(ordered),
        mean=fmean(ordered),
        p50=percentile(ordered, 0.50),
        p90=percentile(ordered, 0.90),
        p99=percentile(ordered, 0.99),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Linear interpolation between the closest ranks of sorted values, as numpy.percentile does by default."""
    position = share * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return min(ordered[high], ordered[low] + (ordered[high] - ordered[low]) * (position - low))


def _tpot_s(record: RequestRecord) -> float | None:
    tokens = record.output_tokens or 0
    return (record.chunk_times_s[-1] - record.chunk_times_s[0]) / (tokens - 1) if tokens > 1 else None


def _half_width(means: Sequence[float]) -> float:
    """Half the 95 % interval by batch means (Law and Kelton, Simulation Modeling and Analysis, 9.5.3).

    Too narrow where a batch is shorter than a request, as neighbours then are alike.
    """
    return T_975_9 * stdev(means) / math.sqrt(len(means))
