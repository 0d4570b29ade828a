"""A connection in; the same database with our tables at the newest schema out. The only door to Alembic.

It knows nothing of studies, and nothing of Optuna's own Alembic table in the same database.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from tuner.errors import StorageError
from tuner.record.tables import VERSION_TABLE


def migrate(connection: Connection, place: str) -> None:
    """Bring our tables to the newest schema, inside the caller's transaction.

    Raises StorageError when the database was written by a newer tuner; `place` names the database in the sentence.
    """
    if not _is_newest(connection, place):
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def require_newest(connection: Connection, place: str) -> None:
    """Raise StorageError unless our tables are there and at the newest schema. Writes nothing."""
    if not _is_newest(connection, place):
        raise StorageError(
            f"{place} has no tables of this tuner version: run `tuner optimize` on it once, with write access"
        )


def _is_newest(connection: Connection, place: str) -> bool:
    script = ScriptDirectory.from_config(_config())
    known = {revision.revision for revision in script.walk_revisions()}
    current = set(MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_heads())
    if current - known:
        raise StorageError(f"{place} was written by a newer tuner (schema {', '.join(current - known)}): update tuner")
    return current == set(script.get_heads())


def _config() -> Config:
    """No ini file: the scripts are in the wheel, or in the checkout's alembic/."""
    packaged = Path(__file__).with_name("migrations")
    scripts = packaged if packaged.is_dir() else Path(__file__).parents[2] / "alembic"
    config = Config()
    # Config is a ConfigParser: a lone % in the path would be read as interpolation.
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
