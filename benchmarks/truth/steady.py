"""How far throughput is off because a load has a beginning: the product's first requests and warm-up on simulated servers.

    python benchmarks/truth/steady.py [REPLICATIONS] [PART OF A CASE'S NAME]

Each row is a server and a workload. The truth is the mean of long runs; a measurement begins and warms up as tuner does
(tuner/workload/under_way.py, tuner/load/warm_up.py), and its window ends by the product's rule. Coverage is the share of the
measurements whose 95 % interval holds the truth. `covered or marked` counts those, too, that are marked unsteady or imprecise.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np
from cores import on_all_cores
from loop import Floats, History, Lengths, Server, run
from rich.console import Console
from rich.table import Table

from tuner.decide.confidence import half_width
from tuner.load.generate import ENDED_OPEN_LOOP, ENDED_PER_USER, MAX_WINDOW_FACTOR
from tuner.load.warm_up import Tick, WarmUp
from tuner.measure.marks import LEAST_SHARE
from tuner.measure.metrics import LEAST_COMPLETED
from tuner.types import Lengths as Counts
from tuner.types import Workload
from tuner.workload.lengths import mean
from tuner.workload.under_way import UnderWay

TICK_S, RAMP_S, REPLICATIONS = 0.25, 2.0, 100
#: An 8B in 16 bit on cards of 300 GB/s and 2 TB/s, and a 1.5B on one of 4.8 TB/s.
L4 = Server(step_s=0.053, sequence_s=0.0002, context_s=131e3 / 300e9, prompt_s=0.0003)
A100 = Server(step_s=0.010, sequence_s=0.00003, context_s=131e3 / 2e12, prompt_s=0.00004)
H200 = Server(step_s=0.004, sequence_s=0.00002, context_s=28e3 / 4.8e12, prompt_s=0.00001)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is said of a case: `bias` and `spread` (standard deviation) are of the truth, times are medians."""

    case: str
    truth: float
    bias: float
    spread: float
    covered: float
    covered_or_marked: float
    unsteady: float
    imprecise: float
    warm_up_s: float
    window_s: float


@dataclass(frozen=True, kw_only=True)
class Found:
    """One measurement."""

    rate: float
    half: float | None
    ended: int
    unsteady: bool
    warm_up_s: float
    window_s: float


@dataclass(frozen=True, kw_only=True)
class Case:
    """A workload on a server, or, in an open loop, at a pace; what is simulated of it is `horizon_s` long."""

    name: str
    workload: Workload
    horizon_s: float
    server: Server | None = None
    tpot_s: float = 0.0


def closed(users: int, low: int, high: int, *, prompt: tuple[int, int] = (64, 192)) -> Workload:
    return Workload(
        name="closed",
        api="chat",
        users=users,
        input_tokens=Counts(low=prompt[0], high=prompt[1]),
        output_tokens=Counts(low=low, high=high),
    )


def opened(rate: float, low: int, high: int) -> Workload:
    return replace(closed(1, low, high), users=None, request_rate=rate)


R1 = closed(32, 512, 1536)
QUEUE, FULL = replace(L4, sequences=8), replace(L4, capacity=15_000)
CASES = (
    Case(name="reasoning-r1, 32 users, 8B on L4", workload=R1, server=L4, horizon_s=400),
    Case(name="the same, max_num_seqs 8", workload=R1, server=QUEUE, horizon_s=900),
    Case(name="the same, 15,000 tokens of KV cache", workload=R1, server=FULL, horizon_s=600),
    Case(name="reasoning-r1, 128 users, 8B on A100", workload=closed(128, 512, 1536), server=A100, horizon_s=150),
    Case(name="reasoning-r1, 256 users, 1.5B on H200", workload=closed(256, 512, 1536), server=H200, horizon_s=120),
    Case(name="answers of 1,024-3,072, 24 users, L4", workload=closed(24, 1024, 3072), server=L4, horizon_s=700),
    Case(name="answers of 2,048-6,144, 64 users, A100", workload=closed(64, 2048, 6144), server=A100, horizon_s=400),
    Case(name="chat, 64 users, L4", workload=closed(64, 32, 224, prompt=(64, 448)), server=L4, horizon_s=150),
    Case(name="long-prompt, 16 users, L4", workload=closed(16, 64, 192, prompt=(1024, 3072)), server=L4, horizon_s=150),
    Case(name="open loop, 2/s of 20 s each", workload=opened(2.0, 512, 1536), tpot_s=0.02, horizon_s=250),
    Case(name="open loop, 4/s of 10 s each", workload=opened(4.0, 256, 768), tpot_s=0.02, horizon_s=200),
    Case(name="open loop, 8/s of 2 s each", workload=opened(8.0, 32, 224), tpot_s=0.015, horizon_s=150),
)


