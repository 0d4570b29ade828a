"""Interrupts that a coroutine loses: nothing goes on after one, and a command's clean-up is not lost to it."""

import asyncio
import signal
from contextlib import suppress

import pytest

from tuner import interrupts


@pytest.fixture(autouse=True)
def heeding() -> None:
    interrupts.heed_signals()


async def interrupted(seen: list[str], number: signal.Signals = signal.SIGINT) -> None:
    """Is interrupted while it waits, and cleans up."""
    try:
        signal.raise_signal(number)
        await asyncio.sleep(60)
        seen.append("went on")
    finally:
        await asyncio.sleep(0)
        seen.append("cleaned up")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_what_runs_which_cleans_up(number: signal.Signals, code: int) -> None:
    seen: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupts.run(interrupted(seen, number))
    assert seen == ["cleaned up"]
    assert interrupts.interrupted_code() == code


def test_a_cancellation_that_is_taken_for_something_else_is_not_lost() -> None:
    async def swallows() -> str:
        with suppress(asyncio.CancelledError):
            await interrupted([])
        return "done"

    with pytest.raises(KeyboardInterrupt):
        interrupts.run(swallows())


def test_a_signal_at_the_very_end_is_not_lost() -> None:
    async def ends() -> str:
        signal.raise_signal(signal.SIGINT)
        return "done"

    with pytest.raises(KeyboardInterrupt):
        interrupts.run(ends())


def test_nothing_begins_after_an_interrupt_that_python_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    class Collected:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    async def never() -> None:
        raise AssertionError("it began")

    ignored: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", ignored.append)
    lost = Collected()
    del lost
    assert len(ignored) == 1
    with pytest.raises(KeyboardInterrupt):
        interrupts.run(never())


def test_a_second_signal_ends_the_clean_up_too() -> None:
    seen: list[str] = []

    async def slow() -> None:
        try:
            await interrupted(seen)
        finally:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(60)
            seen.append("waited for")

    with pytest.raises(KeyboardInterrupt):
        interrupts.run(slow())
    assert seen == ["cleaned up"]


def test_what_is_not_interrupted_answers_and_fails_as_it_does() -> None:
    async def answers() -> int:
        await asyncio.sleep(0)
        return 7

    async def fails() -> None:
        raise ValueError("no")

    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    assert interrupts.run(answers()) == 7
    with pytest.raises(ValueError, match="no"):
        interrupts.run(fails())
    with pytest.raises(asyncio.CancelledError):
        interrupts.run(cancels_itself())
    assert interrupts.interrupted_code() == 130
