"""Do windows end when what decides is known, and does the interval that is recorded hold the truth? Against simulations.

    python benchmarks/truth/window.py [--runs 200]

The rule that ends a window, its intervals and its marks are tuner's own; the servers are simulated and their truth is known.
"""

import argparse
import sys
from array import array
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median

import numpy as np
from cores import on_all_cores
from servers import CHAT, NEWTON, SLOW_CHAT, TICK_S, Floats, Seen, Server, closed, opened, waits

from tuner.decide.confidence import half_width, quantile_interval
from tuner.decide.deciding import Deciding, deciding, latencies_s
from tuner.decide.early import Outdo
from tuner.decide.objective import parse_objective
from tuner.decide.slo import parse_slo
from tuner.load.generate import ENDED_OPEN_LOOP, ENDED_PER_USER, MAX_WINDOW_FACTOR
from tuner.load.stopping import Stopping, relative_half_width
from tuner.types import Workload
from tuner.workload.presets import PRESETS

Row = tuple[str, str]
_WINDOW_S = 12.0
_LONGEST_S = MAX_WINDOW_FACTOR * _WINDOW_S


class _Heard:
    """What `tuner.load.progress.Heard` tells, of a server that is simulated."""

    def __init__(self, seen: Seen) -> None:
        ended = np.ceil(seen.requests[:, 2] / TICK_S).astype(np.intp) - 1
        tokens = np.bincount(np.maximum(ended, 0), seen.requests[:, 3], len(seen.tokens)) if seen.tokens.size else ended
        self._ticks = {"events": seen.tokens, "prompt_tokens": seen.prompts}
        self._ticks |= dict.fromkeys(("answered_events", "answered_tokens"), tokens[: len(seen.tokens)])
        self._requests, self.now_s = seen.requests, 0.0

    def rates(self, start_s: float, end_s: float, what: str = "events") -> list[float]:
        found: list[float] = self._ticks[what][: round(end_s / TICK_S)].tolist()
        return found

    def answered(self, start_s: float) -> "array[float]":
        last_s = self._requests[:, 2]
        return array("d", self._requests[(last_s >= start_s) & (last_s < self.now_s)].ravel().tolist())


class Window:
    """One window by tuner's rule: how long it was, what is recorded, what is said not to be known, and whether it was stopped
    early, because it cannot `outdo` another. With `to_the_end` it ends by nothing else before its longest."""

    def __init__(
        self, seen: Seen, workload: Workload, rule: Deciding, outdo: Outdo | None = None, to_the_end: bool = False
    ) -> None:
        heard = _Heard(seen)
        stopping = Stopping(rule, workload, heard, TICK_S, outdo)  # type: ignore[arg-type]
        ended_s = seen.requests[:, 2]
        ends_s = np.sort(ended_s[ended_s >= 0])
        needed = ENDED_PER_USER * workload.users if workload.users else ENDED_OPEN_LOOP
        self.known = self.stopped = False
        first = round(_WINDOW_S / TICK_S)
        for tick in range(1 if outdo else first, round(_LONGEST_S / TICK_S) + 1):
            heard.now_s = self.length_s = tick * TICK_S
            ended = int(np.searchsorted(ends_s, self.length_s))
            is_enough = ended >= needed and tick >= first and not to_the_end
            if is_enough and (known := stopping.is_known(0.0, self.length_s)):
                self.known = known
                break
            if ended >= (workload.users or needed) and stopping.is_outdone(0.0, self.length_s):
                self.stopped = True
                break
        else:
            stopping.look(0.0, self.length_s)
        self.intervals = stopping.intervals or {}
        whole = seen.requests[(ended_s >= 0) & (ended_s < self.length_s)]
        self.meets = all(np.quantile(latencies_s(whole)["ttft"], 0.99) <= limit_s for _, limit_s in rule.limits)
        self.rate, self.half = float(np.mean(stopping.rates or [0])), relative_half_width(stopping.rates, stopping.mix)
        self.undecided = stopping.undecided
        self.unknown = rule.unknown(self.half, self.intervals, self.undecided)


def table(runs: int = 200) -> list[Row]:
    """Rows of what was asked and what was found."""
    parts = (_throughputs, _closed_latencies, _correlated, _quantiles, _open_loops)
    return [row for rows in on_all_cores(_rows, parts, [runs] * len(parts)) for row in rows]


def _rows(part: Callable[[int], Iterator[Row]], runs: int) -> list[Row]:
    return list(part(runs))


def _throughputs(runs: int) -> Iterator[Row]:
    for name, server, preset in (
        ("chat", CHAT, "chat"),
        ("chat, requests of 9 s", SLOW_CHAT, "chat"),
        ("newton-32", NEWTON, "newton-32"),
    ):
        yield from _throughput(name, server, PRESETS[preset], runs)


def _throughput(name: str, server: Server, workload: Workload, runs: int) -> Iterator[Row]:
    seen = closed(server, runs, _LONGEST_S, seed=1)
    windows = [Window(one, workload, deciding(workload)) for one in seen]
    errors = [window.rate / server.rate - 1 for window in windows]
    covered = np.mean([abs(e) <= (w.half or 0) for e, w in zip(errors, windows, strict=True)])
    lengths = [window.length_s for window in windows]
    yield (
        f"{name}: throughput to {workload.precision:.0%}",
        f"median {median(lengths):.1f} s, mean {np.mean(lengths):.1f} s; holds the truth in {covered:.1%}, bias"
        f" {np.mean(errors):+.2%}, sd {np.std(errors):.2%}, half width {np.mean([w.half or 1 for w in windows]):.2%};"
        f" marked imprecise {_marked(windows)}",
    )


