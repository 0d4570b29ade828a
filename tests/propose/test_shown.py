"""Notes, files and attributes in Optuna's tables, on SQLite and PostgreSQL, as optuna-dashboard itself reads them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import pytest
from optuna_dashboard._note import get_note_from_system_attrs, save_note_with_version
from optuna_dashboard.artifact._backend import list_trial_artifacts
from propose_samples import DEFAULTS, ended, words_of
from samples import failed, measured

from tuner.propose.book import Book
from tuner.propose.shown import SIGNED, Artifact, Shown, ShownTrial, bring_up_to_date, is_behind, show
from tuner.propose.storage import storage
from tuner.record.store import Store
from tuner.types import Proposal

LOG = Artifact(id="ab-0-10", filename="trial-0.log", mimetype="text/plain")
SHOWN = Shown(
    attributes={"verdict": "Keep the defaults", "verified": False},
    note="## s\n\nKeep the defaults",
    trials={0: ShownTrial(note="zero", artifacts=(LOG,)), 1: ShownTrial(note="one"), 7: ShownTrial(note="not there")},
)


@pytest.fixture
def store(storage_url: str) -> Iterator[Store]:
    opened = Store.open(storage_url)
    yield opened
    opened.close()


@pytest.fixture
def book(store: Store) -> Iterator[Book]:
    """With two trials in it."""
    made = Book(store.url, "s", words_of())
    made.write(
        [
            ended(Proposal(number=0, params=DEFAULTS, is_default=True), measured()),
            ended(Proposal(number=1, params={**DEFAULTS, "max_num_seqs": 2}), failed()),
        ]
    )
    yield made
    made.close()


@contextmanager
def opened(store: Store) -> Iterator[optuna.storages.RDBStorage]:
    found = storage(store.url)
    try:
        yield found
    finally:
        found.remove_session()
        found.engine.dispose()


def notes(store: Store) -> list[str]:
    """Of the study and of its trials."""
    with opened(store) as found:
        study = found.get_study_id_from_name("s")
        attributes = found.get_study_system_attrs(study)
        ids = [None, *(trial._trial_id for trial in found.get_all_trials(study))]
        return [get_note_from_system_attrs(attributes, number)["body"] for number in ids]


def files(store: Store) -> list[list[str]]:
    with opened(store) as found:
        study = found.get_study_id_from_name("s")
        attributes = found.get_study_system_attrs(study)
        trials = found.get_all_trials(study)
        return [[one["filename"] for one in list_trial_artifacts(attributes, {}, trial)] for trial in trials]


def signed(*bodies: str) -> list[str]:
    return [f"{body}\n\n{SIGNED}\n" if body else "" for body in bodies]


def test_the_dashboard_finds_what_is_shown(store: Store, book: Book) -> None:
    book.show(SHOWN)
    assert notes(store) == signed(SHOWN.note, "zero", "one")
    assert files(store) == [["trial-0.log"], []]
    with opened(store) as found:
        study = found.get_study_id_from_name("s")
        assert found.get_study_user_attrs(study) == SHOWN.attributes
        told = found.get_study_system_attrs(study)["dashboard:artifacts:1:ab-0-10"]
        assert json.loads(told) == {
            "artifact_id": "ab-0-10",
            "filename": "trial-0.log",
            "mimetype": "text/plain",
            "encoding": None,
        }


def test_showing_the_same_again_writes_nothing(store: Store, book: Book) -> None:
    with opened(store) as found:
        assert is_behind(found, "s", SHOWN)
        show(found, "s", SHOWN)
        assert not is_behind(found, "s", SHOWN)
        before = found.get_study_system_attrs(found.get_study_id_from_name("s"))
        book.show(SHOWN)
        assert found.get_study_system_attrs(found.get_study_id_from_name("s")) == before


def test_a_note_that_becomes_shorter_leaves_nothing_of_the_longer_one(store: Store, book: Book) -> None:
    for body in ("ä" * 9000, "short", "x" * 2045, ""):
        book.show(Shown(attributes={}, note=body))
        assert notes(store)[0] == signed(body or " ")[0].replace(" \n", "\n", 1)


def test_a_persons_note_stays_and_one_of_ours_is_renewed(store: Store, book: Book) -> None:
    book.show(SHOWN)
    with opened(store) as found:
        study = found.get_study_id_from_name("s")
        version = get_note_from_system_attrs(found.get_study_system_attrs(study), 1)["version"]
        save_note_with_version(found, study, 1, version + 1, "I tried this by hand")
    book.show(Shown(attributes={}, note="new", trials={0: ShownTrial(note="new zero"), 1: ShownTrial(note="new one")}))
    assert notes(store) == ["\n\n".join(["new", SIGNED]) + "\n", "I tried this by hand", *signed("new one")]


def test_what_a_reader_attached_to_the_study_stays(store: Store, book: Book) -> None:
    with opened(store) as found:
        found.set_study_user_attr(found.get_study_id_from_name("s"), "my", "own")
    book.show(SHOWN)
    with opened(store) as found:
        assert found.get_study_user_attrs(found.get_study_id_from_name("s")) == {"my": "own", **SHOWN.attributes}


def test_an_older_study_is_brought_up_to_date_and_others_are_left_alone(store: Store, book: Book) -> None:
    with opened(store) as found:
        optuna.create_study(study_name="theirs", storage=found).add_trial(optuna.trial.create_trial(value=1.0))
    for name in ("s", "theirs", "none"):
        bring_up_to_date(store.url, store.opener, name, SHOWN)
    assert notes(store) == signed(SHOWN.note, "zero", "one")
    with opened(store) as found:
        assert found.get_study_system_attrs(found.get_study_id_from_name("theirs")) == {}
        assert [study.study_name for study in found.get_all_studies()] == ["s", "theirs"]


def test_after_the_book_was_written_anew_the_notes_are_there_again(store: Store, book: Book) -> None:
    book.show(SHOWN)
    with opened(store) as found:
        found.delete_study(found.get_study_id_from_name("s"))
    book.write([ended(Proposal(number=0, params=DEFAULTS, is_default=True), measured())])
    book.show(SHOWN)
    assert notes(store) == signed(SHOWN.note, "zero")
