"""Slots: so many at once and no more, on their own cores, and ended in order."""

import asyncio
import os
import threading
import time
from concurrent.futures import wait

import pytest

from tuner import interrupts
from tuner.execute.pool import Pool
from tuner.execute.slot import Slot


def slots(count: int) -> list[Slot]:
    return [Slot(number=number) for number in range(count)]


def test_as_many_run_as_there_are_slots_and_each_in_its_own() -> None:
    together = threading.Barrier(3)
    with Pool(slots(3)) as pool:
        futures = [pool.submit(lambda slot: (together.wait(30), slot.number)[1]) for _ in range(3)]
        wait(futures)
        assert sorted(future.result() for future in futures) == [0, 1, 2]


def test_what_a_call_raises_is_raised_where_it_is_asked_for() -> None:
    def fails(slot: Slot) -> None:
        raise ValueError(f"in {slot.number}")

    with Pool(slots(1)) as pool:
        with pytest.raises(ValueError, match="in 0"):
            pool.submit(fails).result(30)
        assert pool.submit(lambda slot: slot.number).result(30) == 0


def test_a_call_has_the_cores_of_its_slot() -> None:
    core = min(os.sched_getaffinity(0))
    with Pool([Slot(number=0, cores=frozenset({core}))]) as pool:
        assert pool.submit(lambda _: os.sched_getaffinity(0)).result(30) == {core}
    assert core in os.sched_getaffinity(0)


def test_the_end_cancels_what_runs_which_cleans_up_and_what_waits() -> None:
    begun, seen = threading.Event(), list[str]()

    async def runs() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.3)  # is not cancelled again
            seen.append("cleaned up")

    began_s = time.monotonic()
    with Pool(slots(1)) as pool:
        first = pool.submit(lambda _: interrupts.run(runs()))
        second = pool.submit(lambda _: seen.append("began"))
        assert begun.wait(30)
    assert seen == ["cleaned up"]
    assert second.cancelled()
    assert isinstance(first.exception(), asyncio.CancelledError)
    assert time.monotonic() - began_s < 30
