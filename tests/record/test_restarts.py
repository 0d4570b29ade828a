"""A store whose PostgreSQL restarts between, and within, its transactions; a SQLite file that is moved away."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from own_postgres import Postgres
from record_samples import COMMAND, MEASURED, NOW, STUDY, a_trial
from sqlalchemy.orm import Session

from tuner.errors import StorageError
from tuner.record.rows import Verification
from tuner.record.store import Store
from tuner.study.lease import holding
from tuner.types import ProcessId, Proposal, Resolved

BEGUN = Proposal(number=0, params={"a": 1}, is_default=True), COMMAND, Resolved(settings={}, digest="d"), NOW
LEADER = ProcessId(77, 1.5, "here")


def launched(store: Store) -> int:
    return store.record_launch(
        "a study",
        0,
        tuner=ProcessId(7, 1.0, "here"),
        leader=LEADER,
        processes=[LEADER],
        start="plain",
        port=1,
        log=Path("x.log"),
        started_at=NOW,
    )


def verified() -> Verification:
    facts = {"contest": 1, "round": 1, "role": "defaults", "trial_number": 0, "command": COMMAND, "outcome": MEASURED}
    return Verification(**facts, started_at=NOW, ended_at=NOW)  # type: ignore[arg-type]


WRITES: dict[str, tuple[Callable[[Store], object], ...]] = {
    "a study": (),
    "begin": (lambda store: store.begin("a study", *BEGUN),),
    "finish": (lambda store: store.begin("a study", *BEGUN), lambda store: store.finish("a study", a_trial(0))),
    "launch": (lambda store: store.begin("a study", *BEGUN), launched),
    "processes": (
        lambda store: store.begin("a study", *BEGUN),
        launched,
        lambda store: store.record_processes(1, [LEADER, ProcessId(78, 1.5, "here")]),
    ),
    "contest": (lambda store: store.begin_contest("a study", [0, 1], 2, NOW),),
    "verification": (lambda store: store.add_verification("a study", verified()),),
}


def everything(store: Store) -> object:
    """All that was written, but for the names of databases."""
    return (
        [store.study("a study"), store.trials("a study"), store.running("a study")],
        [store.contests("a study"), store.verifications("a study"), store.timelines("a study")],
        [(one.id, one.leader, one.processes) for one in store.open_launches()],
    )


@pytest.mark.parametrize("write", WRITES)
def test_what_was_committed_before_the_connection_was_lost_is_not_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    """The answer to each commit is lost once."""
    plain, hit = (Store.open(f"sqlite:///{tmp_path / name}") for name in ("plain.db", "hit.db"))
    for store, is_hit in ((plain, False), (hit, True)):
        with store.patience.waiting(lambda text: None, 30), monkeypatch.context() as patched:
            if is_hit:
                patched.setattr(store, "_transaction", _losing_each_second(store._transaction))
            store.create_or_get_study(STUDY)
            for call in WRITES[write]:
                call(store)
    assert everything(hit) == everything(plain)
    with plain.transaction() as one, hit.transaction() as other:
        assert _rows(one) == _rows(other)
    plain.close()
    hit.close()


def _losing_each_second(transaction: Callable[[], object]) -> Callable[[], object]:
    calls: list[int] = []

    @contextmanager
    def losing() -> Iterator[Session]:
        with transaction() as session:  # type: ignore[attr-defined]
            yield session
        calls.append(1)
        if len(calls) % 2:
            raise StorageError("cut off") from psycopg.OperationalError("server closed the connection unexpectedly")

    return losing


def _rows(session: Session) -> list[object]:
    connection, counted = session.connection(), ("attempts", "state", "number")
    found = connection.exec_driver_sql(f"SELECT {', '.join(counted)} FROM tuner_trial").fetchall()
    tables = ("launch", "process", "contest", "verification", "metric", "timeline")
    return [*found, *(connection.exec_driver_sql(f"SELECT count(*) FROM tuner_{t}").scalar() for t in tables)]


@pytest.mark.postgres
def test_a_study_that_is_held_outlives_a_restart(postgres_server: Postgres) -> None:
    """Idle connections are replaced, one that is in a transaction is lost, and a server that is down is waited for."""
    store, notes = Store.open(postgres_server.database()), list[str]()
    store.create_or_get_study(STUDY)
    with holding(store, "a study", notes.append):
        store.finish("a study", a_trial(0))
        postgres_server.restart()
        store.finish("a study", a_trial(1))
        postgres_server.stop()
        back = threading.Timer(2.0, postgres_server.start)
        back.start()
        store.finish("a study", a_trial(2))
        back.join()
        before = store.holder("a study")
        assert before is not None
        end = time.monotonic() + 30
        while (now := store.holder("a study")) is not None and now.beat == before.beat and time.monotonic() < end:
            time.sleep(0.2)
        assert now is not None
        assert now.beat > before.beat
    assert [trial.number for trial in store.trials("a study")] == [0, 1, 2]
    assert len(notes) == 2, notes
    assert notes[0] == "the database does not answer (it refuses connections): waited for, up to 10 min"
    assert notes[1].startswith("the database is back after ")
    store.close()


@pytest.mark.postgres
def test_a_server_that_has_become_a_standby_is_waited_for(postgres_server: Postgres) -> None:
    """Sessions that began meanwhile stay read-only, as connections to a demoted primary do: there must be new ones."""
    url, notes = postgres_server.database(), list[str]()
    name = url.rpartition("/")[2]
    with psycopg.connect(f"{postgres_server.url}/postgres", autocommit=True) as admin:

        def run(command: str) -> None:
            admin.execute(command.encode())

        store = Store.open(url)
        with store.patience.waiting(notes.append):
            store.create_or_get_study(STUDY)
            run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            back = threading.Timer(2.0, run, [f"ALTER DATABASE {name} RESET default_transaction_read_only"])
            back.start()
            store.finish("a study", a_trial(0))
            back.join()
    assert store.trials("a study") == [a_trial(0)]
    assert notes[0] == "the database does not answer (it is a standby): waited for, up to 10 min"
    store.close()


@pytest.mark.postgres
def test_who_only_reads_is_told_at_once(postgres_server: Postgres) -> None:
    url = postgres_server.database()
    store = Store.open(url)
    postgres_server.stop()
    try:
        began_s = time.monotonic()
        for call in (store.studies, lambda: Store.open(url)):
            with pytest.raises(StorageError, match=r"postgresql\+psycopg://tuner:\*\*\*@.* cannot be used: .*refused"):
                call()
        assert time.monotonic() - began_s < 10
    finally:
        postgres_server.start()
    store.close()


@pytest.mark.postgres
def test_a_wrong_password_is_a_sentence_without_it(postgres_server: Postgres) -> None:
    wrong = postgres_server.url.rsplit("@", 1)[1]
    with pytest.raises(StorageError, match="password authentication failed") as caught:
        Store.open(f"postgresql://tuner:s3cr3t%40x@{wrong}/postgres")
    assert "s3cr3t" not in str(caught.value)
    assert "@x" not in str(caught.value)


def test_a_file_that_is_moved_away_is_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    store = Store.open(f"sqlite:///{path}")
    store.create_or_get_study(STUDY)
    path.rename(tmp_path / "moved.db")
    with pytest.raises(
        StorageError, match=r"x.db was moved or deleted meanwhile: put it back, and run the same command"
    ):
        store.finish("a study", a_trial(0))
    assert not path.exists()
    (tmp_path / "moved.db").rename(path)
    store.finish("a study", a_trial(0))
    assert store.trials("a study") == [a_trial(0)]
