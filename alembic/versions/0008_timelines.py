"""timelines.

A measurement has a time line of its load. What an older tuner measured has none.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tuner_timeline",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("trial_number", sa.Integer(), nullable=False),
        sa.Column("contest", sa.Integer(), nullable=True),
        sa.Column("round", sa.Integer(), nullable=True),
        sa.Column("samples", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["tuner_study.id"], name="fk_tuner_timeline_study_id_tuner_study"),
        sa.PrimaryKeyConstraint("id", name="pk_tuner_timeline"),
        sa.UniqueConstraint(
            "study_id",
            "trial_number",
            "contest",
            "round",
            name="uq_tuner_timeline_study_id_trial_number_contest_round",
        ),
    )


def downgrade() -> None:
    op.drop_table("tuner_timeline")
