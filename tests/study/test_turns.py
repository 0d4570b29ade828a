"""Turns of loads that threads ask for, each with an event loop of its own, as the slots do."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tuner.launch.job import Turn
from tuner.study.turns import Loads


def run(loads: Loads, count: int, load_s: float = 0.3) -> tuple[list[Turn], int, list[str]]:
    """So many loads from as many threads; the turns, how many ran at once at the most, and what was told."""
    lock, now, most, told = threading.Lock(), 0, 0, list[str]()

    async def load() -> Turn:
        nonlocal now, most
        async with loads.turn(told.append) as turn:
            with lock:
                now += 1
                most = max(most, now)
            await asyncio.sleep(load_s)
            with lock:
                now -= 1
        return turn

    with ThreadPoolExecutor(count) as pool:
        turns = [*pool.map(lambda _: asyncio.run(load()), range(count))]
    return turns, most, told


def test_all_at_once_may_have_been_slowed_until_that_is_known() -> None:
    turns, most, told = run(Loads(), 3)
    assert (most, told) == (3, [])
    assert all(turn.may_be_slowed for turn in turns)
    assert all(turn.others == pytest.approx(2, abs=0.8) for turn in turns)


def test_what_is_harmless_is_not_marked() -> None:
    loads = Loads()
    loads.are_harmless = True
    turns, most, _ = run(loads, 3)
    assert most == 3
    assert not any(turn.may_be_slowed for turn in turns)


def test_one_after_another_is_never_beside_another_and_says_what_it_waits_for() -> None:
    loads = Loads()
    loads.at_once = False
    turns, most, told = run(loads, 4, load_s=0.1)
    assert most == 1
    assert not any(turn.may_be_slowed or turn.others for turn in turns)
    assert told == ["waiting until no other launch is under load"] * 3


def test_the_first_come_is_the_first_served_and_a_cancelled_one_leaves_the_queue() -> None:
    async def queue() -> list[int]:
        loads, order = Loads(), list[int]()
        loads.at_once = False

        async def load(number: int) -> None:
            async with loads.turn(lambda _: None):
                order.append(number)
                await asyncio.sleep(0.15)

        tasks = [asyncio.create_task(load(number)) for number in range(4)]
        await asyncio.sleep(0.05)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert loads.count == 0
        return order

    assert asyncio.run(queue()) == [0, 2, 3]


def test_a_load_that_fails_gives_its_turn_back() -> None:
    loads = Loads()
    loads.at_once = False

    async def fails() -> None:
        async with loads.turn(lambda _: None):
            raise ValueError("the load failed")

    with pytest.raises(ValueError, match="the load failed"):
        asyncio.run(fails())
    began_s = time.monotonic()
    run(loads, 1, load_s=0.0)
    assert time.monotonic() - began_s < 5
