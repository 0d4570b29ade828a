"""How much a client can take: the highest rate of chunks at which its TTFT is true, and 10,000 users."""

from collections.abc import Callable
from functools import partial

import ours
import plain_client
from machine import CLIENT, CLIENTS, CORES, on_cores, paced_server
from show import console, table, verdict

from tuner.measure.metrics import load_metrics

TTFT_S, STEP_S = 0.055, 0.020
RATES = (5_000, 10_000, 15_000, 20_000, 25_000, 30_000, 35_000, 40_000, 50_000, 60_000, 70_000)
CLEAN = 1.10
TOKENS, SPREAD = 200, 0.5
WARMUP_S, WINDOW_S = 5.0, 5.0
#: The window's bounds on the clock of perf_counter, and the mean TTFT of the requests in it.
Seen = tuple[float, float, float]


def clean(target_rate: int = 35_000) -> None:
    """TTFT of the client over TTFT of the server, over the requests of the window, as the rate of chunks rises. All streams get
    their tokens at the same ticks, and a request's first token comes after all others of its tick, as from an engine's step."""
    clients: dict[str, Callable[[str, int], Seen]] = {"tuner, 1 worker": partial(_tuner, 1)}
    if len(CORES) >= 4:
        clients["tuner, 2 workers"] = partial(_tuner, 2)
    clients["aiohttp readany + count, uvloop"] = _plain
    best: dict[str, float] = dict.fromkeys(clients, 0.0)
    rows = []
    for name, client in clients.items():
        is_clean = True  # up to the first rate that is not
        for rate in RATES:
            chunks_per_s, ratio, late_s = _ttft_ratio(client, rate)
            console.print(
                f"{name}: {chunks_per_s:,.0f} chunks/s, TTFT x {ratio:.3f}, server {late_s * 1e3:.1f} ms late (p99)"
            )
            rows.append((name, f"{chunks_per_s:,.0f}", f"{ratio:.3f}", f"{late_s * 1e3:.1f}"))
            is_clean = is_clean and ratio <= CLEAN
            if is_clean:
                best[name] = chunks_per_s
            if ratio > 1.5 * CLEAN:
                break
    table(
        f"TTFT as the client sees it over the server's own; steps of {STEP_S * 1e3:.0f} ms",
        ("client", "chunks/s", "TTFT ratio", "server late p99 ms"),
        rows,
    )
    for name, highest in best.items():
        console.print(f"{name}: clean up to {highest:,.0f} chunks/s")
    met = best["tuner, 1 worker"] >= 0.97 * target_rate  # the load is a few percent beside the rate that was asked for
    console.print(verdict(met, f"tuner clean up to {target_rate:,} chunks/s on a core"))


def _ttft_ratio(client: Callable[[str, int], Seen], rate: int) -> tuple[float, float, float]:
    users = round(rate * (TTFT_S + STEP_S / 2 + (TOKENS - 1) * STEP_S) / TOKENS)
    with paced_server(ttft_s=TTFT_S, itl_s=STEP_S, step=True, real_time=True) as server:
        start_s, end_s, ttft_s = client(server.url, users)
        truth = server.truth()
    true_s = float(truth.between(start_s, end_s).latencies_s()["ttft"].mean())
    return truth.rate(start_s, end_s), ttft_s / true_s, truth.late_p99_s


def _tuner(workers: int, url: str, users: int) -> Seen:
    asked = ours.workload(users=users, tokens=TOKENS, spread=SPREAD, warmup_s=WARMUP_S, window_s=WINDOW_S)
    with on_cores(CORES[1 : 1 + workers] or CORES, real_time=True):
        result = ours.load(url, asked, workers=workers)
    return result.window_start_s, result.window_end_s, load_metrics(result).ttft_s.mean


def _plain(url: str, users: int) -> Seen:
    least, most = (round(TOKENS * (1 + sign * SPREAD)) for sign in (-1, 1))
    with on_cores(CLIENT, real_time=True):
        seen = plain_client.load(url, users=users, least=least, most=most, warmup_s=WARMUP_S, window_s=WINDOW_S)
    return seen.start_s, seen.end_s, sum(seen.ttfts_s) / len(seen.ttfts_s)


def users(count: int = 10_000) -> None:
    """So many users at once, with a schedule slow enough for the server."""
    asked = ours.workload(users=count, tokens=10, spread=0.4, warmup_s=10, window_s=20)
    with paced_server(ttft_s=1.0, itl_s=1.0, real_time=True) as server:
        with on_cores(CLIENTS, real_time=True):
            result = ours.load(server.url, asked, workers=max(1, len(CLIENTS) // 2))
        truth = server.truth().between(result.window_start_s, result.window_end_s)
    found, client = load_metrics(result), result.client
    true_s = truth.latencies_s()["ttft"]
    rows = [
        ("users", f"{count:,}"),
        ("requests that ended in the window", f"{found.completed:,}"),
        ("failed", f"{found.failed:,}"),
        ("tokens/s", f"{found.output_throughput:,.0f}, true {truth.steady_rate(count, 1.0, 1.0):,.0f}"),
        ("TTFT mean s", f"{found.ttft_s.mean:.4f}, true {true_s.mean():.4f}"),
        ("workers, busiest one's share of a core", f"{client.workers}, {client.cpu:.2f}"),
    ]
    table(f"{count:,} users", ("", ""), rows)
    console.print(verdict(found.failed == 0, "no failed request"))
