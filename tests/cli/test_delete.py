"""`tuner delete` asks only for what it would do: a study that a running tuner holds is told before that."""

import sys
from collections.abc import Iterator
from datetime import datetime

import pytest
import typer
from record_samples import NOW, STUDY, a_trial

from tuner.cli import delete
from tuner.errors import UsageError
from tuner.launch.processes import identity
from tuner.record.store import Store
from tuner.study import lease
from tuner.types import ProcessId


@pytest.fixture
def store(storage_url: str) -> Iterator[Store]:
    opened = Store.open(storage_url)
    opened.create_or_get_study(STUDY)
    opened.finish(STUDY.name, a_trial(0))
    yield opened
    opened.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, store: Store) -> list[bool]:
    """Somebody at a terminal, who says no; whether the study was held while that was asked."""
    seen: list[bool] = []

    def no(*_: object, **__: object) -> None:
        seen.append(store.holder(STUDY.name) is not None)
        raise typer.Abort

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(typer, "confirm", no)
    return seen


@pytest.mark.parametrize("yes", [True, False])
def test_a_study_that_is_run_is_told_before_anything_is_asked(store: Store, asked: list[bool], yes: bool) -> None:
    other = identity(1)  # a process that lives
    assert store.take(STUDY.name, other, None, NOW)
    with pytest.raises(UsageError, match="is being run by another tuner"):
        delete.run(STUDY.name, store.url, yes=yes)
    assert not asked
    assert store.trials(STUDY.name)


def test_nobody_begins_the_study_while_it_is_asked_and_who_says_no_keeps_it(store: Store, asked: list[bool]) -> None:
    with pytest.raises(typer.Abort):
        delete.run(STUDY.name, store.url, yes=False)
    assert asked == [True]
    assert store.trials(STUDY.name)
    assert store.holder(STUDY.name) is None


def test_a_holder_that_cannot_be_seen_from_here_is_watched_before_it_is_asked(
    store: Store, asked: list[bool], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lease, "WATCHED_S", 1.0)
    elsewhere = ProcessId(1, 1.0, "another boot/pid:[1]")
    assert store.take(STUDY.name, elsewhere, None, datetime.now(NOW.tzinfo))
    with pytest.raises(typer.Abort):
        delete.run(STUDY.name, store.url, yes=False)
    assert "watched for 1 s" in capsys.readouterr().err
    assert asked == [True]


def test_where_nobody_can_be_asked_it_says_so_and_keeps_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    with pytest.raises(UsageError, match=r"its 1 trial.*say that you mean it with --yes"):
        delete.run(STUDY.name, store.url, yes=False)
    assert store.holder(STUDY.name) is None
    delete.run(STUDY.name, store.url, yes=True)
    assert store.studies() == []
