"""How often is a window stopped early whose settings are as good as the best, and what is saved where they are worse?

    python benchmarks/truth/early.py [--runs 1000]

The best is the luckiest of some settings that are all alike, each launched once; launches of the same settings differ by 2 %
(the standard deviation; of latencies by 15 %). The next launch is measured by tuner's own rules against it. "Wrongly" is the
share of launches just as good that are stopped at any look of the longest window; "saved" is the share of the window that one
would have had otherwise.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from cores import on_all_cores
from servers import CHAT, NEWTON, SLOW_CHAT, TICK_S, Floats, Seen, Server, closed, opened
from window import Row, Window

from tuner.decide.deciding import deciding, latencies_s
from tuner.decide.early import Outdo, outdo
from tuner.decide.objective import OBJECTIVES, Objective
from tuner.decide.repeats import LEAST_ERROR, PRIOR_ERROR
from tuner.types import Command, Distribution, LoadMetrics, Measured, Trial, Workload
from tuner.workload.presets import PRESETS

LONGEST_S = 48.0
#: How many were measured before, and by how much the next one is worse.
BEFORE, WORSE = (1, 20), (0.1, 0.2, 0.5)
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_NONE = Distribution(count=1, mean=1.0, p50=1.0, p90=1.0, p99=1.0)

#: So many runs of a server that is so many times as fast, each by its own launch's luck.
Source = Callable[[Floats, int], list[Seen]]


def table(runs: int = 1000, only: str = "") -> list[Row]:
    """Rows of what was asked and what was found."""
    names = [name for name in _KINDS if only in name]
    return on_all_cores(_row, names, [runs] * len(names))


def _row(name: str, runs: int) -> Row:
    source, workload, objective = _KINDS[name]()
    return name, "; ".join(_said(source, workload, objective, runs, seed=10 * sorted(_KINDS).index(name)))


def _said(source: Source, workload: Workload, objective: Objective, runs: int, seed: int) -> Iterator[str]:
    random, rule = np.random.default_rng(seed), deciding(workload, (objective,))
    launches = LEAST_ERROR if objective.is_throughput else PRIOR_ERROR
    before = [_load(one, Window(one, workload, rule), objective) for one in source(np.ones(runs), seed)]
    mine = np.exp(launches * random.normal(size=runs))
    seen = source(mine, seed + 1)
    for count in BEFORE:
        lucks = np.exp(launches * random.normal(size=(runs, count)))
        loads = [[before[at] for at in random.integers(runs, size=count)] for _ in range(runs)]
        bests = [_best(*one, objective, workload) for one in zip(loads, lucks, strict=True)]
        wrong = [Window(s, workload, rule, b, to_the_end=True).stopped for s, b in zip(seen, bests, strict=True)]
        yield f"the best of {count}: wrongly {np.mean(wrong):.2%}"
    whole = [Window(one, workload, rule).length_s for one in seen]
    for worse in WORSE:
        slower = source(mine * (1 - worse), seed + 1)
        windows = [Window(s, workload, rule, b) for s, b in zip(slower, bests, strict=True)]
        saved = 1 - sum(window.length_s for window in windows) / sum(whole)
        yield f"{worse:.0%} worse: stopped {np.mean([w.stopped for w in windows]):.0%}, saved {saved:.0%}"


def _best(loads: Sequence[LoadMetrics], lucks: Floats, objective: Objective, workload: Workload) -> Outdo:
    """Of so many launches, each as fast as its luck."""
    trials = [_trial(n, _faster(load, luck)) for n, (load, luck) in enumerate(zip(loads, lucks.tolist(), strict=True))]
    found = outdo(trials, objective, (), workload)
    assert found is not None
    return found


def _faster(load: LoadMetrics, luck: float) -> LoadMetrics:
    half, ttft = load.output_throughput_ci95, load.ttft_s
    return replace(
        load,
        output_throughput=load.output_throughput * luck,
        output_throughput_ci95=None if half is None else half * luck,
        ttft_s=replace(ttft, mean=ttft.mean / luck, p50=ttft.p50 / luck, p90=ttft.p90 / luck, p99=ttft.p99 / luck),
    )


def _load(seen: Seen, window: Window, objective: Objective) -> LoadMetrics:
    ended = seen.requests[(seen.requests[:, 2] >= 0) & (seen.requests[:, 2] < window.length_s)]
    ttft = latencies_s(ended)["ttft"] if objective.metric.startswith("ttft") else np.ones(1)
    p50, p90, p99 = np.quantile(ttft, (0.5, 0.9, 0.99)).tolist()
    return LoadMetrics(
        window_s=window.length_s,
        completed=len(ended),
        failed=0,
        request_throughput=1.0,
        output_throughput=window.rate,
        output_throughput_ci95=None if window.half is None else window.half * window.rate,
        total_token_throughput=window.rate,
        ttft_s=Distribution(count=ttft.size, mean=float(ttft.mean()), p50=p50, p90=p90, p99=p99),
        tpot_s=None,
        itl_s=None,
        e2el_s=_NONE,
    )


def _trial(number: int, load: LoadMetrics) -> Trial:
    return Trial(
        number=number,
        params={},
        is_default=number == 0,
        resolved={},
        command=Command(argv=("vllm",), model="m", settings={}, environment={}),
        outcome=Measured(load=load, server=None, gpu=None, server_cpu_cores=None, startup_s=None),
        violations={},
        started_at=_NOW,
        ended_at=_NOW,
    )


def _server(server: Server, preset: str) -> tuple[Source, Workload, Objective]:
    """Its clients see another speed as so many times the tokens."""

    def seen(lucks: Floats, seed: int) -> list[Seen]:
        runs = closed(server, len(lucks), LONGEST_S, seed)
        return [
            replace(one, tokens=one.tokens * luck, prompts=one.prompts * luck)
            for one, luck in zip(runs, lucks, strict=True)
        ]

    return seen, PRESETS[preset], OBJECTIVES["throughput"]


def _correlated(rho: float, spread: float) -> tuple[Source, Workload, Objective]:
    """Tokens a tick that are an AR(1) series with that relative standard deviation; more requests end than any rule needs."""
    count, users = round(LONGEST_S / TICK_S), 4

    def seen(lucks: Floats, seed: int) -> list[Seen]:
        noise = np.random.default_rng(seed).normal(size=(len(lucks), count)) * np.sqrt(1 - rho**2)
        noise[:, 0] /= np.sqrt(1 - rho**2)
        for tick in range(1, count):
            noise[:, tick] += rho * noise[:, tick - 1]
        ends = np.repeat((np.arange(count) + 0.5) * TICK_S, users)
        requests = np.stack([ends - 0.2, ends - 0.1, ends, np.ones_like(ends)], axis=1)
        rows = np.maximum(1000 * lucks[:, None] * (1 + spread * noise), 0.0)
        return [Seen(tokens=row, prompts=np.zeros(count), requests=requests) for row in rows]

    return seen, replace(PRESETS["chat"], users=users), OBJECTIVES["throughput"]


def _queue(load: float, objective: str) -> tuple[Source, Workload, Objective]:
    """An open loop at a server that is so busy; another speed is seen as latencies that are so many times shorter."""
    prefill_s = load / 8

    def seen(lucks: Floats, seed: int) -> list[Seen]:
        random = np.random.default_rng(seed)
        return [_slower(opened(8.0, prefill_s, 0.0145, LONGEST_S, random), luck) for luck in lucks]

    return seen, PRESETS["open-chat"], OBJECTIVES[objective]


def _slower(seen: Seen, luck: float) -> Seen:
    due, first, last, tokens = seen.requests.T
    return replace(seen, requests=np.stack([due, due + (first - due) / luck, last, tokens], axis=1))


_KINDS: dict[str, Callable[[], tuple[Source, Workload, Objective]]] = {
    "chat": lambda: _server(CHAT, "chat"),
    "chat, requests of 9 s": lambda: _server(SLOW_CHAT, "chat"),
    "newton-32": lambda: _server(NEWTON, "newton-32"),
    **{
        f"AR(1) of {rho:g}, ticks differ by {spread:.0%}": lambda rho=rho, spread=spread: _correlated(rho, spread)  # type: ignore[misc]
        for rho in (0.0, 0.5, 0.8, 0.9, 0.95)
        for spread in (0.05, 0.2)
    },
    **{
        f"M/D/1, load {load:g}: {objective}": lambda load=load, objective=objective: _queue(load, objective)  # type: ignore[misc]
        for load in (0.4, 0.7)
        for objective in ("ttft_p50", "ttft_p99", "ttft_mean")
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--only", default="", help="those whose name has it")
    said = parser.parse_args()
    for name, found in table(said.runs, said.only):
        sys.stdout.write(f"{name}\n    {found}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
