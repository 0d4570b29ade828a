"""first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tuner_study",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("gpu", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("workload", sa.Text(), nullable=False),
        sa.Column("objective", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("space_digest", sa.Text(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.JSON(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("tuner_host", sa.Text(), nullable=True),
        sa.Column("tuner_pid", sa.Integer(), nullable=True),
        sa.Column("tuner_started_s", sa.Float(precision=53), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_study")),
        sa.UniqueConstraint("name", name=op.f("uq_tuner_study_name")),
    )
    op.create_table(
        "tuner_trial",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("resolved", sa.JSON(), nullable=False),
        sa.Column("command", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failure_kind", sa.Text(), nullable=True),
        sa.Column("outcome", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("violations", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["tuner_study.id"], name=op.f("fk_tuner_trial_study_id_tuner_study")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_trial")),
        sa.UniqueConstraint("study_id", "number", name=op.f("uq_tuner_trial_study_id_number")),
    )
    op.create_table(
        "tuner_verification",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("trial_number", sa.Integer(), nullable=False),
        sa.Column("command", sa.JSON(), nullable=False),
        sa.Column("outcome", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["tuner_study.id"], name=op.f("fk_tuner_verification_study_id_tuner_study")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_verification")),
        sa.UniqueConstraint("study_id", "round", "trial_number", name=op.f("uq_tuner_verification_study_id_round_trial_number")),
    )
    op.create_table(
        "tuner_launch",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("tuner_pid", sa.Integer(), nullable=False),
        sa.Column("tuner_started_s", sa.Float(precision=53), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("pgid", sa.Integer(), nullable=False),
        sa.Column("process_started_s", sa.Float(precision=53), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("log", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["trial_id"], ["tuner_trial.id"], name=op.f("fk_tuner_launch_trial_id_tuner_trial")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_launch")),
    )
    op.create_table(
        "tuner_metric",
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["tuner_trial.id"], name=op.f("fk_tuner_metric_trial_id_tuner_trial")),
        sa.PrimaryKeyConstraint("trial_id", "name", name=op.f("pk_tuner_metric")),
    )


def downgrade() -> None:
    op.drop_table("tuner_metric")
    op.drop_table("tuner_launch")
    op.drop_table("tuner_verification")
    op.drop_table("tuner_trial")
    op.drop_table("tuner_study")
