"""A stored study in; what it recommends, and the file to deploy it with, out. Raises Refused where there is nothing."""

from tuner.decide.verdict import Decision
from tuner.errors import UsageError, choose
from tuner.export.caution import cautions
from tuner.export.formats import EXPORTERS
from tuner.export.serving import headless
from tuner.record.listing import trial_lines
from tuner.record.store import Store
from tuner.serve.asked import ExportAsked
from tuner.serve.refused import InTheWay, NotThere, Refused
from tuner.serve.shown import BestShown, TextShown
from tuner.serve.standing import verdict_shown
from tuner.serve.trial_shown import trial_shown
from tuner.study.decided import objectives_of, study_decision
from tuner.study.exporting import as_chosen
from tuner.types import Failed, Measured, Trial, Twin

#: Of the formats that are no YAML: how a file of it ends, and what it is.
_KINDS = {
    "json": ("json", "application/json"),
    "command": ("sh", "text/x-shellscript"),
    "systemd": ("service", "text/plain"),
}


def best_of(store: Store, study: str) -> BestShown:
    """What the study recommends."""
    record, found = store.study(study), study_decision(store, study)
    chosen = _chosen(found, study)
    (line,) = trial_lines(store, study, 1, after=chosen.number - 1)
    return BestShown(
        study=study,
        trial=trial_shown(line, found.defaults.params if found.defaults else None),
        command=chosen.command.argv,
        headless=headless(chosen.command, record.fingerprint),
        environment=dict(chosen.command.environment),
        verdict=verdict_shown(found, objectives_of(record)[0]),
        cautions=tuple(cautions(chosen, found.defaults, found.quality)),
        unreal=record.fingerprint.unreal,
    )


def export_of(store: Store, study: str, asked: ExportAsked) -> TextShown:
    """The file to deploy one trial with, or what the study decided."""
    if asked.format not in EXPORTERS:
        raise Refused(f"format: unknown {asked.format!r}{choose(asked.format, EXPORTERS)}")
    found = study_decision(store, study)
    wanted = _chosen(found, study) if asked.trial is None else _trial(store, study, asked.trial)
    try:
        text = EXPORTERS[asked.format](as_chosen(store.study(study), found, wanted, asked.host, asked.port))
    except UsageError as error:  # what the format cannot say
        raise InTheWay(str(error)) from None
    ending, kind = _KINDS.get(asked.format, ("yaml", "application/yaml"))
    return TextShown(text=text, content_type=kind, file_name=f"{asked.format}-trial-{wanted.number}.{ending}")


def _chosen(found: Decision, study: str) -> Trial:
    if found.chosen is None:
        raise InTheWay(f"study {study!r} has no trial that was measured and meets its SLOs yet: nothing to recommend")
    return found.chosen


def _trial(store: Store, study: str, number: int) -> Trial:
    trial = store.trial(study, number)
    if trial is None:
        raise NotThere(f"study {study!r} has no trial {number} that ended")
    if isinstance(trial.outcome, Twin):
        raise InTheWay(f"trial {number} was not launched, for it equals trial {trial.outcome.equals}: export that")
    if isinstance(trial.outcome, Failed):
        raise InTheWay(f"trial {number} failed ({trial.outcome.kind.value}): export one that was measured")
    assert isinstance(trial.outcome, Measured)
    return trial
