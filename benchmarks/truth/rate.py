"""Does `--find-rate` find the highest rate that meets the SLOs, and is a server called saturated only when it is?

    python benchmarks/truth/rate.py [--runs 100]

The product's own search (tuner.study.find_rate.FindRate), its metrics and marks, on simulated servers whose true rate is known
from millions of requests. Nothing is measured: a window is made of arrivals that the product drew, and of when the simulated
server would have answered them.
"""

import argparse
import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import repeat, takewhile
from math import exp, log

import numpy as np
from cores import on_all_cores
from numpy.typing import NDArray

from tuner.decide.rate_search import RESOLUTION
from tuner.decide.slo import Slo, parse_slo
from tuner.measure.marks import marks
from tuner.measure.metrics import load_metrics
from tuner.study.find_rate import FindRate
from tuner.types import ClientMetrics, Lengths, LoadResult, Mark, Measured, RequestRecord, Workload
from tuner.workload.arrivals import schedule

Floats = NDArray[np.float64]
#: When requests are due, and how many tokens they ask for -> when their first and their last token come.
Server = Callable[[Floats, Floats], tuple[Floats, Floats]]

PREFILL_S, FIRST_TOKEN_S = 0.1, 0.05
STEP_S, STEP_OF_A_REQUEST_S = 0.010, 0.0008
TPOT_S = 0.020
#: What a window is followed by, so that its last requests end under load.
_AFTER_S = 10.0
_CLIENT = ClientMetrics(
    workers=1, cpu=0.1, delay_mean_s=0.0, lag_mean_s=0.0, lag_p99_s=0.0, send_delay_mean_s=0.0, send_delay_p99_s=0.0
)


def first_tokens(due_s: Floats, tokens: Floats) -> tuple[Floats, Floats]:
    """One prefill of 100 ms after another (M/D/1), answers of one token."""
    done_s = PREFILL_S * np.arange(1, due_s.size + 1)
    last_s = done_s + np.maximum.accumulate(due_s - done_s + PREFILL_S)
    return last_s, last_s


def batch(due_s: Floats, tokens: Floats) -> tuple[Floats, Floats]:
    """All requests in one batch, whose step grows with them (processor sharing): a clock that ticks once a step."""
    running, last_s = list[tuple[float, int]](), np.zeros(due_s.size)
    steps, now_s = 0.0, 0.0
    for number, (arrival_s, asked) in enumerate(
        zip([*due_s.tolist(), float("inf")], [*tokens.tolist(), 0.0], strict=True)
    ):
        while running:
            step_s = STEP_S + STEP_OF_A_REQUEST_S * len(running)
            ends_s = now_s + (running[0][0] - steps) * step_s
            if ends_s > arrival_s:
                steps += (arrival_s - now_s) / step_s
                break
            (steps, ended), now_s = heapq.heappop(running), ends_s
            last_s[ended] = now_s + FIRST_TOKEN_S
        now_s = arrival_s
        heapq.heappush(running, (steps + asked - 1, number))
    return due_s + FIRST_TOKEN_S, last_s


def unlimited(due_s: Floats, tokens: Floats) -> tuple[Floats, Floats]:
    """The same for any request at any rate."""
    return due_s + PREFILL_S, due_s + PREFILL_S + (tokens - 1) * TPOT_S


def slots(due_s: Floats, tokens: Floats) -> tuple[Floats, Floats]:
    """16 requests at once, each as fast as of the server without any limit; the others wait."""
    free_s, first_s = [0.0] * 16, np.zeros(due_s.size)
    for number, (arrival_s, asked) in enumerate(zip(due_s.tolist(), tokens.tolist(), strict=True)):
        begun_s = max(arrival_s, free_s[0])
        first_s[number] = begun_s + PREFILL_S
        heapq.heapreplace(free_s, begun_s + PREFILL_S + (asked - 1) * TPOT_S)
    return first_s, first_s + (tokens - 1) * TPOT_S


SHORT = Workload(
    name="short",
    api="completions",
    request_rate=4.0,
    find_rate=True,
    input_tokens=Lengths(low=64, high=64),
    output_tokens=Lengths(low=1, high=1),
    warmup_s=5.0,
)
ANSWERS = replace(SHORT, output_tokens=Lengths(low=64, high=192))
LONG = replace(SHORT, output_tokens=Lengths(low=512, high=1536), find_rate=False)


