"""jobs.

What was asked of `tuner serve`, and which service runs it; and an index that counts the trials of a study without reading them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tuner_job",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("asked", sa.JSON(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("card", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("wish", sa.Text(), nullable=True),
        sa.Column("deaths", sa.Integer(), server_default="0", nullable=False),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("started_s", sa.Float(53), nullable=True),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("lease", sa.Integer(), server_default="0", nullable=False),
        sa.Column("beat", sa.Integer(), server_default="0", nullable=False),
        sa.Column("child_pid", sa.Integer(), nullable=True),
        sa.Column("child_started_s", sa.Float(53), nullable=True),
        sa.Column("child_place", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_job")),
        sa.UniqueConstraint("study", name=op.f("uq_tuner_job_study")),
    )
    op.create_index(op.f("ix_tuner_job_state"), "tuner_job", ["state"])
    op.create_index(op.f("ix_tuner_trial_progress"), "tuner_trial", ["study_id", "state", "attempts"])


def downgrade() -> None:
    op.drop_index(op.f("ix_tuner_trial_progress"), "tuner_trial")
    op.drop_index(op.f("ix_tuner_job_state"), "tuner_job")
    op.drop_table("tuner_job")
