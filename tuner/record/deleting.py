"""A study's row in, none of its rows left: the children first, for the tables have no cascade."""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from tuner.record.tables import (
    ContestRow,
    JobRow,
    LaunchRow,
    MetricRow,
    ProcessRow,
    QualityRow,
    StudyRow,
    TimelineRow,
    TrialRow,
    VerificationRow,
)


def delete_rows(session: Session, study: int) -> None:
    """Of the study with that id, in the caller's transaction."""
    trials = select(TrialRow.id).where(TrialRow.study_id == study)
    launches = select(LaunchRow.id).where(LaunchRow.trial_id.in_(trials))
    session.execute(delete(ProcessRow).where(ProcessRow.launch_id.in_(launches)))
    session.execute(delete(LaunchRow).where(LaunchRow.trial_id.in_(trials)))
    session.execute(delete(MetricRow).where(MetricRow.trial_id.in_(trials)))
    for table in (TimelineRow, QualityRow, TrialRow, ContestRow, VerificationRow):
        session.execute(delete(table).where(table.study_id == study))
    name = select(StudyRow.name).where(StudyRow.id == study).scalar_subquery()
    session.execute(delete(JobRow).where(JobRow.study == name, JobRow.ended_at.is_not(None)))
    session.execute(delete(StudyRow).where(StudyRow.id == study))
