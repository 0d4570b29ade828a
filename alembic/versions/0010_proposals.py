"""proposals.

What a drift of a production server's traffic led to, and who did what about it and why. The audit log is only ever added to.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tuner_proposal",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("urls", sa.JSON(), nullable=False),
        sa.Column("study_before", sa.Text(), nullable=False),
        sa.Column("study_after", sa.Text(), nullable=False),
        sa.Column("drift", sa.Text(), nullable=False),
        sa.Column("workload", sa.JSON(), nullable=False),
        sa.Column("workload_changes", sa.JSON(), nullable=False),
        sa.Column("settings_changes", sa.JSON(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("gain", sa.Float(53), nullable=True),
        sa.Column("trial", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("holder_host", sa.Text(), nullable=True),
        sa.Column("holder_pid", sa.Integer(), nullable=True),
        sa.Column("holder_started_s", sa.Float(53), nullable=True),
        sa.Column("holder_place", sa.Text(), nullable=True),
        sa.Column("canary_url", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_proposal")),
    )
    op.create_table(
        "tuner_audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("proposal", sa.Integer(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_audit")),
    )
    op.create_index(op.f("ix_tuner_audit_proposal"), "tuner_audit", ["proposal"])


def downgrade() -> None:
    op.drop_index(op.f("ix_tuner_audit_proposal"), table_name="tuner_audit")
    op.drop_table("tuner_audit")
    op.drop_table("tuner_proposal")
