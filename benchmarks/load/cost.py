"""What a client costs: CPU per chunk and per request, and the time until its first request."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from time import perf_counter

import numpy as np
import ours
import plain_client
from machine import CLIENT, Paced, cpu_s, on_cores, paced_server
from peers import Loop, Peer
from show import console, spread, table, verdict

from tuner.study.measurement import measure
from tuner.types import Target

#: The paced server's usual schedule.
TTFT_S, ITL_S = 0.055, 0.010
#: Users of the cost benchmark: some 6,000 chunks a second, one chunk a read. They come in steps, so that it makes no difference
#: to the wake-ups of a client whether its users began together (the peers' do, tuner's do not). Chunks that come singly wake
#: the process for each: a bare epoll loop then costs 15.5 us a chunk, not 3.8, and tuner's connection 17.1, not 5.4.
USERS = 64


def cpu(peers: Sequence[Peer], rounds: int) -> None:
    """CPU seconds = start + chunks x cost + requests x cost: three loads of different sizes give the three unknowns."""
    found: dict[str, list[tuple[float, float]]] = {}
    with paced_server(ttft_s=TTFT_S, itl_s=ITL_S, step=True, real_time=True) as server:
        for turn in range(rounds):
            for name, loads in _cpu_loads(server.url, peers).items():
                per_chunk, per_request = _solve(server, loads)
                found.setdefault(name, []).append((per_chunk * 1e6, per_request * 1e3))
                console.print(
                    f"round {turn}, {name}: {per_chunk * 1e6:.1f} CPU-s/1M, {per_request * 1e3:.2f} ms/request"
                )
    ours_s = median(chunk for chunk, _ in found["tuner"])
    rows = []
    for name, costs in found.items():
        chunks, requests = zip(*costs, strict=True)
        factor = median(chunks) / ours_s
        rows.append((name, spread(chunks), spread(requests, 2), f"{factor:.1f} x tuner"))
    table("CPU of one core", ("client", "CPU-s per 1M chunks", "CPU ms per request", "per chunk"), rows)
    for name, share in (("vllm bench serve", 3), ("GuideLLM", 6)):
        if name in found:
            theirs_s = median(chunk for chunk, _ in found[name])
            console.print(verdict(ours_s <= theirs_s / share, f"tuner at most 1/{share} of {name}"))
    console.print(verdict(ours_s <= 20, "tuner at most 20 CPU-s per 1M chunks"))


def _cpu_loads(url: str, peers: Sequence[Peer]) -> dict[str, list[Callable[[], float]]]:
    """Three loads by client, each of which returns the CPU seconds that it used: a short one, more requests, more chunks."""

    def here(work: Callable[[], object]) -> float:
        before_s = cpu_s()
        with on_cores(CLIENT, real_time=True):
            work()
        return cpu_s() - before_s

    def tuner(tokens: int, window_s: float) -> float:
        asked = ours.workload(users=USERS, tokens=tokens, warmup_s=2, window_s=window_s)
        return here(lambda: ours.load(url, asked))

    def plain(tokens: int, window_s: float) -> float:
        return here(
            lambda: plain_client.load(url, users=USERS, least=tokens, most=tokens, warmup_s=2, window_s=window_s)
        )

    def peer(peer: Peer, requests: int, tokens: int) -> float:
        with on_cores(CLIENT, real_time=True):
            return peer.run(url, Loop(users=USERS, requests=requests, output_tokens=tokens)).ended.cpu_s

    timed, counted = ((64, 3), (64, 18), (640, 28)), ((128, 64), (1128, 64), (128, 2112))
    return {
        "tuner": [partial(tuner, *sizes) for sizes in timed],
        "aiohttp readany + count, uvloop": [partial(plain, *sizes) for sizes in timed],
        **{one.name: [partial(peer, one, *sizes) for sizes in counted] for one in peers},
    }


def _solve(server: Paced, loads: Sequence[Callable[[], float]]) -> tuple[float, float]:
    """CPU seconds per chunk and per request."""
    used, sent = [], []
    for load in loads:
        server.forget()
        used.append(load())
        truth = server.truth()
        sent.append((1.0, truth.chunks, truth.requests))
    _, per_chunk, per_request = np.linalg.solve(np.array(sent), np.array(used))
    return float(per_chunk), float(per_request)


def startup(peers: Sequence[Peer], rounds: int) -> None:
    """Seconds from the call (of a command: from its start) to the first request that the ready server gets."""
    found: dict[str, list[float]] = {}
    with paced_server(ttft_s=TTFT_S, itl_s=ITL_S) as server:
        ours_s = [_first_request_s(server, lambda: _tuner(server)) for _ in range(5)]
        found["tuner, in a running process"] = ours_s
        for _ in range(rounds):
            for peer in peers:
                loop = Loop(users=1, requests=2, output_tokens=8)  # GuideLLM cannot do with one
                taken_s = _first_request_s(server, lambda p=peer, x=loop: p.run(server.url, x))  # type: ignore[misc]
                found.setdefault(f"{peer.name}, the command", []).append(taken_s)
    table("Start-up", ("client", "s to the first request"), ((name, spread(s, 2)) for name, s in found.items()))
    console.print(verdict(median(ours_s) <= 0.2, "tuner's first request within 0.2 s"))


def _tuner(server: Paced) -> None:
    asked = ours.workload(users=1, tokens=8, warmup_s=0.1, window_s=0.5)
    asyncio.run(measure(Target(base_url=server.url, model="paced"), asked))


def _first_request_s(server: Paced, work: Callable[[], object]) -> float:
    server.forget()
    began_s = perf_counter()
    work()
    return float(server.truth().received_s.min()) - began_s