def window(server: Server, load: Workload, rng: np.random.Generator) -> LoadResult:
    """What the load generator would have seen."""
    start_s, end_s = load.warmup_s, load.warmup_s + load.window_s
    arrivals = takewhile(lambda arrival: arrival.offset_s < end_s + _AFTER_S, schedule(load))
    due_s = np.array([arrival.offset_s for arrival in arrivals])
    tokens = _tokens(load, due_s.size, rng)
    first_s, last_s = server(due_s, tokens)
    sampled = (due_s < end_s) & (last_s >= start_s)
    rows = np.stack([due_s, first_s, last_s, tokens], axis=1)[sampled].tolist()
    return LoadResult(
        records=tuple(_records(rows)),
        window_start_s=start_s,
        window_end_s=end_s,
        client=_CLIENT,
        warmup_s=load.warmup_s,
        stationary=True,
        shared_tokens=None,
    )


def _records(rows: Sequence[Sequence[float]]) -> Iterator[RequestRecord]:
    for index, (due_s, first_s, last_s, tokens) in enumerate(rows):
        yield RequestRecord(
            index=index,
            scheduled_s=due_s,
            sent_s=due_s,
            ended_s=last_s,
            chunk_times_s=(first_s, last_s) if tokens > 1 else (last_s,),
            input_tokens=64,
            output_tokens=round(tokens),
            error=None,
        )


def measure(server: Server, load: Workload, slos: Sequence[Slo], rng: np.random.Generator) -> Measured:
    """As tuner.study.measurement makes it of a window."""
    result = window(server, load, rng)
    found = replace(load_metrics(result), request_rate=load.request_rate)
    marked = marks(load, result, found, None, None)
    return Measured(load=found, server=None, gpu=None, server_cpu_cores=None, startup_s=None, marks=marked)


@dataclass(frozen=True, kw_only=True)
class Found:
    """One search: the rate that it told, whether it was seen to meet the SLOs, the interval, and what it cost."""

    rate: float
    seen: bool
    low: float
    high: float
    requests: int
    probes: int
    seconds: float


def search(server: Server, workload: Workload, slo: Slo, seed: int) -> Found:
    """One run of `--find-rate`."""
    rng, seconds = np.random.default_rng(seed), 0.0
    finding = FindRate(replace(workload, seed=seed), [slo])
    while (load := finding.next()) is not None:
        seconds += load.warmup_s + load.window_s
        finding.tell(load, measure(server, load, [slo], rng))
    measured = finding.found()
    assert measured is not None
    assert measured.rate is not None
    return Found(
        rate=finding.rate,
        seen=slo.violation(measured.load) <= 0,
        low=measured.rate.low or 0.0,
        high=measured.rate.high or float("inf"),
        requests=sum(tried.requests for tried in measured.rate.tried),
        probes=len(measured.rate.tried),
        seconds=seconds,
    )


