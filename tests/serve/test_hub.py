"""Many watch one study: it is asked once, all hear the same in order, and who does not listen is cut off."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tuner.errors import StorageError
from tuner.serve import hub as module
from tuner.serve.following import Place
from tuner.serve.hub import Client, Hub, News


class Told:
    """Tells a number each time that it is asked."""

    made = 0

    def __init__(self, study: str) -> None:
        type(self).made += 1
        if study == "nope":
            raise StorageError("no")
        self.asked, self.silent, self.gone = 0, study == "silent", False

    def now(self) -> bytes:
        return b"now %d;" % self.asked

    def since(self, place: Place) -> bytes:
        return b"since %d;" % place.trial + self.now()

    def news(self, *, everything: bool) -> bytes:
        if self.gone:
            raise StorageError("deleted")
        self.asked += 1
        return b"" if self.silent else b"%d;" % self.asked


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    Told.made = 0


def run(test: Callable[[Hub, list[Told]], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        made: list[Told] = []

        def follow(study: str) -> News:
            made.append(Told(study))
            return made[-1]

        hub = Hub(follow)
        await asyncio.wait_for(test(hub, made), 60)
        assert hub.clients == 0

    asyncio.run(all_of_it())


def never() -> None:
    raise AssertionError("it was cut off")


async def heard(client: Client, least: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < least:
        piece = await client.take()
        if piece is None:
            return [*found, b"end"]
        found += piece.split(b";")[:-1]
    return found


def test_all_hear_the_same_in_order_from_when_they_come() -> None:
    async def test(hub: Hub, made: list[Told]) -> None:
        async with hub.watching("a", None, never) as first:
            assert (await heard(first, 3))[:3] == [b"now 0", b"1", b"2"]
            async with hub.watching("a", Place(0, 7), never) as second:
                since, now, *numbers = await heard(second, 4)
                assert since == b"since 7"
                begin = int(now.split()[1])
                assert [int(number) for number in numbers] == list(range(begin + 1, begin + 1 + len(numbers)))
            assert hub.clients == 1
        assert len(made) == 1

    run(test)


def test_who_does_not_listen_is_cut_off_and_the_others_go_on() -> None:
    async def test(hub: Hub, _: list[Told]) -> None:
        cut = asyncio.Event()
        async with hub.watching("a", None, cut.set), hub.watching("a", None, never) as good:
            while not cut.is_set():
                await heard(good, 1)
            assert hub.clients == 1
            assert await heard(good, 5)

    run(test)


def test_silence_is_broken_by_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.05)

    async def test(hub: Hub, _: list[Told]) -> None:
        async with hub.watching("silent", None, never) as client:
            assert await client.take() == b"now 0;"
            assert await client.take() == b": here\n\n"

    run(test)


def test_the_end_of_a_study_or_of_the_service_ends_its_watchers() -> None:
    async def test(hub: Hub, made: list[Told]) -> None:
        async with hub.watching("a", None, never) as client, hub.watching("b", None, never) as other:
            made[0].gone = True
            assert (await heard(client, 10**6))[-1] == b"end"
            assert await heard(other, 5)
            await hub.close()
            assert (await heard(other, 10**6))[-1] == b"end"
        async with hub.watching("a", None, never) as late:
            assert (await heard(late, 10**6))[-1] == b"end"

    run(test)


def test_what_cannot_be_watched_is_not() -> None:
    async def test(hub: Hub, _: list[Told]) -> None:
        with pytest.raises(StorageError):
            async with hub.watching("nope", None, never):
                pass

    run(test)
