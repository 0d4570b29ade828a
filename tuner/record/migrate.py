"""A connection in; the same database with our tables at the newest schema out. The only door to Alembic.

It knows nothing of studies, and nothing of Optuna's own Alembic table in the same database.
"""

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from tuner.errors import StorageError
from tuner.record.tables import VERSION_TABLE

if TYPE_CHECKING:
    from alembic.config import Config

#: Alembic has one migration at a time in a process: what it migrates is a variable of its own modules.
_ALEMBIC = threading.Lock()
#: Among processes the first migrates and the others wait: in SQLite the caller's transaction has the lock for writing already,
#: in PostgreSQL whoever migrates takes this one of the database, whose number means nothing.
_ADVISORY = 0x74756E6572


def migrate(connection: Connection, place: str) -> None:
    """Bring our tables to the newest schema, inside the caller's transaction.

    Raises StorageError when the database was written by a newer tuner; `place` names the database in the sentence.
    """
    if _is_newest(connection, place):
        return
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _ADVISORY})
        if _is_newest(connection, place):
            return
    with _ALEMBIC:
        from alembic import command  # takes longer to import than all that reads a database

        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def is_older(connection: Connection, place: str) -> bool:
    """Whether our tables have to be migrated before they can be read. Raises StorageError where there are none. Writes
    nothing."""
    current = _schema(connection, place)
    if current is None:
        raise StorageError(f"{place} has no tables of tuner: see --storage; `tuner optimize` makes them")
    return current != max(_known())


def _is_newest(connection: Connection, place: str) -> bool:
    return _schema(connection, place) == max(_known())


def _schema(connection: Connection, place: str) -> str | None:
    current = None
    if inspect(connection).has_table(VERSION_TABLE):
        current = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    if current is not None and current not in _known():
        raise StorageError(f"{place} was written by a newer tuner (schema {current}): update tuner")
    return current


def _known() -> set[str]:
    return {file.name.partition("_")[0] for file in (_scripts() / "versions").glob("[0-9]*.py")}


def _scripts() -> Path:
    """In the wheel, or in the checkout's alembic/."""
    packaged = Path(__file__).with_name("migrations")
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "alembic"


def _config() -> "Config":
    """No ini file. It speaks to stdout as that is now: by itself it takes the one of its import, which may be closed since."""
    from alembic.config import Config

    config = Config(stdout=sys.stdout)
    # Config is a ConfigParser: a lone % in the path would be read as interpolation.
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
