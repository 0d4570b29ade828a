"""Turns of loads that threads ask for, each with an event loop of its own, as the slots do."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tuner.launch.job import Turn, Turns
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


def test_one_that_is_alone_waits_for_those_that_run_and_none_begins_before_it_has_ended() -> None:
    async def seen() -> list[str]:
        loads, order = Loads(), list[str]()

        async def load(name: str, turns: Turns, load_s: float = 0.2) -> None:
            async with turns(lambda _: None):
                order.append(f"{name} begins")
                await asyncio.sleep(load_s)
            order.append(f"{name} ends")

        first = asyncio.create_task(load("first", loads.turn, 0.5))
        await asyncio.sleep(0.1)
        alone = asyncio.create_task(load("alone", loads.alone))
        await asyncio.sleep(0.1)
        await asyncio.gather(first, alone, load("last", loads.turn))
        return order

    assert asyncio.run(seen()) == [
        f"{name} {what}" for name in ("first", "alone", "last") for what in ("begins", "ends")
    ]


@pytest.mark.parametrize("ends", ["well", "by failing", "by being cancelled"])
def test_those_that_are_held_begin_once_one_has_been_alone_however_that_ended(ends: str) -> None:
    async def seen() -> list[str]:
        loads, order = Loads(), list[str]()
        loads.held = True

        async def alone() -> None:
            async with loads.alone(lambda _: None):
                order.append("alone")
                if ends == "by failing":
                    raise ValueError("the load failed")
                await asyncio.sleep(0.1 if ends == "well" else 60)

        async def load() -> None:
            async with loads.turn(lambda _: None):
                order.append("held")

        held = asyncio.create_task(load())
        await asyncio.sleep(0.15)
        lonely = asyncio.create_task(alone())
        await asyncio.sleep(0.05)
        if ends == "by being cancelled":
            lonely.cancel()
        await asyncio.wait_for(asyncio.gather(held, lonely, return_exceptions=True), 10)
        return order

    assert asyncio.run(seen()) == ["alone", "held"]


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
