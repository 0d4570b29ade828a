"""settings of a command.

A command now has its model and its settings beside the argument vector that is made of them. In a database of before they
are read from that vector, which tuner itself had made: `--name VALUE`, `--switch`, `--no-switch`.
"""

import json

import sqlalchemy as sa
import yaml
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = ("tuner_trial", "tuner_verification")


def settings(flags):
    found, name = {}, ""
    for part in flags:
        if part.startswith("--"):
            switch = part[2:].replace("-", "_")
            name = switch.removeprefix("no_")
            found[name] = name == switch
        else:
            try:
                value = yaml.safe_load(part)
            except yaml.YAMLError:
                value = part
            exact = isinstance(value, int | float) and not isinstance(value, bool) and str(value) == part
            found[name] = value if exact else part
    return found


def upgrade() -> None:
    for name in TABLES:
        table = sa.table(name, sa.column("id", sa.Integer), sa.column("command", sa.JSON))
        for row in op.get_bind().execute(sa.select(table)).all():
            command = json.loads(row.command) if isinstance(row.command, str) else row.command
            argv = command["argv"]
            model, *flags = argv[argv.index("serve") + 1 :] if "serve" in argv[:-1] else [""]
            changed = {**command, "model": model, "settings": settings(flags)}
            op.execute(sa.update(table).where(table.c.id == row.id).values(command=changed))


def downgrade() -> None:
    for name in TABLES:
        table = sa.table(name, sa.column("id", sa.Integer), sa.column("command", sa.JSON))
        for row in op.get_bind().execute(sa.select(table)).all():
            kept = {key: value for key, value in row.command.items() if key not in ("model", "settings")}
            op.execute(sa.update(table).where(table.c.id == row.id).values(command=kept))
