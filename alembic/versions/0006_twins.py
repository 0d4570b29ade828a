"""twins.

A trial has the digest of what the engine makes of its settings, by which one that would repeat another is known, the key of its
compiled code, and what became of its settings when its server started. Of what an older tuner measured none of it is known.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("tuner_trial") as table:
        table.add_column(sa.Column("digest", sa.Text(), nullable=True))
        table.add_column(sa.Column("compile_key", sa.Text(), nullable=True))
        table.add_column(sa.Column("effective", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("tuner_trial") as table:
        for name in ("effective", "compile_key", "digest"):
            table.drop_column(name)
