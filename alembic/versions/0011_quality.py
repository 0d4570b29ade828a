"""quality.

Finalists and the defaults have what they answered to fixed questions. What an older tuner launched again was asked nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tuner_quality",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("trial_number", sa.Integer(), nullable=False),
        sa.Column("contest", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("nll", sa.Float(precision=53), nullable=True),
        sa.Column("answers", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["tuner_study.id"], name="fk_tuner_quality_study_id_tuner_study"),
        sa.PrimaryKeyConstraint("id", name="pk_tuner_quality"),
        sa.UniqueConstraint(
            "study_id",
            "trial_number",
            "contest",
            "round",
            name="uq_tuner_quality_study_id_trial_number_contest_round",
        ),
    )


def downgrade() -> None:
    op.drop_table("tuner_quality")
