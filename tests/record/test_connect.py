import importlib.util
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from record_samples import STUDY, a_trial

from tuner.errors import StorageError, UsageError
from tuner.record import connect
from tuner.record.connect import parse_url
from tuner.record.store import Store


@pytest.fixture
def database(unprivileged: Path) -> Path:
    """A database file with one study and one trial, owned by a user whom permissions bind."""
    path = unprivileged / "x.db"
    store = Store.open(f"sqlite:///{path}")
    store.create_or_get_study(STUDY)
    store.finish("a study", a_trial(0))
    store.close()
    return path


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (":memory:", "not a database URL: expected a file, sqlite:///FILE.db"),
        ("sqlite:tuner.db", "not a database URL"),
        ("postgresql+psycopg:/me:s3cr3t@host/db", "not a database URL"),
        ("my-db+x.y://me:s3cr3t@host/db", "not a database URL"),
        ("me:s3cr3t@host/tuner", "not a database URL: expected a file"),
        ('"postgresql://me:s3cr3t@host/db"', "not a database URL: expected .*, without quotation marks"),
        ("'postgresql://me:s3cr3t@host/db'", "not a database URL"),
        ("postgresql//me:s3cr3t@host/db", "not a database URL"),
        ("/postgresql://me:s3cr3t@host/db", "not a database URL"),
        ("me@host:s3cr3t/db", "not a database URL"),
        ("postgresql://me:s3@cr3t@127.0.0.1:1/db", "has an @ in its host .*: write one in a password as %40"),
        ("postgresql://me/s3cr3t@host/db", "has an @"),
        ("/tmp/", "is a folder: name a file in it, such as /tmp/tuner.db"),
        ("postgresql://me:s3cr3t@host:port/db", "not a database URL"),
        ("mysql://me:s3cr3t@host/db", "does not know 'mysql' databases"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
    ],
)
def test_a_url_that_cannot_be_meant(url: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        Store.open(url)
    assert "cr3t" not in str(caught.value)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'tuner\[postgres\]'"):
        parse_url("postgresql://me@host/db")


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none/x.db cannot be made, its folder does not exist"):
        Store.open(f"sqlite:///{tmp_path}/none/x.db")


def test_reading_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"x.db does not exist: run `tuner optimize` first"):
        Store.open(f"sqlite:///{tmp_path}/x.db", read_only=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "x.db"
    path.write_text("hello, this is a text file and no database at all\n" * 40)
    with pytest.raises(StorageError, match=r"x.db is not a SQLite database"):
        Store.open(f"sqlite:///{path}", read_only=read_only)


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be opened, it is a folder: name a file in it .*/tuner.db"):
        Store.open(f"sqlite:///{tmp_path}")


def test_an_unwritable_folder(unprivileged: Path) -> None:
    unprivileged.chmod(0o555)
    with pytest.raises(StorageError, match=r"x.db cannot be opened: make it and its folder accessible"):
        Store.open(f"sqlite:///{unprivileged}/x.db")


def test_a_read_only_file_is_read_but_not_written(database: Path) -> None:
    database.chmod(0o444)
    with pytest.raises(StorageError, match=r"x.db cannot be written: make it and its folder writable"):
        Store.open(f"sqlite:///{database}").finish("a study", a_trial(1))
    assert Store.open(f"sqlite:///{database}", read_only=True).trials("a study") == [a_trial(0)]


def test_a_database_in_a_read_only_folder_is_read(database: Path) -> None:
    database.chmod(0o444)
    database.parent.chmod(0o555)
    with pytest.raises(StorageError, match=r"x.db cannot be (written|opened)"):
        Store.open(f"sqlite:///{database}").finish("a study", a_trial(1))
    assert Store.open(f"sqlite:///{database}", read_only=True).trials("a study") == [a_trial(0)]


def test_an_unreadable_file(database: Path) -> None:
    database.chmod(0)
    for read_only in (False, True):
        with pytest.raises(StorageError, match=r"x.db cannot be opened"):
            Store.open(f"sqlite:///{database}", read_only=read_only)


def test_a_reader_does_not_wait_for_a_writer_and_a_writer_says_why(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "BUSY_TIMEOUT_S", 0.1)
    url = f"sqlite:///{database}"
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE tuner_trial SET number = 77")
        assert Store.open(url, read_only=True).trials("a study") == [a_trial(0)]
        with pytest.raises(StorageError, match=r"x.db is locked by another program"):
            Store.open(url)


def test_every_commit_is_synced(database: Path) -> None:
    with Store.open(f"sqlite:///{database}")._engine.connect() as connection:
        pragmas = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]  # 2 is FULL


@pytest.mark.postgres
def test_a_postgresql_that_refuses_never_shows_the_password(postgres_url: str) -> None:
    with pytest.raises(StorageError, match=r"postgresql\+psycopg://tuner:\*\*\*@127.0.0.1.* cannot be used: .*nowhere"):
        Store.open(postgres_url.replace("/test_", "/nowhere_"))
    with pytest.raises(StorageError, match="cannot be used") as caught:
        Store.open("postgresql://me:s3cr3t@127.0.0.1:1/db?password=s3cr3t")
    assert "s3cr3t" not in str(caught.value)
