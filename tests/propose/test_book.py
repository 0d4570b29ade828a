"""The book on a real SQLite or PostgreSQL database, with Optuna itself as the reader."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import optuna
import pytest
from propose_samples import DEFAULTS, SPACE, Asked, ended, space_of, words_of
from samples import failed, measured

from tuner.decide.slo import parse_slo
from tuner.errors import StorageError, UsageError
from tuner.propose.book import Book
from tuner.propose.storage import storage
from tuner.propose.told import Words
from tuner.record.store import Store
from tuner.types import Outcome, Params, Proposal, Trial, Twin

POINT: Params = {**DEFAULTS, "max_num_seqs": 16}


@pytest.fixture
def url(storage_url: str) -> str:
    """The URL as the study hands it on: of a database that the store has opened once."""
    store = Store.open(storage_url)
    store.close()
    return store.url


class Make(Protocol):
    def __call__(self, words: Words = ...) -> Book: ...


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def make(url: str, notes: list[str]) -> Iterator[Make]:
    made = []

    def book(words: Words | None = None) -> Book:
        made.append(Book(url, "s", words or words_of(), tell=notes.append))
        return made[-1]

    yield book
    for one in made:
        one.close()


@pytest.fixture
def trials() -> list[Trial]:
    """Measured, failed, a twin, measured."""
    numbered = [Proposal(number=0, params=DEFAULTS, is_default=True)]
    numbered += [Proposal(number=n, params={**POINT, "max_num_seqs": 2**n}) for n in range(1, 4)]
    outcomes: list[Outcome | Twin] = [
        measured(output_throughput=1.0),
        failed(),
        Twin(equals=0, why="alike"),
        measured(output_throughput=3.0),
    ]
    return [ended(proposal, outcome) for proposal, outcome in zip(numbered, outcomes, strict=True)]


@contextmanager
def reader(url: str) -> Iterator[optuna.Study]:
    opened = storage(url)
    try:
        yield optuna.load_study(study_name="s", storage=opened)
    finally:
        opened.remove_session()
        opened.engine.dispose()


def shown(url: str) -> list[optuna.trial.FrozenTrial]:
    """What any reader of the database sees."""
    with reader(url) as study:
        return study.trials


def said(url: str) -> list[tuple[str, float | None, Params]]:
    return [(one.state.name, one.value, one.params) for one in shown(url)]


def test_it_says_what_the_trials_are(url: str, make: Make, trials: list[Trial], notes: list[str]) -> None:
    make().write([], [Proposal(number=0, params=DEFAULTS, is_default=True)])
    make().write(trials[:1], [Proposal(number=1, params=trials[1].params)])
    assert [one.state.name for one in shown(url)] == ["COMPLETE", "RUNNING"]
    make().write(trials)
    found = shown(url)
    assert [one.state.name for one in found] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert [one.value for one in found] == [1.0, None, None, 3.0]
    assert [one.params for one in found] == [trial.params for trial in trials]
    assert [one.user_attrs.get("defaults", False) for one in found] == [True, False, False, False]
    assert found[3].user_attrs["ttft_p99_s"] == 0.1
    assert found[0].system_attrs["constraints"] == [-1.0]  # what optuna-dashboard reads
    assert found[1].system_attrs["constraints"] == [1.0]
    with reader(url) as study:
        assert (study.best_trial.number, study.metric_names) == (3, ["output_throughput"])
    assert notes == []


def test_writing_again_changes_nothing(url: str, make: Make, trials: list[Trial], notes: list[str]) -> None:
    book = make()
    book.write(trials)
    before = shown(url)
    notes.clear()
    book.write(trials)
    make().write(trials)
    assert [one._trial_id for one in shown(url)] == [one._trial_id for one in before]
    assert notes == []


def test_a_trial_that_runs_ends_in_place(url: str, make: Make, trials: list[Trial]) -> None:
    book = make()
    for count, trial in enumerate(trials):
        book.write(trials[:count], [Proposal(number=count, params=trial.params, is_default=trial.is_default)])
    ids = [one._trial_id for one in shown(url)]
    book.write(trials)
    assert [one._trial_id for one in shown(url)] == ids
    assert [one.state.name for one in shown(url)] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]


def _deleted(study: optuna.Study) -> None:
    optuna.delete_study(study_name="s", storage=study._storage)


def _another_direction(study: optuna.Study) -> None:
    _deleted(study)
    optuna.create_study(study_name="s", storage=study._storage, direction="minimize")


def _a_trial_more(study: optuna.Study) -> None:
    study.enqueue_trial({"max_num_seqs": 3})


def _told_by_hand(study: optuna.Study) -> None:
    study.tell(study.ask(), 5.0)


def _replaced(study: optuna.Study) -> None:
    """Somebody's study gets the id of the one that was deleted."""
    _deleted(study)
    optuna.create_study(study_name="other", storage=study._storage).add_trial(optuna.trial.create_trial(value=7.0))


