"""predictions.

A trial has what the model of a server said of it before it was launched. Of what an older tuner measured nothing was said.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("tuner_trial") as table:
        table.add_column(sa.Column("predicted", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("tuner_trial") as table:
        table.drop_column("predicted")
