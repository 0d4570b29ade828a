"""When a search launches the defaults again beside others, what it makes of that, and what a resumed one knows."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from record_samples import STUDY
from samples import failed, measured, trial

from tuner.decide.neighbours import Told
from tuner.decide.objective import OBJECTIVES
from tuner.errors import LaunchError
from tuner.execute.slot import Slot
from tuner.launch.job import RunTrial, Turn, Turns, at_once
from tuner.record.neighbours import kept_checked
from tuner.record.store import Store
from tuner.study import neighbours as module
from tuner.study.neighbours import Neighbours
from tuner.study.trial import run_trial
from tuner.types import Failed, FailureKind, Mark, Measured, Outcome, Trial


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    opened.create_or_get_study(STUDY)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", 0.5)


def served(value: float, *marks: Mark) -> Measured:
    found = measured()
    load = replace(found.load, output_throughput=value, output_throughput_ci95=0.02 * value)
    return replace(found, load=load, marks=marks)


def neighbours(
    store: Store, slots: int | Sequence[Slot] = 3, run: RunTrial = run_trial
) -> tuple[Neighbours, list[str]]:
    told: list[str] = []
    places = [Slot(number=number) for number in range(slots)] if isinstance(slots, int) else slots
    objectives = (OBJECTIVES["throughput"],)
    setup: Any = SimpleNamespace(study=STUDY.name, objectives=objectives, slots=places, run=run)
    return Neighbours(setup, store, told.append), told


def defaults(outcome: Outcome | None = None) -> list[Trial]:
    return [trial(0, outcome or served(1000.0), is_default=True)]


def check(found: Neighbours, *outcomes: Measured | Exception, others: int = 2, alone: Measured | None = None) -> None:
    """The defaults are launched and measured, and their server is loaded again, with these outcomes, beside the loads of so
    many others all the time."""
    again = found.begin(40, is_first=True)
    assert again is not None
    left, is_over = list(outcomes), asyncio.Event()

    async def load() -> None:
        async with found.turns_of(Slot(number=1))(lambda _: None):
            await is_over.wait()

    async def reload(turns: Turns) -> Measured:
        outcome = left.pop(0)
        async with turns(lambda _: None):
            await asyncio.sleep(0.3)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def defaults() -> None:
        async with found.turns_of(Slot(number=0), is_default=True)(lambda _: None) as turn:
            await asyncio.sleep(0.2)
        assert turn.others == 0  # they are held
        await again(alone or served(1000.0), reload, lambda _: None)
        is_over.set()

    async def all_of_them() -> None:
        loads = [asyncio.create_task(load()) for _ in range(others)]
        await asyncio.wait_for(defaults(), 30)
        await asyncio.gather(*loads)

    asyncio.run(all_of_them())
    assert left == []
    found.end(is_first=True)


def marked(found: Neighbours) -> bool:
    """Whether loads that run at once now may have been slowed."""

    async def load() -> Turn:
        async with found.turns_of(Slot(number=1))(lambda _: None) as turn:
            await asyncio.sleep(0.2)
        return turn

    async def two() -> tuple[Turn, Turn]:
        return await asyncio.gather(load(), load())

    return any(turn.may_be_slowed for turn in asyncio.run(two()))


def test_what_an_earlier_run_has_measured_is_launched_again_once_others_run(store: Store) -> None:
    found, told = neighbours(store)
    assert (found.keeps_free([], 40), found.needs_check([], 40, 0)) == (0, False)
    assert (found.keeps_free(defaults(), 40), found.needs_check(defaults(), 40, 0)) == (1, False)
    assert found.needs_check(defaults(), 40, 2)
    assert found.begin(40, is_first=False) is not None
    assert (found.keeps_free(defaults(), 40), found.needs_check(defaults(), 40, 2)) == (0, False)  # it is being checked
    found.end(is_first=False)  # it failed
    assert told[0].startswith("launches at once may disturb one another: there is no measurement")
    assert not found.needs_check(defaults(), 40, 2)


def test_as_fast_beside_others_all_go_on_at_once_and_unmarked(store: Store) -> None:
    found, told = neighbours(store)
    assert marked(found)
    check(found, served(997.0))
    assert told[0].startswith(
        "launches at once do not disturb one another: vLLM's defaults, loaded again once beside others, were 0.3% slower"
    )
    assert (found.keeps_free(defaults(), 40), marked(found)) == (0, False)


def test_slower_beside_others_one_load_runs_at_a_time_from_there_on(store: Store) -> None:
    found, told = neighbours(store)
    check(found, served(800.0))
    assert told[0].startswith("launches at once disturb one another: ")
    assert told[0].endswith("from here on one is under load at a time, while others start")
    assert not marked(found)


def test_what_is_not_told_apart_is_loaded_again_and_then_taken_to_be_disturbed(store: Store) -> None:
    found, told = neighbours(store)
    check(found, served(960.0), served(960.0), served(960.0))
    assert told[0].startswith("launches at once may disturb one another: vLLM's defaults, loaded again 3 times beside")
    assert not found.needs_check(defaults(), 40, 2)


@pytest.mark.parametrize("outcome", [served(1000.0), LaunchError(Failed(kind=FailureKind.LOAD_FAILED, message="no"))])
def test_a_check_that_fails_says_nothing_and_neither_does_one_without_others(
    store: Store, outcome: Measured | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, told = neighbours(store)
    if isinstance(outcome, Measured):
        monkeypatch.setattr(module, "_PATIENCE_S", 0.2)
        check(found, others=0)
    else:
        check(found, outcome)
    assert "there is no measurement of vLLM's defaults" in told[0]
    kept = kept_checked(store, STUDY.name)
    assert kept is not None
    assert (kept.found.told, kept.found.launches) == (Told.UNCLEAR, 0)


@pytest.mark.parametrize("outcome", [failed(), served(1000.0, Mark.CLIENT_BOUND)])
def test_without_defaults_to_compare_with_nothing_is_launched(store: Store, outcome: Outcome) -> None:
    found, told = neighbours(store)
    found.begin(40, is_first=True)
    found.end(is_first=True)
    assert not found.needs_check(defaults(outcome), 40, 2)
    assert told[0].startswith("launches at once may disturb one another: there is no measurement")
    assert not marked(found)
    kept = kept_checked(store, STUDY.name)
    assert kept is not None
    assert kept.found.told is Told.UNCLEAR
    assert not found.needs_check(defaults(outcome), 40, 2)
    assert len(told) == 1


def test_without_defaults_to_compare_with_nothing_is_loaded(store: Store) -> None:
    found, told = neighbours(store)
    check(found, alone=served(1000.0, Mark.CLIENT_BOUND))
    assert told[0].startswith("launches at once may disturb one another: there is no measurement")
    assert not marked(found)


def test_a_resumed_study_knows_what_was_found(store: Store) -> None:
    check(neighbours(store)[0], served(1001.0))
    for slots, is_known in ((3, True), (2, True), (4, False)):
        found, told = neighbours(store, slots)
        assert (found.keeps_free(defaults(), 40) == 0, bool(told)) == (is_known, is_known)


def test_a_disturbance_holds_for_as_many_slots_only(store: Store) -> None:
    check(neighbours(store)[0], served(800.0))
    assert neighbours(store, 3)[0].keeps_free(defaults(), 40) == 0
    assert neighbours(store, 2)[0].keeps_free(defaults(), 40) == 1


def test_another_host_is_checked_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    check(neighbours(store)[0], served(1001.0))
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert neighbours(store)[0].keeps_free(defaults(), 40) == 1


def test_it_is_not_worth_it_where_little_is_left(store: Store) -> None:
    found, _ = neighbours(store, slots=3)
    assert [found.keeps_free(defaults(), left) for left in (4, 5)] == [0, 1]
    assert [found.begin(left, is_first=True) is None for left in (4, 5)] == [True, False]


def test_one_slot_and_slots_elsewhere_and_recordings_have_no_neighbours(store: Store) -> None:
    async def elsewhere(*_: Any) -> Outcome:
        raise NotImplementedError

    away = [Slot(number=number, run=elsewhere) for number in range(3)]
    for found, slot in (
        (neighbours(store, slots=1), Slot(number=0)),
        (neighbours(store, slots=away), away[0]),
        (neighbours(store, run=elsewhere), Slot(number=0)),
    ):
        assert (found[0].keeps_free(defaults(), 40), found[0].turns_of(slot)) == (0, at_once)
