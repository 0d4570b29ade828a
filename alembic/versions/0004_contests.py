"""contests.

What is launched again belongs to a contest: the settings that were launched together. What an older tuner had launched again was
one contest of the winner and the defaults.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

OLD = "uq_tuner_verification_study_id_round_trial_number"
NEW = "uq_tuner_verification_study_id_contest_round_trial_number"


def upgrade() -> None:
    op.create_table(
        "tuner_contest",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("candidates", sa.JSON(), nullable=False),
        sa.Column("rounds", sa.Integer(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["tuner_study.id"], name=op.f("fk_tuner_contest_study_id_tuner_study")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_contest")),
        sa.UniqueConstraint("study_id", "number", name=op.f("uq_tuner_contest_study_id_number")),
    )
    with op.batch_alter_table("tuner_verification") as table:
        table.add_column(sa.Column("contest", sa.Integer(), server_default="1", nullable=False))
        table.drop_constraint(OLD, type_="unique")
        table.create_unique_constraint(op.f(NEW), ["study_id", "contest", "round", "trial_number"])
    known = (sa.column("study_id"), sa.column("role"), sa.column("trial_number"), sa.column("round"), sa.column("started_at"))
    rows = op.get_bind().execute(sa.select(*known).select_from(sa.table("tuner_verification")).order_by(sa.column("id"))).all()
    contest = sa.table("tuner_contest", *(sa.column(n) for n in ("study_id", "number", "rounds", "began_at")), sa.column("candidates", sa.JSON))
    for study in dict.fromkeys(row.study_id for row in rows):
        mine = [row for row in rows if row.study_id == study]
        winners = list(dict.fromkeys(row.trial_number for row in mine if row.role == "winner"))
        began_at = mine[0].started_at
        op.execute(
            contest.insert().values(
                study_id=study, number=1, candidates=winners, rounds=max(row.round for row in mine), began_at=began_at
            )
        )
    op.execute("UPDATE tuner_verification SET role = 'finalist' WHERE role = 'winner'")


def downgrade() -> None:
    op.execute("DELETE FROM tuner_verification WHERE contest > 1")
    op.execute("UPDATE tuner_verification SET role = 'winner' WHERE role = 'finalist'")
    with op.batch_alter_table("tuner_verification") as table:
        table.drop_constraint(NEW, type_="unique")
        table.create_unique_constraint(op.f(OLD), ["study_id", "round", "trial_number"])
        table.drop_column("contest")
    op.drop_table("tuner_contest")