def table(replications: int = REPLICATIONS, cases: Sequence[Case] = CASES) -> list[Row]:
    return on_all_cores(row_of, cases, [replications] * len(cases))


def row_of(case: Case, replications: int) -> Row:
    truth = _truth(case)
    found = list(_measurements(case, replications))
    rates = np.array([one.rate for one in found])
    covered = np.array([one.half is not None and abs(one.rate - truth) <= one.half for one in found])
    imprecise = np.array([_is_imprecise(case.workload, one) for one in found])
    unsteady = np.array([one.unsteady for one in found])
    return Row(
        case=case.name,
        truth=truth,
        bias=float(rates.mean()) / truth - 1,
        spread=float(rates.std()) / truth,
        covered=float(covered.mean()),
        covered_or_marked=float((covered | imprecise | unsteady).mean()),
        unsteady=float(unsteady.mean()),
        imprecise=float(imprecise.mean()),
        warm_up_s=float(np.median([one.warm_up_s for one in found])),
        window_s=float(np.median([one.window_s for one in found])),
    )


def _is_imprecise(workload: Workload, one: Found) -> bool:
    """As tuner.measure.marks has it."""
    return (
        one.ended < LEAST_SHARE * (workload.users or 0) or one.half is None or one.half > workload.precision * one.rate
    )


def _history(case: Case, replications: int, horizon_s: float, seed: int) -> History:
    assert case.server is not None
    rng, users = np.random.default_rng(seed), case.workload.users or 0
    begun = np.empty((replications, users, 2))
    for number in range(replications):
        places = UnderWay(replace(case.workload, seed=seed + number))
        ones = [places.of(user) for user in range(users)]
        begun[number] = [(one.input_tokens, one.left_tokens) for one in ones]
    due_s = np.tile(np.arange(users) * RAMP_S / users, (replications, 1))
    prompt, answer = case.workload.input_tokens, case.workload.output_tokens
    lengths = Lengths(prompt=(prompt.low, prompt.high), answer=(answer.low, answer.high))
    step_s = case.server.step_s + case.server.sequence_s * min(users, case.server.sequences)
    return run(case.server, lengths, begun, due_s, int(horizon_s / step_s), rng)


def _truth(case: Case) -> float:
    """Tokens a second: the mean of 24 runs, each from a third of its length on; in an open loop what arrives."""
    if case.workload.request_rate is not None:
        return case.workload.request_rate * mean(case.workload.output_tokens)
    history = _history(case, 24, 4 * case.horizon_s, 10**6)
    first = len(history.time_s) // 3
    tokens = history.tokens[-1] - history.tokens[first]
    return float((tokens / (history.time_s[-1] - history.time_s[first])).mean())


def _measurements(case: Case, replications: int) -> Iterator[Found]:
    edges = np.arange(1, int(case.horizon_s / TICK_S)) * TICK_S
    history = _history(case, replications, case.horizon_s, 1) if case.workload.users else None
    for number in range(replications):
        if history is None:
            yield _measure(case.workload, edges, _open_series(case, number, edges))
        else:
            inside = edges[edges < history.time_s[-1, number]]
            yield _measure(case.workload, inside, _closed_series(case, history, number, inside))


def _closed_series(case: Case, history: History, number: int, edges: Floats) -> dict[str, Floats]:
    users, rows = case.workload.users or 0, np.searchsorted(history.time_s[:, number], edges, side="right") - 1
    seen = {name: np.where(rows < 0, 0, getattr(history, name)[rows, number]) for name in _SEEN}
    for name in ("unanswered", "unended"):
        seen[name][rows < 0] = users
    return {**seen, "open": np.full(len(edges), users), "oldest_due_s": np.zeros(len(edges))}


