"""processes of a launch."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tuner_process",
        sa.Column("launch_id", sa.Integer(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_s", sa.Float(precision=53), nullable=False),
        sa.ForeignKeyConstraint(["launch_id"], ["tuner_launch.id"], name=op.f("fk_tuner_process_launch_id_tuner_launch")),
        sa.PrimaryKeyConstraint("launch_id", "pid", name=op.f("pk_tuner_process")),
    )
    # A launch that was open when tuner was updated is swept by its leader, as it was recorded.
    op.execute("INSERT INTO tuner_process SELECT id, pid, process_started_s FROM tuner_launch")
    op.add_column("tuner_launch", sa.Column("start", sa.Text(), server_default="plain", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("tuner_launch") as table:
        table.drop_column("start")
    op.drop_table("tuner_process")
