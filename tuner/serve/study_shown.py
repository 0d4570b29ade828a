"""What is known of a study in: its record, its job, how far it is, what it says; as it is shown out. Pure."""

from dataclasses import replace

from pydantic import ValidationError

from tuner.record.listing import Stamp
from tuner.record.queue import RUNNING, Job
from tuner.record.rows import StudyRecord
from tuner.serve.asked import StudyAsked
from tuner.serve.shown import State, StudyShown
from tuner.serve.standing import Standing
from tuner.study.decided import slo_texts

_STATES: dict[str, State] = {
    "queued": "queued",
    "running": "running",
    "paused": "paused",
    "finished": "finished",
    "failed": "failed",
    "cancelled": "cancelled",
}


def study_shown(
    record: StudyRecord | None, job: Job | None, is_run: bool, stamp: Stamp | None, standing: Standing | None
) -> StudyShown:
    """One that was asked for may not have begun, one that has begun need not have been asked for here: at least one is there.
    `is_run` is whether any tuner runs it now."""
    if job is not None:
        shown = _asked_for(job, is_run)
    else:
        assert record is not None
        shown = _begun(record, is_run)
    return replace(
        shown,
        trials_finished=stamp.launched if stamp else 0,
        best=standing.best if standing else None,
        verdict=standing.verdict if standing else None,
        unreal=record.fingerprint.unreal if record else shown.unreal,
    )


def _asked_for(job: Job, is_run: bool) -> StudyShown:
    asked = _asked(job)
    state, message = _STATES[job.state], job.message
    if is_run and job.state != RUNNING:
        state, message = "running", "a tuner that was not started here runs it"
    return StudyShown(
        name=job.study,
        model=asked.model or "",
        gpu=asked.gpu,
        workload=asked.workload,
        objective=asked.objective,
        slo=asked.slo,
        state=state,
        message=message,
        created_at=job.asked_at,
        trials_finished=0,
        trials_wanted=asked.trials if asked.model else None,
        best=None,
        verdict=None,
        unreal="SIMULATED" if asked.engine == "sim" else None,
    )


def _asked(job: Job) -> StudyAsked:
    """Of what another version of the service was asked for, no more than that it is there."""
    try:
        return StudyAsked.model_validate(job.asked, strict=False)
    except ValidationError:
        return StudyAsked(gpu="unknown", workload="unknown")


def _begun(record: StudyRecord, is_run: bool) -> StudyShown:
    return StudyShown(
        name=record.name,
        model=record.model.rpartition("/")[2] if record.model.startswith("/") else record.model,
        gpu=record.gpu,
        workload=record.workload,
        objective=tuple(record.objective.split(",")),
        slo=tuple(slo_texts(record)),
        state="running" if is_run else "idle",
        message=None,
        created_at=record.created_at,
        trials_finished=0,
        trials_wanted=None,
        best=None,
        verdict=None,
        unreal=record.fingerprint.unreal,
    )
