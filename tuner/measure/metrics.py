"""A load's records in; its `LoadMetrics` out. Pure; knows no server.

Definitions are those of `vllm bench serve` 0.32 (benchmarks/serve.py), request by request:

- TTFT: first chunk with output minus the moment the request was due, connection included.
- TPOT: (last chunk - first chunk) / (output tokens - 1); requests with one token have none.
- ITL: gaps between chunks of one request. A chunk can hold several tokens (stream_interval), so it is no token latency then.
- E2EL: last chunk with output minus the moment the request was due.
- Goodput: requests a second that meet every limit; a limit on TPOT is met by a request with one token.

They differ in what they are taken over. `vllm bench serve` divides by the whole run, ramp-up and drain included, which reads
7-35 % low with short runs; here throughput is what arrived in the steady window, divided by its length, and latencies are
those of the requests that were due in the window. vLLM counts from the moment a request is sent, which is later than it was due
when the client is late (coordinated omission). Streams that were cut are failures here and successes there.
"""

from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np

from tuner.decide import deciding
from tuner.decide.confidence import half_width
from tuner.errors import LaunchError
from tuner.measure.window import Floats, ended_in, gaps_s, input_tokens, output_tokens, sent_in, whole
from tuner.types import Distribution, Failed, FailureKind, LoadMetrics, LoadResult, RequestRecord

#: An interval over a window in which fewer requests ended has not seen how they vary.
LEAST_COMPLETED = 10
_PERCENTILES = (50, 90, 95, 99)


def load_metrics(result: LoadResult, limits: Mapping[str, float] = {}) -> LoadMetrics:
    """The window's metrics, with the intervals that ended it. `limits` are seconds of "ttft", "tpot" and "e2el": what a good
    request meets.

    Raises LaunchError (LOAD_FAILED) when no request that was sent in the window succeeded, or none ended in it: nothing is no
    measurement.
    """
    start_s, end_s = result.window_start_s, result.window_end_s
    window_s = end_s - start_s
    good = whole(result.records)
    sent, ended = sent_in(good, start_s, end_s), ended_in(good, start_s, end_s)
    if not sent or not ended:
        what = "that was sent in the window of" if not sent else "ended in the window of"
        did = " succeeded" if not sent else ""
        message = f"no request {what} {window_s:.3g} s{did}, so nothing was measured: make window_s longer, or a trace"
        message += " slower (speedup)"
        raise LaunchError(Failed(kind=FailureKind.LOAD_FAILED, message=message))
    throughput, prompt_tokens = output_tokens(good, start_s, end_s) / window_s, input_tokens(good, start_s, end_s)
    latencies = latencies_s(sent)
    tpots, gaps = latencies["tpot"][~np.isnan(latencies["tpot"])], gaps_s(sent)
    return LoadMetrics(
        window_s=window_s,
        completed=len(ended),
        failed=sum(r.error is not None and start_s <= r.ended_s and r.scheduled_s < end_s for r in result.records),
        request_throughput=len(ended) / window_s,
        output_throughput=throughput,
        output_throughput_ci95=_interval(result, throughput) if len(ended) >= LEAST_COMPLETED else None,
        total_token_throughput=throughput + prompt_tokens / window_s,
        ttft_s=distribution(latencies["ttft"]),
        tpot_s=distribution(tpots) if tpots.size else None,
        itl_s=distribution(gaps) if gaps.size else None,
        e2el_s=distribution(latencies["e2el"]),
        goodput=_count_good(ended, limits) / window_s if limits else None,
        chunk_tokens=_chunk_tokens(sent),
        answer_share=_share([(r.output_tokens, r.asked_tokens) for r in sent if not r.censored]),
        prompt_share=_share([(r.input_tokens, r.asked_input_tokens) for r in sent]),
        bunched=float(np.mean(gaps <= 0)) if gaps.size else None,
        first_chunk_tokens=_first_chunk_tokens(sent),
        input_tokens=prompt_tokens,
        output_tokens=throughput * window_s,
        ci95=_intervals(result, len(ended) / window_s),
    )


def _interval(result: LoadResult, throughput: float) -> float | None:
    """As large a share of the throughput as that of the rates is of theirs."""
    half, mean = half_width(result.rates, result.mix), sum(result.rates) / max(len(result.rates), 1)
    return half / mean * throughput if half is not None and mean else None


def _intervals(result: LoadResult, ended_per_s: float) -> dict[str, tuple[float, float]] | None:
    """As they ended the window; goodput is the share of good requests times how many ended a second."""
    if result.intervals is None:
        return None
    scales = {metric: ended_per_s if metric == "goodput" else 1.0 for metric in result.intervals}
    return {metric: (low * scales[metric], high * scales[metric]) for metric, (low, high) in result.intervals.items()}


def latencies_s(records: Sequence[RequestRecord]) -> dict[str, Floats]:
    """TTFT, TPOT and E2EL of whole requests, one a request; TPOT is NaN for those with one output token."""
    rows = [(r.scheduled_s, r.chunk_times_s[0], r.chunk_times_s[-1], r.output_tokens) for r in records]
    return deciding.latencies_s(np.array(rows, dtype=np.float64).reshape(-1, 4))


def distribution(values: Sequence[float] | Floats) -> Distribution:
    """Mean, standard deviation (of the population, numpy's default) and percentiles of at least one value."""
    p50, p90, p95, p99 = np.percentile(values, _PERCENTILES).tolist()
    mean, std = float(np.mean(values)), float(np.std(values))
    return Distribution(count=len(values), mean=mean, std=std, p50=p50, p90=p90, p95=p95, p99=p99)


def _count_good(records: Sequence[RequestRecord], limits: Mapping[str, float]) -> int:
    latencies = latencies_s(records)
    missed = [latencies[name] > limit_s for name, limit_s in limits.items()]  # NaN misses nothing
    return len(records) - int(np.any(missed, axis=0).sum())


def _chunk_tokens(records: Sequence[RequestRecord]) -> float | None:
    """Mean tokens in a chunk after the first, which holds one."""
    counts = [(r.output_tokens or 0, len(r.chunk_times_s)) for r in records if len(r.chunk_times_s) > 1]
    return sum(tokens - 1 for tokens, _ in counts) / sum(chunks - 1 for _, chunks in counts) if counts else None


def _share(counts: Sequence[tuple[int | None, int | None]]) -> float | None:
    """How many tokens there were for each that was asked for, over the requests of which both are known."""
    known = [(found, asked) for found, asked in counts if found is not None and asked]
    return sum(found for found, _ in known) / sum(asked for _, asked in known) if known else None


def _first_chunk_tokens(records: Sequence[RequestRecord]) -> float | None:
    """The median; a first chunk has as large a share of the tokens as of the text."""
    tokens = [
        (r.output_tokens or 0) * (r.first_text_bytes or 0) / r.text_bytes
        for r in records
        if r.text_bytes and r.text_bytes > 0 and len(r.chunk_times_s) > 1
    ]
    return median(tokens) if tokens else None
