"""Request records and a window in; what lies in the window out. Pure arithmetic on times; knows no metric.

A request's tokens arrive in chunks. vLLM sends the first token at once and may group later ones (stream_interval, or a slow
front end), so of a request with N tokens in M chunks the first chunk counts 1 token and the others (N - 1) / (M - 1) each; with
one chunk it counts all N.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from tuner.types import RequestRecord


def whole(records: Iterable[RequestRecord]) -> list[RequestRecord]:
    """The requests that succeeded; only they count, so tokens of a stream that was cut later are not output."""
    return [record for record in records if record.error is None and record.output_tokens and record.chunk_times_s]


def sent_in(records: Iterable[RequestRecord], start_s: float, end_s: float) -> list[RequestRecord]:
    """Requests sent in the window, whenever they ended. Latencies are taken over these: asking that they also end in it
    would keep the short ones and read 14-23 % low at two requests a user."""
    return [record for record in records if start_s <= record.sent_s < end_s]


def ended_in(records: Iterable[RequestRecord], start_s: float, end_s: float) -> list[RequestRecord]:
    """Requests whose last byte came in the window, whenever they were sent."""
    return [record for record in records if start_s <= record.ended_s < end_s]


def output_tokens(records: Iterable[RequestRecord], start_s: float, end_s: float) -> float:
    """Output tokens of whole requests that arrived in [start_s, end_s)."""
    return sum(_tokens_before(record, end_s) - _tokens_before(record, start_s) for record in whole(records))


def input_tokens(records: Iterable[RequestRecord], start_s: float, end_s: float) -> int:
    """Prompt tokens of whole requests whose first chunk arrived in [start_s, end_s): then the prompt had been read."""
    return sum(r.input_tokens or 0 for r in whole(records) if start_s <= r.chunk_times_s[0] < end_s)


def batches(records: Sequence[RequestRecord], start_s: float, end_s: float, count: int) -> list[float]:
    """Output tokens per second in `count` equal parts of the window."""
    length_s = (end_s - start_s) / count
    edges = [start_s + part * length_s for part in range(count)] + [end_s]
    return [output_tokens(records, edges[part], edges[part + 1]) / length_s for part in range(count)]


def _tokens_before(record: RequestRecord, time_s: float) -> float:
    chunks, tokens = len(record.chunk_times_s), record.output_tokens or 0
    arrived = bisect_left(record.chunk_times_s, time_s)
    if arrived == 0 or chunks == 1:
        return tokens if arrived else 0
    return 1 + (arrived - 1) * (tokens - 1) / (chunks - 1)