def _marked(windows: list[Window]) -> str:
    wrongly = np.mean([window.known and bool(window.unknown) for window in windows])
    return f"{np.mean([bool(window.unknown) for window in windows]):.0%} (though it ended as known: {wrongly:.1%})"


def _closed_latencies(runs: int) -> Iterator[Row]:
    """A p99 objective, and SLOs with limits around the truth, in `chat`."""
    workload = PRESETS["chat"]
    seen = closed(CHAT, runs, _LONGEST_S + 10, seed=2)
    truth = latencies_s(np.concatenate([one.requests for one in seen]))
    for name in ("ttft_p95", "ttft_p99", "e2e_p95", "e2e_p99"):
        yield _latency(f"chat: objective {name}", seen, workload, deciding(workload, [parse_objective(name)]), truth)
    for share in (3.0, 1.5, 1.2, 1.0, 0.9, 0.7):
        limit_s = share * float(np.quantile(truth["ttft"], 0.99))
        rule = replace(deciding(workload, (), [parse_slo(f"ttft_p99={limit_s:.6f}s")]), throughput=False)
        windows = [Window(one, workload, rule) for one in seen]
        decided = [window.meets for window in windows if not window.undecided]
        wrong = decided.count(share < 1) / runs if share != 1 else 0.0
        yield (
            f"chat: SLO of ttft_p99 at {share:g} times the truth",
            f"median {median(w.length_s for w in windows):.1f} s; decided {len(decided) / runs:.0%}, wrongly {wrong:.1%};"
            f" marked imprecise {_marked(windows)}",
        )


def _latency(name: str, seen: list[Seen], workload: Workload, rule: Deciding, truth: dict[str, Floats]) -> Row:
    """How the first metric that a rule names fares."""
    metric = rule.metrics[0]
    latency, _, statistic = metric.removesuffix("_s").rpartition("_")
    values = truth[latency]
    true = float(values.mean() if statistic == "mean" else np.quantile(values, int(statistic[1:]) / 100))
    windows = [Window(one, workload, rule) for one in seen]
    found = [window.intervals[metric] for window in windows if metric in window.intervals]
    held = np.mean([low <= true <= high for low, high in found]) if found else float("nan")
    width = np.mean([(high - low) / 2 / true for low, high in found]) if found else float("nan")
    return (
        name,
        f"median {median(w.length_s for w in windows):.1f} s; has an interval in {len(found) / len(windows):.0%}, which"
        f" holds the truth in {held:.1%}, half width {width:.1%}; marked imprecise {_marked(windows)}",
    )


def _correlated(runs: int) -> Iterator[Row]:
    runs *= 5  # they cost little
    for count in (48, 192):
        shares = []
        for rho in (0.0, 0.3, 0.5, 0.7, 0.8):
            noise = np.random.default_rng(3).normal(size=(runs, count))
            noise[:, 0] /= np.sqrt(1 - rho**2)
            for n in range(1, count):
                noise[:, n] += rho * noise[:, n - 1]
            shares.append(f"{rho:g}: {np.mean([abs(row.mean()) <= (half_width(row) or 0) for row in noise]):.1%}")
        yield f"AR(1), {count} values: holds the truth", ", ".join(shares)


def _quantiles(runs: int) -> Iterator[Row]:
    """Wrong are intervals that do not hold the truth, of all windows: those without an interval claim nothing."""
    random = np.random.default_rng(4)
    sources: list[tuple[str, Callable[[int], Floats]]] = [
        ("independent, lognormal", lambda count: random.lognormal(size=count))
    ]
    for load in (0.5, 0.7, 0.8):
        sources.append((f"M/D/1 waits, load {load:g}", lambda count, load=load: _md1(count, load, random)))  # type: ignore[misc]
    for name, draw in sources:
        long = np.concatenate([draw(100_000) for _ in range(20)])
        for share in (0.95, 0.99):
            true, said = float(np.quantile(long, share)), []
            for count in (400, 1000, 4000):
                found = [quantile_interval(draw(count), share) for _ in range(runs)]
                given = [interval for interval in found if interval is not None]
                held = np.mean([low <= true <= high for low, high in given]) if given else float("nan")
                wrong = sum(not low <= true <= high for low, high in given) / runs
                said.append(f"{count}: in {len(given) / runs:.0%}, holds {held:.0%}, wrong {wrong:.1%}")
            yield f"p{share * 100:g} of {name}", "; ".join(said)


def _md1(count: int, load: float, random: np.random.Generator) -> Floats:
    return waits(random.exponential(1 / load, 2000 + count), 1.0)[2000:]


def _open_loops(runs: int) -> Iterator[Row]:
    workload, random = PRESETS["open-chat"], np.random.default_rng(5)
    for e2e_s, token_s in ((2, 0.0145), (6, 0.046)):
        seen = [opened(8.0, 0.05, token_s, _LONGEST_S + 30, random) for _ in range(runs)]
        truth = latencies_s(np.concatenate([one.requests for one in seen]))
        for objective in (None, "ttft_p95", "ttft_p99", "e2e_p99"):
            rule = deciding(workload, [parse_objective(objective)] if objective else ())
            name = f"open loop, 8/s, E2E {e2e_s} s: {objective or 'no objective (TTFT mean)'}"
            yield _latency(name, seen, workload, rule, truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    for name, found in table(parser.parse_args().runs):
        sys.stdout.write(f"{name}\n    {found}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