@cache
def true_rate(server: Server, workload: Workload, slo: Slo, requests: int) -> float:
    """The rate at which the limit is met exactly, by bisection and two secants over more and more requests."""
    low, high = 0.5, 12.0
    for _ in range(7):
        middle = (low * high) ** 0.5
        if _margin(server, workload, slo, middle, 20_000) <= 0:
            low = middle
        else:
            high = middle
    rate = (low * high) ** 0.5
    for many in (requests // 5, requests):
        below, above = (_margin(server, workload, slo, rate * factor, many) for factor in (0.98, 1.02))
        rate *= exp(-(below + above) / 2 / (above - below) * log(1.02 / 0.98))
    return rate


def _margin(server: Server, workload: Workload, slo: Slo, rate: float, requests: int) -> float:
    rng = np.random.default_rng(0)
    due_s = np.cumsum(rng.exponential(size=requests)) / rate
    tokens = _tokens(workload, requests, rng)
    first_s, last_s = server(due_s, tokens)
    latency, _, percentile = slo.metric.removesuffix("_s").rpartition("_p")
    values = first_s - due_s if latency == "ttft" else (last_s - first_s) / (tokens - 1)
    return log(float(np.percentile(values[1000:], int(percentile))) / slo.limit_s)


def _tokens(workload: Workload, count: int, rng: np.random.Generator) -> Floats:
    return rng.integers(workload.output_tokens.low, workload.output_tokens.high + 1, count).astype(np.float64)


#: What is looked for, on which server, from where: `requests` are those of which the truth is made.
SEARCHES = (
    ("first tokens one by one", first_tokens, SHORT, "ttft_p99=500ms", (1.0, 4.0, 8.0), 4_000_000),
    ("a batch", batch, ANSWERS, "tpot_p99=40ms", (1.0, 4.0, 8.0), 1_000_000),
    ("a batch", batch, ANSWERS, "tpot_p50=25ms", (4.0,), 1_000_000),
)
HEADER = (
    "server",
    "SLO",
    "begun at",
    "true rate",
    "told / true: 5 %, median, 95 %",
    f"within {RESOLUTION:.0%}",
    "meets the SLO",
    "was seen to",
    "true one in the interval",
    "probes",
    "requests",
    "seconds",
)


def table(runs: int = 100) -> list[tuple[str, ...]]:
    """One row a search, under HEADER: shares of `runs` searches; probes, requests and seconds are medians."""
    return [
        _row(name, server, workload, parse_slo(text), first, requests, runs)
        for name, server, workload, text, rates, requests in SEARCHES
        for first in rates
    ]


def _row(
    name: str, server: Server, workload: Workload, slo: Slo, first: float, requests: int, runs: int
) -> tuple[str, ...]:
    true = true_rate(server, workload, slo, requests)
    found = on_all_cores(
        search, repeat(server), repeat(replace(workload, request_rate=first)), repeat(slo), range(runs)
    )
    told = np.array([one.rate for one in found]) / true
    return (
        name,
        f"{slo.name} {slo.limit_s * 1e3:g} ms",
        f"{first:g}/s",
        f"{true:.3f}/s",
        " ".join(f"{value:.3f}" for value in np.percentile(told, (5, 50, 95))),
        f"{np.mean(abs(told - 1) <= RESOLUTION):.0%}",
        f"{np.mean(told <= 1):.0%}",
        f"{np.mean([one.seen for one in found]):.0%}",
        f"{np.mean([one.low <= true <= one.high for one in found]):.0%}",
        f"{np.median([one.probes for one in found]):.0f}",
        " to ".join(f"{value:,.0f}" for value in np.percentile([one.requests for one in found], (50, 95))),
        " to ".join(f"{value:,.0f}" for value in np.percentile([one.seconds for one in found], (50, 95))),
    )


SATURATED_HEADER = ("server", "rate", "warm-up s", "window s", "called saturated")


def saturated_table(runs: int = 200) -> list[tuple[str, ...]]:
    """How often a server is called saturated: one that never is, whose answers take 10 to 31 s, and two that are."""
    rows = []
    for name, server, workload, rates in (
        ("without any limit", unlimited, LONG, (1.0, 4.0, 16.0)),
        ("first tokens one by one, at most 10/s", first_tokens, SHORT, (5.0, 8.0, 12.0, 15.0, 20.0, 40.0)),
        ("16 at once, at most 0.78/s", slots, LONG, (0.5, 1.2, 1.6, 4.0)),
    ):
        for rate in rates:
            for warmup_s, window_s in ((5.0, 12.0), (5.0, 48.0), (60.0, 12.0), (60.0, 48.0), (60.0, 240.0)):
                load = replace(workload, request_rate=rate, warmup_s=warmup_s, window_s=window_s, find_rate=False)
                called = on_all_cores(_is_called_saturated, repeat(server), repeat(load), range(runs))
                rows.append((name, f"{rate:g}/s", f"{warmup_s:g}", f"{window_s:g}", f"{np.mean(called):.1%}"))
    return rows


def _is_called_saturated(server: Server, load: Workload, seed: int) -> bool:
    return Mark.SATURATED in measure(server, replace(load, seed=seed), [], np.random.default_rng(seed)).marks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    runs = parser.parse_args().runs
    for header, rows in ((HEADER, table(runs)), (SATURATED_HEADER, saturated_table(2 * runs))):
        for row in (header, *rows):
            print(" | ".join(row))  # noqa: T201
        print()  # noqa: T201


if __name__ == "__main__":
    main()
