"""tuner's own load generator on a running server: a workload in, its records or its measurement out."""

import asyncio
import itertools

from tuner.load.generate import generate_load, learn
from tuner.load.workers import Workers
from tuner.types import Lengths, LoadResult, Target, Workload

#: No two loads of a run have a prompt in common.
_salts = itertools.count(1)


def workload(
    *, users: int, tokens: int, spread: float = 0.0, input_tokens: int = 64, warmup_s: float = 3.0, window_s: float
) -> Workload:
    """A closed loop whose window has a fixed length. Answers have `tokens` tokens +- `spread` of them."""
    low, high = (round(tokens * (1 + sign * spread)) for sign in (-1, 1))
    return Workload(
        name="bench",
        api="completions",
        users=users,
        input_tokens=Lengths(low=input_tokens, high=input_tokens),
        output_tokens=Lengths(low=low, high=high),
        warmup_s=warmup_s,
        window_s=window_s,
        max_window_s=window_s,
        precision=1.0,
    )


def load(url: str, asked: Workload, *, workers: int = 1, model: str = "paced") -> LoadResult:
    """One load by so many workers."""

    found: list[LoadResult] = []

    async def once() -> None:  # asyncio.run makes a repr of what it returns, and that of a million times is long
        target = Target(base_url=url, model=model)
        async with Workers(workers) as processes:
            found.append(await generate_load(target, await learn(target, asked, salt=next(_salts)), processes))

    asyncio.run(once())
    return found[0]