@pytest.mark.parametrize("spoil", [_deleted, _another_direction, _a_trial_more, _told_by_hand, _replaced])
@pytest.mark.parametrize("resumed", [False, True])
def test_what_others_do_to_it_is_undone_and_told_once(
    url: str, make: Make, trials: list[Trial], notes: list[str], spoil: object, resumed: bool
) -> None:
    """While the study runs, and between two runs."""
    book = make()
    book.write([], [Proposal(number=0, params=DEFAULTS, is_default=True)])
    book.write(trials[:3])
    with reader(url) as study:
        spoil(study)  # type: ignore[operator]
    book = make() if resumed else book
    book.write(trials[:3], [Proposal(number=3, params=trials[3].params)])
    book.write(trials)
    assert [one.state.name for one in shown(url)] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert [one.value for one in shown(url)] == [1.0, None, None, 3.0]
    assert len(notes) == 1
    assert "it is written anew from tuner's own tables" in notes[0]


def test_a_value_that_somebody_changed_is_put_right(url: str, make: Make, trials: list[Trial]) -> None:
    make().write([*trials[:3], ended(Proposal(number=3, params=trials[3].params), measured(output_throughput=9e9))])
    make().write(trials)
    assert [one.value for one in shown(url)] == [1.0, None, None, 3.0]


def test_what_a_reader_attached_to_the_study_stays(url: str, make: Make, trials: list[Trial]) -> None:
    make().write(trials[:3])
    with reader(url) as study:
        study.set_user_attr("my", "note")
        study.enqueue_trial({})
    make().write(trials)
    with reader(url) as study:
        assert study.user_attrs == {"my": "note"}


def test_somebody_elses_study_of_that_name_is_not_touched(url: str, make: Make, trials: list[Trial]) -> None:
    opened = storage(url)
    theirs = optuna.create_study(study_name="s", storage=opened)
    theirs.add_trial(optuna.trial.create_trial(value=42.0))
    opened.remove_session()
    opened.engine.dispose()
    with pytest.raises(UsageError, match="made by another program: give this one another name with --study"):
        make().write(trials)
    assert [one.value for one in shown(url)] == [42.0]


def test_an_interrupted_proposal_that_became_another_is_forgotten(url: str, make: Make, trials: list[Trial]) -> None:
    """Killed between two tables: the number is given again, to other settings."""
    make().write(trials[:1], [Proposal(number=1, params=POINT)])
    make().write(trials[:1], [Proposal(number=1, params={**POINT, "max_num_seqs": 4})])
    assert said(url)[1] == ("RUNNING", None, {**POINT, "max_num_seqs": 4})


