"""Alembic's entry. tuner/record/migrate.py hands over a connection; developers come here by `make migration`."""

import os
from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection, create_engine

from tuner.record.tables import PREFIX, VERSION_TABLE, Base, UtcDateTime


def is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    """Optuna's tables are in the same database: without this, autogenerate would drop them."""
    return kind != "table" or (name or "").startswith(PREFIX)


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """A migration must not import tuner: it has to work when the code has moved on."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def run(connection: Connection) -> None:
    """Run what Alembic's command asks for. SQLite changes a table by copying it, and the copy must not cascade: keep
    its foreign keys off, as they are by default."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        include_name=is_ours,
        render_item=render_item,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with create_engine(os.environ.get("TUNER_STORAGE", "sqlite:///tuner.db")).begin() as connection:
        run(connection)
