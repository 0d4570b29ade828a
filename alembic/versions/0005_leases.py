"""leases.

Who runs a study holds a lease of it: a number that grows with each holder, and a beat that grows while the holder lives. A pid
belongs to a place: a boot of a host, and a PID namespace there.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("tuner_study") as table:
        table.add_column(sa.Column("tuner_place", sa.Text(), nullable=True))
        table.add_column(sa.Column("held_since", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("lease", sa.Integer(), server_default="0", nullable=False))
        table.add_column(sa.Column("beat", sa.Integer(), server_default="0", nullable=False))
    with op.batch_alter_table("tuner_launch") as table:
        table.add_column(sa.Column("place", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("tuner_launch") as table:
        table.drop_column("place")
    with op.batch_alter_table("tuner_study") as table:
        for name in ("beat", "lease", "held_since", "tuner_place"):
            table.drop_column(name)
