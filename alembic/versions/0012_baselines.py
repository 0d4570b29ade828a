"""baselines.

Which trials are the user's own settings, and which were launched after the search to say what a setting brings.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("tuner_trial") as table:
        table.add_column(sa.Column("baseline", sa.Text(), nullable=True))
        table.add_column(sa.Column("explains", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("tuner_trial") as table:
        table.drop_column("explains")
        table.drop_column("baseline")
