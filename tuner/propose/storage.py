"""The URL of our database in; Optuna's tables in the same database out. It knows nothing of what is kept in them."""

import random
import sqlite3
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import optuna
from sqlalchemy.exc import DBAPIError, IntegrityError

from tuner.errors import StorageError

#: How long a writer waits for another one.
_BUSY_TIMEOUT_S = 10.0
#: How often Optuna's tables are made where others make them, too, and how long is waited in between.
_TRIES, _AGAIN_S = 30, (0.02, 0.2)

#: An attribute of the study, by which one of ours is known.
OURS = "tuner:next"
#: Opens the file of a SQLite database.
Opener = Callable[[], sqlite3.Connection]


def quiet() -> None:
    """No log lines of Optuna: the CLI tells what happens."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class _Unsynced(sqlite3.Connection):
    """Its commits survive a crash, but not a power cut, after which Optuna is told again what our own tables, which are synced,
    have of it. A trial has some fifty attributes, and each is a commit (https://sqlite.org/pragma.html#pragma_synchronous)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA synchronous=NORMAL")


def storage(url: str) -> optuna.storages.RDBStorage:
    """Optuna's tables in the same database as ours. Raises StorageError."""
    sqlite = {"timeout": _BUSY_TIMEOUT_S, "factory": _Unsynced}
    options = {} if "options=" in url else {"options": f"-c lock_timeout={_BUSY_TIMEOUT_S * 1000:.0f}"}
    server = {"connect_timeout": int(_BUSY_TIMEOUT_S), **options}
    connect: dict[str, Any] = sqlite if url.startswith("sqlite") else server
    escaped = url.replace("{", "{{").replace("}", "}}")  # RDBStorage formats the URL
    for left in reversed(range(_TRIES)):
        try:
            return optuna.storages.RDBStorage(escaped, engine_kwargs={"connect_args": connect, "pool_pre_ping": True})
        except RuntimeError as error:
            raise StorageError(
                "the database has a newer Optuna schema than this Optuna knows: upgrade optuna"
            ) from error
        except DBAPIError as error:
            if not left or not _is_made_by_another(error):
                raise
            time.sleep(random.uniform(*_AGAIN_S))
    raise AssertionError


def _is_made_by_another(error: DBAPIError) -> bool:
    """Whether it is because another process makes the tables meanwhile: Optuna looks what is missing, and then makes it."""
    return isinstance(error, IntegrityError) or "already exists" in str(error.orig)


def read_only_storage(url: str, opener: Opener | None) -> optuna.storages.RDBStorage:
    """The same, for reading alone; `opener` opens the file of a SQLite database so."""
    quiet()
    read: dict[str, Any] = {"connect_args": {"options": "-c default_transaction_read_only=on"}}
    if opener is not None:
        url, read = "sqlite://", {"creator": opener}
    return optuna.storages.RDBStorage(
        url.replace("{", "{{").replace("}", "}}"),  # RDBStorage formats the URL
        engine_kwargs=read,
        skip_compatibility_check=True,
        skip_table_creation=True,
    )


def forget(url: str, name: str) -> None:
    """Delete Optuna's study of that name, if there is one. Raises what the database refuses."""
    quiet()
    opened = storage(url)
    try:
        with suppress(KeyError):
            optuna.delete_study(study_name=name, storage=opened)
    finally:
        opened.remove_session()
        opened.engine.dispose()
