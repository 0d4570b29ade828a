import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from record_samples import NOW
from retuning import open_proposal, stored_study

from tuner.errors import RunError, UsageError
from tuner.record.proposals import Difference, Proposals, State, Step
from tuner.record.store import Store
from tuner.retune.proposals import step
from tuner.study.lease import me


@pytest.fixture
def store(storage_url: str) -> Iterator[Store]:
    opened = stored_study(storage_url)
    yield opened
    opened.close()


def said(what: str, number: int | None = 1) -> Step:
    return step(number, "Ada", what, "because")


def test_a_proposal_comes_back_as_it_was_stored(store: Store) -> None:
    number = open_proposal(store, ["http://a:1/metrics", "http://b:2/metrics"])
    found = Proposals(store).get(number)
    assert found.urls == ("http://a:1/metrics", "http://b:2/metrics")
    assert (found.study_before, found.study_after, found.state) == ("prod", "after", State.OPEN)
    assert (found.trial, found.gain, found.verdict) == (0, 0.1, "trial 0, verified")
    assert found.workload_changes == (Difference(name="output tokens, mean", before="128", after="256"),)
    assert found.settings_changes == (Difference(name="max_num_seqs", before="64", after="128"),)
    assert (found.created_at, found.changed_at, found.holder) == (NOW, NOW, None)


def test_each_step_is_in_the_log_in_order(store: Store) -> None:
    number = open_proposal(store)
    book = Proposals(store)
    book.move(number, State.APPROVED, said("approved"))
    book.begin_canary(number, me(), "http://x:1/metrics", said("canary"))
    book.note(said("reverting"))
    book.move(number, State.REVERTED, said("reverted"))
    log = book.log(number)
    assert [one.what for one in log] == ["drift found", "proposed", "approved", "canary", "reverting", "reverted"]
    assert log[2].who == "Ada"
    assert log[2].why == "because"
    assert abs(log[2].at - datetime.now(UTC)) < timedelta(hours=1)
    assert book.log(number + 1) == []
    assert book.get(number).holder is None


def test_the_log_can_only_be_added_to(store: Store) -> None:
    """No method changes or deletes an entry, and what deletes a study leaves the log."""
    names = [name for name in dir(Proposals) if not name.startswith("_")]
    assert names == ["begin_canary", "decide", "draft", "get", "listed", "log", "move", "note"]
    number = open_proposal(store)
    before = Proposals(store).log()
    store.delete_study("after")
    store.delete_study("prod")
    with pytest.raises(RunError):
        Proposals(store).move(number, State.DEPLOYED, said("deployed"))
    assert Proposals(store).log() == before


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ([], State.CANARY),
        ([], State.DEPLOYED),
        ([State.REJECTED], State.APPROVED),
        ([State.APPROVED], State.DEPLOYED),
        ([State.APPROVED], State.OPEN),
    ],
)
def test_no_state_is_reached_but_by_its_way(store: Store, path: list[State], to: State) -> None:
    number, book = open_proposal(store), Proposals(store)
    for state in path:
        book.move(number, state, said(state.value))
    before = book.log()
    with pytest.raises(RunError, match=f"and from there it cannot become {to.value}"):
        book.move(number, to, said(to.value))
    assert book.log() == before


def test_of_two_canaries_at_the_same_time_one_begins(store: Store) -> None:
    number = open_proposal(store)
    Proposals(store).move(number, State.APPROVED, said("approved"))
    began: list[bool] = []

    def begin() -> None:
        try:
            Proposals(store).begin_canary(number, me(), "http://x:1/metrics", said("canary"))
            began.append(True)
        except RunError:
            began.append(False)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(began) == [False, False, False, True]
    found = Proposals(store).get(number)
    assert found.holder is not None
    assert found.holder.process == me()
    assert found.canary_url == "http://x:1/metrics"


def test_lists_are_of_states_the_newest_first_and_in_parts(store: Store) -> None:
    numbers: list[int] = []
    for _ in range(3):
        if numbers:
            store.delete_study("after")
        numbers.append(open_proposal(store))
    book = Proposals(store)
    book.move(numbers[1], State.REJECTED, said("rejected"))
    assert [one.number for one in book.listed()] == numbers[::-1]
    assert [one.number for one in book.listed(State.OPEN)] == [numbers[2], numbers[0]]
    assert [one.number for one in book.listed(limit=1, before=numbers[2])] == [numbers[1]]


def test_an_unknown_number_is_said(store: Store) -> None:
    for call in (lambda: Proposals(store).get(7), lambda: Proposals(store).move(7, State.OPEN, said("x"))):
        with pytest.raises(UsageError, match="has no proposal 7: `tuner proposals` lists them"):
            call()
