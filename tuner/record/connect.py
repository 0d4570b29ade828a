"""A database URL in; an SQLAlchemy engine out, and one sentence for whatever the database refuses.

SQLite: write-ahead log, so that others read while we write, and a full sync at each commit, so that a finished trial
survives a power cut (https://sqlite.org/pragma.html#pragma_synchronous). PostgreSQL: psycopg. It knows no table.
"""

import importlib.util
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError

from tuner.errors import StorageError, TunerError, UsageError
from tuner.patience import STANDBY

#: How long a writer waits for another one; and how long after it waited in vain, so that a command that has several things to
#: write before it ends says so within 15 s.
BUSY_TIMEOUT_S = 10.0
_BUSY_AGAIN_S = 0.5
_BUSY_FOR_S = 60.0
#: A disk with less is full: SQLite's side files did not fit, and it calls that an I/O error.
_FULL_BYTES = 65536

#: What begins with no scheme, as `sqlite:` and `postgresql+psycopg:` are.
_PATH = re.compile(r"(?![\w+.-]*:)\S[^\0\n]*")
#: A URL that is misspelt, or has quotation marks around it, is no path: it may have a password, and a path is repeated.
_MISSPELT = re.compile(r"""["']|.*://|.*:.*@|.*@.*:""")

_SQLITE_SENTENCES = {
    "SQLITE_BUSY": "is locked by another program: end that one, or wait, and run the same command again",
    "SQLITE_READONLY": "cannot be written: make it and its folder writable, or choose another --storage",
    "SQLITE_CANTOPEN": "cannot be opened: make it and its folder accessible, or choose another --storage",
    "SQLITE_NOTADB": "is not a SQLite database: choose another --storage",
    "SQLITE_FULL": "cannot grow, the disk is full: free some space and run the same command again",
    "SQLITE_CORRUPT": "is damaged: restore a copy, or choose another --storage",
    "SQLITE_IOERR": "cannot be read or written, its disk or network folder fails: choose another --storage",
}


def parse_url(url: str) -> URL:
    """The URL with its driver; a path alone is SQLite's. Raises UsageError, without repeating the URL: a password may be in
    it."""
    expected = "expected a file, sqlite:///FILE.db or postgresql://USER@HOST/NAME"
    if _PATH.fullmatch(url):
        if _MISSPELT.match(url):
            raise UsageError(f"--storage is not a database URL: {expected}, without quotation marks")
        if Path(url).is_dir():
            raise UsageError(f"--storage {url} is a folder: name a file in it, such as {url.rstrip('/')}/tuner.db")
        return URL.create("sqlite", database=str(Path(url).expanduser()))
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise UsageError(f"--storage is not a database URL: {expected}") from error
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        if not parsed.database or parsed.database.startswith((":", "file:")):
            raise UsageError("--storage needs a file, because a study must outlive its process: sqlite:///FILE.db")
        return parsed.set(drivername="sqlite")
    if kind != "postgresql":
        raise UsageError(f"--storage does not know {parsed.drivername!r} databases: {expected}")
    if "@" in f"{parsed.host}{parsed.database}":  # the end of a password, most likely, which would be repeated
        raise UsageError("--storage has an @ in its host or in its database's name: write one in a password as %40")
    if importlib.util.find_spec("psycopg") is None:
        raise UsageError("--storage with PostgreSQL needs its driver: pip install 'tuner[postgres]'")
    return parsed.set(drivername="postgresql+psycopg")


def display_name(url: URL) -> str:
    """How messages call the database: the file, or the URL without a password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(query={}).render_as_string(hide_password=True)


Opener = Callable[[], sqlite3.Connection]


def connect(url: URL, *, read_only: bool) -> tuple[Engine, Opener | None]:
    """An engine, and what opens its file; nothing is opened yet, except that a read-only SQLite file must be there."""
    if url.get_backend_name() != "sqlite":
        return create_engine(
            url, pool_pre_ping=True, hide_parameters=True, connect_args=postgresql_arguments(url)
        ), None
    path = Path(str(url.database))
    if read_only and not path.exists():
        raise UsageError(f"{path} does not exist: run `tuner optimize` first, or choose another --storage")
    if path.is_dir():
        raise UsageError(
            f"{path} cannot be opened, it is a folder: name a file in it (--storage sqlite:///{path / 'tuner.db'})"
        )
    if not path.parent.is_dir():
        raise UsageError(f"{path} cannot be made, its folder does not exist: make it, or choose another --storage")
    place = f"file:{quote(str(path.absolute()))}?mode="
    location = f"{place}ro"
    if read_only and not _readable(location):
        location += "&immutable=1"

    refused_s = [-_BUSY_FOR_S]
    was_there = False

    def open_file() -> sqlite3.Connection:
        nonlocal was_there
        if was_there and not path.exists():
            raise StorageError(f"{path} was moved or deleted meanwhile: put it back, and run the same command again")
        timeout_s = BUSY_TIMEOUT_S if time.monotonic() > refused_s[0] + _BUSY_FOR_S else _BUSY_AGAIN_S
        mode = (
            location if read_only else f"{place}{'rw' if was_there else 'rwc'}"
        )  # one that was moved is not made anew
        connection = sqlite3.connect(mode, uri=True, timeout=timeout_s, isolation_level=None)
        try:
            for pragma in () if read_only else ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=OFF"):
                connection.execute(f"PRAGMA {pragma}")
        except sqlite3.Error as error:
            connection.close()
            note(error)
            raise
        was_there = True
        return connection

    def note(error: BaseException | None) -> None:
        if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
            refused_s[0] = time.monotonic()

    engine = create_engine("sqlite://", creator=open_file, poolclass=NullPool, hide_parameters=True)
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"  # take the lock first: a later upgrade would not wait for it

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        try:
            connection.exec_driver_sql(begin)
        except DBAPIError as error:
            note(error.orig)
            raise

    return engine, open_file


@event.listens_for(Engine, "handle_error")
def _leave_a_standby(context: ExceptionContext) -> None:
    """Ours and Optuna's: connections are made anew, for where the URL names several servers another has taken over."""
    if getattr(context.original_exception, "sqlstate", None) == STANDBY:
        context.is_disconnect = True


def postgresql_arguments(url: URL) -> dict[str, Any]:
    """What psycopg is told: how long to wait for the server, and for others' locks, unless the URL has options of its own."""
    own = {} if "options" in url.query else {"options": f"-c lock_timeout={BUSY_TIMEOUT_S * 1000:.0f}"}
    return {"connect_timeout": 10, **own}


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
    """Turn what the database refuses into a StorageError, also where Optuna or Alembic have wrapped it."""
    try:
        yield
    except TunerError:
        raise
    except Exception as error:
        if (cause := _database_error(error)) is None:
            raise
        raise StorageError(_sentence(url, cause)) from error


def _database_error(error: BaseException | None) -> DBAPIError | sqlite3.Error | None:
    """The first of the chain that a database raised."""
    while error is not None and not isinstance(error, DBAPIError | sqlite3.Error):
        error = error.__cause__ or error.__context__
    return error


def _sentence(url: URL, error: DBAPIError | sqlite3.Error) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorname", "")
    if code.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_PROTOCOL")) and _is_full(Path(str(url.database))):
        code = "SQLITE_FULL"
    for name, sentence in _SQLITE_SENTENCES.items():
        if code.startswith(name):
            return f"{display_name(url)} {sentence}"
    reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    if url.password:
        reason = reason.replace(str(url.password), "***")
    return f"{display_name(url)} cannot be used: {reason}"


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.absolute().parent).free < _FULL_BYTES
    except OSError:
        return False
