"""A database URL in; an SQLAlchemy engine out, and one sentence for whatever the database refuses.

SQLite: write-ahead log, so that others read while we write, and a full sync at each commit, so that a finished trial
survives a power cut (https://sqlite.org/pragma.html#pragma_synchronous). PostgreSQL: psycopg. It knows no table.
"""

import importlib.util
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from tuner.errors import StorageError, UsageError

#: How long a writer waits for another one.
BUSY_TIMEOUT_S = 60.0

_SQLITE_SENTENCES = {
    "SQLITE_BUSY": "is locked by another program: end that one, or wait, and run the same command again",
    "SQLITE_READONLY": "cannot be written: make it and its folder writable, or choose another --storage",
    "SQLITE_CANTOPEN": "cannot be opened: make it and its folder accessible, or choose another --storage",
    "SQLITE_NOTADB": "is not a SQLite database: choose another --storage",
    "SQLITE_FULL": "cannot grow, the disk is full: free some space and run the same command again",
    "SQLITE_CORRUPT": "is damaged: restore a copy, or choose another --storage",
}


def parse_url(url: str) -> URL:
    """The URL with its driver. Raises UsageError, without repeating the URL: a password may be in it."""
    expected = "expected a file, or postgresql://USER@HOST/NAME"
    is_path = bool(url) and "://" not in url and "@" not in url  # with an @ a password may be in it
    try:
        parsed = URL.create("sqlite", database=url) if is_path else make_url(url)
    except (ArgumentError, ValueError) as error:
        raise UsageError(f"--storage is not a database URL: {expected}") from error
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        if not parsed.database or parsed.database.startswith((":", "file:")):
            raise UsageError("--storage needs a file, because a study must outlive its process: sqlite:///FILE.db")
        return parsed.set(drivername="sqlite")
    if kind != "postgresql":
        raise UsageError(f"--storage does not know {parsed.drivername!r} databases: {expected}")
    if importlib.util.find_spec("psycopg") is None:
        raise UsageError("--storage with PostgreSQL needs its driver: pip install 'tuner[postgres]'")
    return parsed.set(drivername="postgresql+psycopg")


def display_name(url: URL) -> str:
    """How messages call the database: the file, or the URL without a password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(query={}).render_as_string(hide_password=True)


def connect(url: URL, *, read_only: bool) -> Engine:
    """An engine; nothing is opened yet, except that a read-only SQLite file must be there."""
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args={"connect_timeout": 10})
    path = Path(str(url.database))
    if read_only and not path.exists():
        raise UsageError(f"{path} does not exist: run `tuner optimize` first, or choose another --storage")
    if not path.parent.is_dir():
        raise UsageError(f"{path} cannot be made, its folder does not exist: make it, or choose another --storage")
    location = f"file:{quote(str(path.absolute()))}?mode={'ro' if read_only else 'rwc'}"
    if read_only and not _readable(location):
        location += "&immutable=1"

    def open_file() -> sqlite3.Connection:
        connection = sqlite3.connect(location, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            for pragma in () if read_only else ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=OFF"):
                connection.execute(f"PRAGMA {pragma}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite://", creator=open_file, poolclass=NullPool, hide_parameters=True)
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"  # take the lock first: a later upgrade would not wait for it

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _readable(location: str) -> bool:
    """False where SQLite cannot make the side files of a write-ahead log: then nobody writes, and none is needed."""
    with closing(sqlite3.connect(location, uri=True, timeout=BUSY_TIMEOUT_S)) as connection:
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError as error:
            return not error.sqlite_errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY"))
        except sqlite3.DatabaseError:
            return True
    return True


@contextmanager
def storage_errors(url: URL) -> Iterator[None]:
    """Turn what the database refuses into a StorageError."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        raise StorageError(_sentence(url, error)) from error


def _sentence(url: URL, error: DBAPIError | sqlite3.Error) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorname", "")
    for name, sentence in _SQLITE_SENTENCES.items():
        if code.startswith(name):
            return f"{display_name(url)} {sentence}"
    reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    if url.password:
        reason = reason.replace(str(url.password), "***")
    return f"{display_name(url)} cannot be used: {reason}"