def _measure(workload: Workload, edges: Floats, seen: dict[str, Floats]) -> Found:
    """One measurement, of what the ticks say."""
    warm_up = WarmUp(workload, ramp_s=RAMP_S if workload.users else 0.0, begins_steady=True)
    start = 0
    while not warm_up.is_over:
        warm_up.tell(_tick(edges[start], {name: values[start] for name, values in seen.items()}))
        start += 1
    start -= 1
    end = _window_end(workload, edges, seen, start)
    rates, ended = np.diff(seen["tokens"][start : end + 1]) / TICK_S, int(seen["ended"][end] - seen["ended"][start])
    return Found(
        rate=float(rates.mean()),
        half=half_width(rates) if ended >= LEAST_COMPLETED else None,
        ended=ended,
        unsteady=not warm_up.stationary,
        warm_up_s=float(edges[start]),
        window_s=float(edges[end] - edges[start]),
    )


def _window_end(workload: Workload, edges: Floats, seen: dict[str, Floats], start: int) -> int:
    """The tick at which the product's window ends that begins at `start`."""
    needed = ENDED_PER_USER * workload.users if workload.users else ENDED_OPEN_LOOP
    for end in range(start + 1, len(edges)):
        past_s, ended = edges[end] - edges[start], seen["ended"][end] - seen["ended"][start]
        if past_s >= MAX_WINDOW_FACTOR * workload.window_s:
            return end
        if past_s >= workload.window_s and ended >= needed:
            rates = np.diff(seen["tokens"][start : end + 1])
            half = half_width(rates)
            if half is not None and half <= workload.precision * rates.mean():
                return end
    raise ValueError("the case's horizon is too short for its window")


def _open_series(case: Case, number: int, edges: Floats) -> dict[str, Floats]:
    """Poisson arrivals at a server that keeps up: each answer begins after 0.1 s and goes on at the same pace."""
    rng, answer = np.random.default_rng(number), case.workload.output_tokens
    rate = case.workload.request_rate or 0.0
    due_s = np.sort(rng.random(rng.poisson(rate * case.horizon_s)) * case.horizon_s)
    tokens = rng.integers(answer.low, answer.high + 1, len(due_s))
    first_s = due_s + 0.1
    end_s = first_s + (tokens - 1) * case.tpot_s
    said = np.clip((edges[:, None] - first_s) // case.tpot_s + 1, 0, tokens)
    ended = end_s <= edges[:, None]
    open_ = (due_s <= edges[:, None]) & ~ended
    return {
        "tokens": said.sum(1),
        "ended": ended.sum(1),
        "open": open_.sum(1),
        "waiting": (open_ & (said == 0)).sum(1),
        "unanswered": np.zeros(len(edges)),
        "unended": np.zeros(len(edges)),
        "oldest_due_s": np.where(open_, due_s, inf).min(1),
        "longest_s": np.where(ended, end_s - due_s, 0.0).max(1),
    }


_SEEN = ("tokens", "ended", "waiting", "unanswered", "unended", "longest_s")


def _tick(time_s: float, seen: dict[str, Any]) -> Tick:
    counts = {name: int(seen[name]) for name in ("ended", "open", "waiting", "unanswered", "unended")}
    times = {name: float(seen[name]) for name in ("oldest_due_s", "longest_s")}
    return Tick(time_s=time_s, events=int(seen["tokens"]), **counts, **times)  # type: ignore[arg-type]


def main() -> None:
    replications = int(sys.argv[1]) if len(sys.argv) > 1 else REPLICATIONS
    cases = [case for case in CASES if len(sys.argv) < 3 or sys.argv[2] in case.name]
    shown = Table(
        "case",
        "truth tok/s",
        "bias",
        "spread",
        "covered",
        "or marked",
        "unsteady",
        "imprecise",
        "warm-up s",
        "window s",
    )
    for row in table(replications, cases):
        shares = (f"{share:.0%}" for share in (row.covered, row.covered_or_marked, row.unsteady, row.imprecise))
        errors = (f"{row.bias:+.2%}", f"{row.spread:.2%}")
        shown.add_row(row.case, f"{row.truth:,.0f}", *errors, *shares, f"{row.warm_up_s:.1f}", f"{row.window_s:.1f}")
    Console(width=150).print(shown)


if __name__ == "__main__":
    main()
