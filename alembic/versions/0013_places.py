"""places.

Where a trial was launched: its slot, its GPUs, and beside how many others.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("tuner_trial") as table:
        table.add_column(sa.Column("place", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("tuner_trial") as table:
        table.drop_column("place")
