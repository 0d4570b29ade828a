"""The best closed loop that aiohttp's public API allows: uvloop, one session, reads that are counted and not decoded.

It stands beside tuner's own client to show what the HTTP library itself costs.
"""

import asyncio
import gc
import json
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import aiohttp  # noqa: TID251  what it costs is the question
import uvloop


@dataclass(frozen=True, slots=True)
class Seen:
    """The TTFTs of the requests that were sent in the window [start_s, end_s)."""

    start_s: float
    end_s: float
    ttfts_s: Sequence[float]


def load(url: str, *, users: int, least: int, most: int, warmup_s: float, window_s: float) -> Seen:
    """Answers have `least` to `most` tokens. Users start spread over the warm-up's first half."""
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_load(url, users, (least, most), warmup_s, window_s))
    finally:
        gc.enable()


async def _load(url: str, users: int, tokens: tuple[int, int], warmup_s: float, window_s: float) -> Seen:
    began_s = perf_counter()
    start_s = began_s + warmup_s
    sent: list[tuple[float, float]] = []
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        f"{url}/", connector=aiohttp.TCPConnector(limit=0), timeout=timeout, auto_decompress=False
    ) as session:

        async def user(number: int) -> None:
            rng = random.Random(number)
            await asyncio.sleep(warmup_s / 2 * number / users)
            while True:
                await _request(session, rng.randint(*tokens), sent)

        tasks = [asyncio.create_task(user(number)) for number in range(users)]
        await asyncio.sleep(warmup_s + window_s)
        end_s = perf_counter()
        await asyncio.sleep(1.0)  # the window's last requests get their first token
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return Seen(start_s, end_s, [first_s - sent_s for sent_s, first_s in sent if start_s <= sent_s < end_s])


async def _request(session: aiohttp.ClientSession, tokens: int, sent: list[tuple[float, float]]) -> None:
    """Adds to `sent` when it was sent and when its first token came."""
    body = {"model": "paced", "prompt": [300] * 64, "max_tokens": tokens, "stream": True}
    data = json.dumps(body | {"stream_options": {"include_usage": True}}).encode()
    times_s, counts = array("d"), array("H")
    sent_s = perf_counter()
    async with session.post("v1/completions", data=data) as response:
        content = response.content
        while chunk := await content.readany():
            times_s.append(perf_counter())
            if not counts:
                sent.append((sent_s, times_s[0]))
            counts.append(chunk.count(b"\n\n"))
    assert response.status == 200
    assert sum(counts) == tokens + 2
