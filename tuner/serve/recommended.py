"""A stored study in; what it recommends, and the file to deploy it with, out. Raises Refused where there is nothing."""

from functools import partial

from tuner.decide.front import verdict_of
from tuner.decide.verdict import Decision
from tuner.errors import choose
from tuner.export.caution import cautions
from tuner.export.formats import EXPORTERS, Exporter
from tuner.export.record_json import export_json
from tuner.record.listing import trial_lines
from tuner.record.store import Store
from tuner.serve.asked import ExportAsked
from tuner.serve.refused import InTheWay, NotThere, Refused
from tuner.serve.shown import BestShown, TextShown
from tuner.serve.standing import verdict_shown
from tuner.serve.trial_shown import trial_shown
from tuner.study.decided import objectives_of, study_decision
from tuner.types import Failed, Measured, Trial, Twin

#: By the beginning of a format's text: how it is called, and what it is.
_KINDS = {"json": ("json", "application/json"), "command": ("sh", "text/x-shellscript")}


def best_of(store: Store, study: str) -> BestShown:
    """What the study recommends."""
    record, found = store.study(study), study_decision(store, study)
    chosen = _chosen(found, study)
    (line,) = trial_lines(store, study, 1, after=chosen.number - 1)
    return BestShown(
        study=study,
        trial=trial_shown(line, found.defaults.params if found.defaults else None),
        command=chosen.command.argv,
        environment=dict(chosen.command.environment),
        verdict=verdict_shown(found, objectives_of(record)[0]),
        cautions=tuple(cautions(chosen, found.defaults)),
        unreal=record.fingerprint.unreal,
    )


def export_of(store: Store, study: str, asked: ExportAsked) -> TextShown:
    """The launch config of one trial, or of what the study decided."""
    if asked.format not in EXPORTERS:
        raise Refused(f"format: unknown {asked.format!r}{choose(asked.format, EXPORTERS)}")
    found = study_decision(store, study)
    trial = _chosen(found, study) if asked.trial is None else _trial(store, study, asked.trial)
    fingerprint = store.study(study).fingerprint
    front = partial(export_json, front=found.front)
    exporter: Exporter = front if asked.format == "json" else EXPORTERS[asked.format]
    ending, kind = _KINDS.get(asked.format, ("yaml", "application/yaml"))
    return TextShown(
        text=exporter(trial, fingerprint, asked.host, asked.port, verdict_of(found, trial)),
        content_type=kind,
        file_name=f"{asked.format}-trial-{trial.number}.{ending}",
    )


def _chosen(found: Decision, study: str) -> Trial:
    if found.chosen is None:
        raise InTheWay(f"study {study!r} has no trial that was measured and meets its SLOs yet: nothing to recommend")
    return found.chosen


def _trial(store: Store, study: str, number: int) -> Trial:
    trial = next((one for one in [*store.trials(study), *store.unfinished(study)] if one.number == number), None)
    if trial is None:
        raise NotThere(f"study {study!r} has no trial {number} that ended")
    if isinstance(trial.outcome, Twin):
        raise InTheWay(f"trial {number} was not launched, for it equals trial {trial.outcome.equals}: export that")
    if isinstance(trial.outcome, Failed):
        raise InTheWay(f"trial {number} failed ({trial.outcome.kind.value}): export one that was measured")
    assert isinstance(trial.outcome, Measured)
    return trial
