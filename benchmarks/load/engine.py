"""The real CPU engine: tuner against vLLM's own client, and the engine against itself."""

import itertools
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import nan
from pathlib import Path
from statistics import median
from typing import Any

import ours
from machine import cpu_engine, preferred
from peers import Loop, VllmBench
from show import console, spread, table, verdict

from tuner.bench.comparison import Side, Tell, interleaved
from tuner.decide.confidence import Difference
from tuner.decide.objective import OBJECTIVES
from tuner.measure.metrics import load_metrics
from tuner.study.measurement import measure
from tuner.types import ClientMetrics, Endpoint, LoadMetrics, LoadResult, Measured, RequestRecord

USERS, TOKENS, SPREAD, INPUT = 8, 128, 0.5, 64
#: Requests a user of vLLM's client: enough to leave a steady part between ramp and drain.
REQUESTS_PER_USER = 30
AGREEMENT = 0.03
#: Of the comparisons of the engine with itself that are said to differ.
COMPARISONS, PAIRS, MOST_DIFFERENT = 40, 6, 2
_UNKNOWN = ClientMetrics(
    workers=1,
    cpu=0.0,
    delay_mean_s=0.0,
    lag_mean_s=0.0,
    lag_p99_s=0.0,
    send_delay_mean_s=None,
    send_delay_p99_s=None,
)


def engine(bench: VllmBench, model: Path, rounds: int) -> None:
    """Interleaved rounds of both clients on one server. vLLM's per-request data goes through tuner's window. Each round has
    other lengths: with the same 240 of them in every round, their mean alone would set the clients 3 % apart."""
    asked = ours.workload(users=USERS, tokens=TOKENS, spread=SPREAD, input_tokens=INPUT, warmup_s=4, window_s=12)
    found: dict[str, list[LoadMetrics]] = {"tuner": [], bench.name: []}
    whole_runs: list[float] = []
    with preferred(), cpu_engine(bench.python, model) as endpoint:
        for turn in range(rounds):
            for name in sorted(found, reverse=turn % 2 == 0):
                if name == "tuner":
                    result = ours.load(endpoint.base_url, replace(asked, seed=turn), model=endpoint.model)
                else:
                    result, whole_run = _bench(bench, endpoint, turn)
                    whole_runs.append(whole_run)
                found[name].append(load_metrics(result))
                load = found[name][-1]
                console.print(f"round {turn}, {name}: {load.output_throughput:,.1f} tokens/s in the window")
    _show_engine(found, bench.name, whole_runs)


def _bench(bench: VllmBench, endpoint: Endpoint, seed: int) -> tuple[LoadResult, float]:
    """vLLM's requests as a load of tuner's, and the throughput over the whole run that it reports itself."""
    loop = Loop(
        users=USERS,
        requests=REQUESTS_PER_USER * USERS,
        output_tokens=TOKENS,
        spread=SPREAD,
        input_tokens=INPUT,
        model=endpoint.model,
        seed=seed,
    )
    reported = bench.run(endpoint.base_url, loop)
    return steady_part(reported.detail, USERS), reported.metrics["output_throughput"]


def steady_part(detail: Mapping[str, Any], users: int) -> LoadResult:
    """What `--save-detailed` kept, with a window from the start of each user's second request, when the common start has worn
    off somewhat, to the start of the last request: from then on users run dry."""
    names = ("start_times", "ttfts", "itls", "input_lens", "output_lens")
    records = []
    for index, (start_s, ttft_s, gaps_s, inputs, outputs) in enumerate(zip(*(detail[n] for n in names), strict=True)):
        times_s = array("d", itertools.accumulate(gaps_s, initial=start_s + ttft_s))
        records.append(
            RequestRecord(
                index=index,
                scheduled_s=start_s,
                sent_s=start_s,
                ended_s=times_s[-1],
                chunk_times_s=times_s,
                input_tokens=inputs,
                output_tokens=outputs,
                error=detail["errors"][index] or None,
            )
        )
    starts_s = sorted(record.scheduled_s for record in records)
    return LoadResult(
        records=tuple(records),
        window_start_s=starts_s[2 * users],
        window_end_s=starts_s[-1],
        client=_UNKNOWN,
        warmup_s=0.0,
        stationary=True,
        shared_tokens=None,
    )


def _show_engine(found: Mapping[str, Sequence[LoadMetrics]], bench: str, whole_runs: Sequence[float]) -> None:
    metrics: dict[str, tuple[Callable[[LoadMetrics], float], float, int]] = {
        "tokens/s": (lambda load: load.output_throughput, 1.0, 1),
        "TPOT mean ms": (lambda load: load.tpot_s.mean if load.tpot_s else nan, 1e3, 2),
        "TTFT mean ms": (lambda load: load.ttft_s.mean, 1e3, 1),
        "E2EL mean ms": (lambda load: load.e2el_s.mean, 1e3, 0),
    }
    rows, apart = [], {}
    for name, (value, unit, decimals) in metrics.items():
        mine, theirs = ([value(load) * unit for load in found[client]] for client in ("tuner", bench))
        apart[name] = median(mine) / median(theirs) - 1
        rows.append((name, spread(mine, decimals), spread(theirs, decimals), f"{apart[name]:+.1%}"))
    rows.append(("tokens/s over its whole run", "", spread(whole_runs), ""))
    table("CPU engine: median [range] of the rounds", ("", "tuner", f"{bench}, steady part", "tuner against it"), rows)
    met = all(abs(apart[name]) <= AGREEMENT for name in ("tokens/s", "TPOT mean ms"))
    console.print(verdict(met, f"throughput and TPOT agree within {AGREEMENT:.0%}"))


def aa(python: Path, model: Path) -> None:
    """Comparisons of one server with itself, as `tuner compare URL URL` makes them."""
    asked = ours.workload(users=USERS, tokens=32, spread=SPREAD, input_tokens=INPUT, warmup_s=0.3, window_s=0.8)
    throughput = OBJECTIVES["throughput"]
    different, effects = 0, []
    with preferred(), cpu_engine(python, model) as endpoint:

        async def once(salt: int, tell: Tell) -> Measured:
            return await measure(endpoint, asked, salt=salt, phase=tell)

        side = Side("the engine", endpoint.model, once)
        for number in range(COMPARISONS):
            *_, compared = interleaved(side, side, PAIRS, number * 1000, lambda text: None)
            paired = compared.paired(throughput)
            assert paired
            verdict_of_it = paired.verdict(throughput.maximize)
            different += verdict_of_it is not Difference.NONE
            effects.append(abs(paired.effect))
            console.print(f"{number + 1}: {paired.effect:+.2%}, p {paired.p_value:.3f}: {verdict_of_it.value}")
    console.print(f"{different} of {COMPARISONS} called different; the largest effect was {max(effects):.2%}")
    console.print(verdict(different <= MOST_DIFFERENT, f"at most {MOST_DIFFERENT} of {COMPARISONS} called different"))
