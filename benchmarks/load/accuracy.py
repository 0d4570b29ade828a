"""What the clients report against what the paced server knows: latencies of the same requests, and the steady rate."""

from collections.abc import Mapping, Sequence

import numpy as np
import ours
from machine import CLIENTS, on_cores, paced_server
from peers import Loop, Peer
from show import console, table, verdict
from truth import Truth

from tuner.measure.metrics import load_metrics
from tuner.types import Measured

TTFT_S, ITL_S = 0.055, 0.010
USERS = (64, 256)
TOKENS, SPREAD = 128, 0.5
#: Requests a user that the peers are given: more would hide the ramp and the drain that they count.
REQUESTS_PER_USER = 10
NAMES = ("ttft_mean_s", "ttft_p99_s", "tpot_mean_s", "tpot_p99_s", "e2el_mean_s", "e2el_p99_s")
#: A latency is right within this share, or this time.
SHARE, TIME_S = 0.05, 0.003
RATE_SHARE = 0.01


def accuracy(peers: Sequence[Peer]) -> None:
    for users in USERS:
        rows, met = [], False
        for name, reported, truth in _loads(users, peers):
            steady = truth.steady_rate(users, TTFT_S, ITL_S)
            true = _true_metrics(truth)
            rows.append((name, *_cells(reported, true), f"{reported['output_throughput'] / steady - 1:+.1%}"))
            if name == "tuner":
                met = abs(reported["output_throughput"] / steady - 1) <= RATE_SHARE
                met &= all(_is_right(reported[metric], true[metric]) for metric in NAMES)
        header = [name.removesuffix("_s").replace("_", " ").upper().replace("MEAN", "mean") for name in NAMES]
        title = f"{users} users: ms reported (error against the server's truth); tokens/s against the steady rate {steady:,.0f}"
        table(title, ("client", *header, "tokens/s"), rows)
        console.print(
            verdict(met, f"tuner within {SHARE:.0%} or {TIME_S * 1e3:.0f} ms, its rate within {RATE_SHARE:.0%}")
        )


def _loads(users: int, peers: Sequence[Peer]) -> Sequence[tuple[str, Mapping[str, float], Truth]]:
    """What each client reported, and the truth of the requests that it reported on."""
    found: list[tuple[str, Mapping[str, float], Truth]] = []
    with paced_server(ttft_s=TTFT_S, itl_s=ITL_S, real_time=True) as server:
        asked = ours.workload(users=users, tokens=TOKENS, spread=SPREAD, warmup_s=4, window_s=12)
        with on_cores(CLIENTS, real_time=True):
            result = ours.load(server.url, asked)
        reported = Measured(load=load_metrics(result), server=None, gpu=None, server_cpu_cores=None, startup_s=None)
        truth = server.truth().between(result.window_start_s, result.window_end_s)
        found.append(("tuner", reported.metrics(), truth))
        loop = Loop(users=users, requests=REQUESTS_PER_USER * users, output_tokens=TOKENS, spread=SPREAD)
        for peer in peers:
            server.forget()
            with on_cores(CLIENTS, real_time=True):
                metrics = peer.run(server.url, loop).metrics
            found.append((peer.name, metrics, server.truth()))
    return found


def _true_metrics(truth: Truth) -> dict[str, float]:
    values = truth.latencies_s()
    means = {f"{name}_mean_s": float(latencies.mean()) for name, latencies in values.items()}
    return means | {f"{name}_p99_s": float(np.percentile(latencies, 99)) for name, latencies in values.items()}


def _cells(reported: Mapping[str, float], true: Mapping[str, float]) -> list[str]:
    return [f"{reported[name] * 1e3:,.2f} ({reported[name] / true[name] - 1:+.1%})" for name in NAMES]


def _is_right(reported_s: float, true_s: float) -> bool:
    return abs(reported_s - true_s) <= max(SHARE * true_s, TIME_S)
