"""What is waited for, and what is not: psycopg's own errors, wrapped as SQLAlchemy and Optuna wrap them."""

import time
from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from tuner import interrupts, patience
from tuner.errors import StorageError
from tuner.patience import Patience, reason

REFUSED = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: '


def wrapped(error: Exception) -> StorageError:
    """As it comes out of the store."""
    try:
        raise StorageError("x cannot be used") from OperationalError("SELECT 1", None, error)
    except StorageError as found:
        found.__cause__.__cause__ = error  # type: ignore[union-attr]
        return found


def lost(times: int, error: Exception) -> Callable[[], int]:
    """Raises it so often, and then returns how often it was called."""
    calls: list[int] = []

    def call() -> int:
        calls.append(1)
        if len(calls) <= times:
            raise wrapped(error)
        return len(calls)

    return call


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_LOOK_S", (0.01, 0.02))


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError(f"{REFUSED}Connection refused"),
        psycopg.OperationalError(f"{REFUSED}FATAL:  the database system is starting up"),
        psycopg.OperationalError("server closed the connection unexpectedly"),
        psycopg.OperationalError("the connection is closed"),
        psycopg.errors.ConnectionTimeout("connection timeout expired"),
        psycopg.errors.AdminShutdown(),
        psycopg.errors.CrashShutdown(),
        psycopg.errors.CannotConnectNow(),
        psycopg.errors.ConnectionFailure(),
        psycopg.errors.TooManyConnections(),
        psycopg.errors.DeadlockDetected(),
    ],
    ids=lambda error: type(error).__name__ + str(error)[-20:],
)
def test_a_server_that_is_away_is_waited_for_and_told_of_once(error: Exception) -> None:
    notes: list[str] = []
    one = Patience()
    with one.waiting(notes.append, away_s=30):
        assert one.of(lost(3, error)) == 4
    away, back = notes
    assert away.startswith("the database does not answer (")
    assert away.endswith("): waited for, up to 0.5 min")
    assert back.startswith("the database is back after 0 s")


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError(f'{REFUSED}FATAL:  password authentication failed for user "tuner"'),
        psycopg.OperationalError(f'{REFUSED}FATAL:  database "nowhere" does not exist'),
        psycopg.errors.LockNotAvailable(),
        psycopg.errors.DiskFull(),
        psycopg.errors.UniqueViolation(),
        psycopg.errors.UndefinedTable(),
        psycopg.errors.InsufficientPrivilege(),
        psycopg.ProgrammingError("the query has 0 placeholders"),
        ValueError("a bug"),
    ],
    ids=lambda error: type(error).__name__ + str(error)[-20:],
)
def test_what_stays_so_is_raised_at_once(error: Exception) -> None:
    notes: list[str] = []
    one = Patience()
    with one.waiting(notes.append, away_s=30), pytest.raises(StorageError):
        one.of(lost(1, error))
    assert notes == []


def test_nobody_waits_who_did_not_say_so() -> None:
    one = Patience()
    for _ in range(2):
        with pytest.raises(StorageError):
            one.of(lost(1, psycopg.OperationalError("the connection is closed")))
        with one.waiting(lambda text: None, away_s=30):
            assert one.of(lost(1, psycopg.OperationalError("the connection is closed"))) == 2


def test_it_ends_after_the_stated_time() -> None:
    one, began_s = Patience(), time.monotonic()
    with one.waiting(lambda text: None, away_s=0.3), pytest.raises(StorageError):
        one.of(lost(10**9, psycopg.OperationalError("the connection is closed")))
    assert 0.3 <= time.monotonic() - began_s < 5


def test_it_ends_with_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "_HEARD", [2])
    one = Patience()
    with one.waiting(lambda text: None, away_s=600), pytest.raises(StorageError):
        one.of(lost(1, psycopg.OperationalError("the connection is closed")))


def test_a_call_knows_that_it_was_lost_before() -> None:
    one, seen = Patience(), []

    def call() -> None:
        seen.append(one.is_again)
        if len(seen) < 3:
            raise wrapped(psycopg.OperationalError("the connection is closed"))

    with one.waiting(lambda text: None, away_s=30):
        one.of(call)
        one.of(call)
    assert seen == [False, True, True, False]
    assert not one.is_again


def test_the_reason_repeats_nothing_of_the_connection() -> None:
    said = reason(wrapped(psycopg.OperationalError("connection to host=h password=s3cr3t is lost: refused")))
    assert said == "it refuses connections"
