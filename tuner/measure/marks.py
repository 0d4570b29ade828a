"""A measurement's parts in; what has to be known before its numbers are believed out. Pure.

docs/metrics.md tells users the same.
"""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, variance

from tuner.decide.deciding import OTHER_LENGTHS, Deciding
from tuner.measure.window import sent_in
from tuner.types import (
    ClientMetrics,
    GpuMetrics,
    LoadMetrics,
    LoadResult,
    Mark,
    RequestRecord,
    ServerMetrics,
    Workload,
    present,
)

#: A worker that is busy for more of the time than this sends and reads late.
BUSY = 0.9
#: By how much the client may make a TTFT longer: the share, or the time if that is more.
TTFT_SHARE = 0.10
LEAST_DELAY_S = 0.003
#: Samples with clocks held down; a single one in a long window is a flicker.
THROTTLED = 0.05
#: What another's process takes of a GPU's memory before it is told.
OTHERS_BYTES = 512 * 1024**2
#: Requests a user that must have ended before the interval is believed: at 0.67 it held the truth in 83 %
#: (benchmarks/truth/steady.py).
LEAST_SHARE = 1.0
#: Hits beyond those that the workload implies, as a share of all prompt tokens.
PREFIX_HITS = 0.01
#: Requests that arrived and did not leave, as a share of those that arrived.
LEFT_BEHIND = 0.10
#: Chunks that come together with the one before, as a share; tokens of a first chunk, which has one.
BUNCHED = 0.25
BUNCHED_FIRST = 2.9
#: No token that has a text is less than a byte; some are special and have none.
TOKENS_A_BYTE = 1.5
HIDDEN = 0.01
#: By how many standard errors later requests take longer than earlier ones.
LONGER = 2.5


def marks(
    workload: Workload,
    result: LoadResult,
    load: LoadMetrics,
    server: ServerMetrics | None,
    gpu: GpuMetrics | None,
    rule: Deciding | None = None,
    others_bytes: int = 0,
) -> tuple[Mark, ...]:
    """Those that hold, in the order of `Mark`. `rule` names what decides; without one that is a closed loop's throughput.
    `others_bytes` is the most of a GPU's memory that processes had which are not the server's."""
    rule = rule or Deciding(precision=workload.precision, throughput=workload.users is not None)
    hides = _hides(result)
    first_tokens = 0.0 if hides else load.first_chunk_tokens or 0.0
    held = {
        Mark.CLIENT_BOUND: client_bound(result.client, load),
        Mark.UNSTEADY: not result.stationary,
        Mark.IMPRECISE: result.at_best is None and bool(unknown(rule, load, result.undecided, workload.users)),
        Mark.THROTTLED: gpu is not None and (gpu.throttled or 0.0) >= THROTTLED,
        Mark.GPU_SHARED: others_bytes >= OTHERS_BYTES,
        Mark.PREFIX_CACHE: server is not None and _hits_too_often(result, load, server),
        Mark.SATURATED: workload.users is None and _falls_behind(result, load),
        Mark.OTHER_LENGTHS: any(
            share is not None and abs(share - 1) > OTHER_LENGTHS for share in (load.answer_share, load.prompt_share)
        ),
        Mark.BUNCHED: (load.bunched or 0.0) >= BUNCHED or first_tokens >= BUNCHED_FIRST,
        Mark.HIDDEN_TOKENS: hides,
        Mark.COUNTED: any(r.is_counted for r in result.records),
        Mark.RANDOM_TEXT: workload.dataset is None and server is not None and server.drafts is not None,
        Mark.STOPPED_EARLY: result.at_best is not None,
        Mark.REPLAYED_ACCEPTANCE: False,  # who starts the server knows
        Mark.NEIGHBOURS: False,  # who starts the others knows
    }
    return tuple(mark for mark in Mark if held[mark])


def client_bound(client: ClientMetrics, load: LoadMetrics) -> bool:
    """Whether the load generator was the limit: a worker had no time left, or its delays are a part of TTFT that matters."""
    delay_s = client.delay_mean_s + client.lag_mean_s
    late_s = max(LEAST_DELAY_S, TTFT_SHARE * present(present(load.ttft_s).mean))
    return client.cpu >= BUSY or delay_s > late_s or (client.send_delay_mean_s or 0.0) > late_s


def unknown(rule: Deciding, load: LoadMetrics, undecided: Sequence[str], users: int | None = None) -> tuple[str, ...]:
    """The metrics that decide whose recorded interval is wider than asked, or of which it is not known whether they meet their
    SLO. With `users` that have ended too few requests the window is far shorter than a request, and its interval has not seen
    how their contexts vary."""
    half = load.output_throughput_ci95
    is_known = half is not None and present(load.completed) >= LEAST_SHARE * (users or 0)
    share = half / present(load.output_throughput) if half is not None and is_known else None
    return rule.unknown(share, load.ci95 or {}, undecided)


def _hits_too_often(result: LoadResult, load: LoadMetrics, server: ServerMetrics) -> bool:
    queries, hits = server.prefix_cache_queries, server.prefix_cache_hits
    if result.shared_tokens is None or not queries or hits is None or not load.input_tokens:
        return False
    sent = sent_in(result.records, result.window_start_s, result.window_end_s)  # before, prompts are longer than usual
    prompts = [r.input_tokens for r in sent if r.input_tokens]
    if not prompts:
        return False
    implied = min(1.0, result.shared_tokens * len(prompts) / sum(prompts))
    return hits / queries > implied + PREFIX_HITS


def _hides(result: LoadResult) -> bool:
    """Whether the server counts more tokens than can be in the texts that came, or says so itself."""
    known = [r for r in sent_in(result.records, result.window_start_s, result.window_end_s) if r.text_bytes]
    tokens, text_bytes = sum(r.output_tokens or 0 for r in known), sum(r.text_bytes or 0 for r in known)
    return tokens > TOKENS_A_BYTE * text_bytes or sum(r.hidden_tokens for r in known) > HIDDEN * tokens


def _falls_behind(result: LoadResult, load: LoadMetrics) -> bool:
    """Fewer requests ended than arrived, and those that arrived later took longer, both by more than chance: the number of
    arrivals is Poisson at most, the lengths of answers are independent. Where a window begins before the first answers have
    ended the former alone is no sign of it: until then the number in flight grows on any server."""
    start_s, end_s = result.window_start_s, result.window_end_s
    due = sent_in(result.records, start_s, end_s)
    if len(due) - present(load.completed) <= max(LEFT_BEHIND * len(due), 3 * sqrt(len(due))):
        return False
    halves = [[r.ended_s - r.scheduled_s for r in half] for half in _halves(due, (start_s + end_s) / 2)]
    if min(map(len, halves)) < 2:
        return False
    longer_s = fmean(halves[1]) - fmean(halves[0])
    chance_s = sqrt(sum(variance(half) / len(half) for half in halves))
    return longer_s > max(LEFT_BEHIND * (end_s - start_s) / 2, LONGER * chance_s)


def _halves(records: Sequence[RequestRecord], middle_s: float) -> tuple[list[RequestRecord], list[RequestRecord]]:
    return [r for r in records if r.scheduled_s < middle_s], [r for r in records if r.scheduled_s >= middle_s]