def test_a_failure_weighs_more_than_all_slos_missed(url: str, make: Make) -> None:
    slos = (parse_slo("ttft_p99=1ms"), parse_slo("tpot_p99=1ms"))
    slow = ended(Proposal(number=0, params=DEFAULTS, is_default=True), measured(), {"ttft_p99": 1e9, "tpot_p99": 1e9})
    make(words_of(SPACE, slos)).write([slow, ended(Proposal(number=1, params=POINT), failed())])
    missed, crashed = (sum(max(0.0, v) for v in one.constraints.values()) for one in shown(url))
    assert missed < crashed
    with reader(url) as study, pytest.raises(ValueError, match=r"[Ff]easible"):
        _ = study.best_trial


def test_defaults_outside_of_what_is_searched_are_a_trial_of_it(url: str, make: Make) -> None:
    """Off the grid, outside a range, beside the choices, and a word for a number: the other trials are as they are searched."""
    space = space_of(
        {
            "gpu_memory_utilization": {"type": "float", "low": 0.85, "high": 0.95, "step": 0.02},
            "max_num_seqs": {"type": "int", "low": 64, "high": 512, "step": 64},
            "max_num_batched_tokens": {"type": "int", "low": 16, "high": 4096, "log": True},
            "block_size": {"type": "categorical", "choices": [32, 64]},
            "kv_offloading_size": {"type": "float", "low": 1.0, "high": 8.0},
            "max_model_len": {"type": "int", "low": 8, "high": 64, "log": True},
        }
    )
    odd: Params = {
        "gpu_memory_utilization": 0.92,
        "max_num_seqs": 100,
        "max_num_batched_tokens": 8192,
        "block_size": 16,
        "kv_offloading_size": "auto",
        "max_model_len": -1,
    }
    usual: Params = {
        "gpu_memory_utilization": 0.87,
        "max_num_seqs": 128,
        "max_num_batched_tokens": 16,
        "block_size": 64,
        "kv_offloading_size": 2.0,
        "max_model_len": 16,
    }
    defaults = Proposal(number=0, params=odd, is_default=True)
    make(words_of(space)).write([], [defaults])
    make(words_of(space)).write([ended(defaults, measured()), ended(Proposal(number=1, params=usual), measured())])
    first, second = shown(url)
    beside = {"kv_offloading_size", "max_model_len"}
    assert first.params == {name: value for name, value in odd.items() if name not in beside}
    assert {name: first.user_attrs[name] for name in beside} == {"kv_offloading_size": "auto", "max_model_len": -1}
    assert second.params == usual
    assert second.distributions["max_num_seqs"] == optuna.distributions.IntDistribution(64, 512, step=64)
    assert second.distributions["block_size"] == optuna.distributions.CategoricalDistribution([32, 64, 16])


def test_several_objectives_are_several_values(url: str, make: Make) -> None:
    words = words_of(SPACE, (), "throughput", "ttft_p99")
    make(words).write([ended(Proposal(number=0, params=DEFAULTS), measured(output_throughput=5.0, ttft_s=0.25))])
    (one,) = shown(url)
    assert one.values == [5.0, 0.25]
    with reader(url) as study:
        assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]


def test_optuna_goes_on_with_the_study_by_itself(url: str, make: Make) -> None:
    """As a Python user does: it is a study like any other, and what they try is not ours."""
    asked = Asked()
    for number in range(8):
        asked.take(measured(output_throughput=100.0 + number))
    make().write(asked.trials)
    with reader(url) as study:
        trial = study.ask()
        assert 1 <= trial.suggest_int("max_num_seqs", 1, 64, log=True) <= 64
        assert study.best_value == 107.0


def test_who_deletes_it_all_the_time_is_told_of(url: str, make: Make, trials: list[Trial], monkeypatch: object) -> None:
    book = make()

    def write(ours: object) -> None:
        raise KeyError("No such study")

    monkeypatch.setattr(book, "_write", write)  # type: ignore[attr-defined]
    with pytest.raises(StorageError, match="another program changes Optuna's study 's' all the time"):
        book.write(trials)
