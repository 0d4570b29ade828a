"""A stored study in; what optuna-dashboard shows of it beside the trials' numbers out, and kept up to date while a study runs.

Attributes, the verdict, notes and files are made from our tables alone, so a database that an older tuner wrote has them too.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from tuner.decide.verdict import UNFINISHED, Answer, Decision
from tuner.errors import TunerError
from tuner.export.unreal import unreal_sentence
from tuner.propose.shown import Shown, ShownTrial, bring_up_to_date
from tuner.record.store import Store
from tuner.study.artifacts import artifacts_of
from tuner.study.decided import launched_again, objectives_of, slo_texts, study_decision
from tuner.study.lease import is_run
from tuner.study.notes import study_note, trial_note, verdict_text
from tuner.types import Twin
from tuner.workload.stored import stored_workload

#: optuna-dashboard looks through all notes for each trial, so that not all of a very long study can have one: the first trials,
#: and those that the answer is about.
MOST_NOTES = 300
#: While a study runs, at most this share of the time goes into what is shown of it.
_SHARE = 0.05


def shown_of(store: Store, study: str) -> Shown:
    """Raises UsageError if there is no such study."""
    record, found = store.study(study), study_decision(store, study)
    trials, objectives, unreal = store.trials(study), objectives_of(record), unreal_sentence(record.fingerprint)
    workload = stored_workload(record.settings.get("workload"))
    logs, timed = store.logs_by_trial(study), store.with_timelines(study)
    named = {trial.number for trial in (found.chosen, found.winner, found.defaults) if trial is not None}
    named |= {side.trial.number for side in found.finalists}
    noted = {
        trial.number: ShownTrial(
            note=trial_note(trial, found, objectives, unreal, workload),
            artifacts=artifacts_of(
                record, trial.number, logs.get(trial.number, []), has_timeline=trial.number in timed
            ),
        )
        for trial in [*trials, *store.unfinished(study)]
        if (trial.number < MOST_NOTES and not isinstance(trial.outcome, Twin)) or trial.number in named
    }
    attributes: dict[str, str | bool] = {
        "reality": unreal or "measured: the servers ran",
        "verdict": verdict_text(found, objectives),
        "verified": is_verified(found),
        "recommended": f"trial {found.chosen.number}" if found.chosen else "nothing",
        "gpu": record.fingerprint.gpu or record.gpu,
        "model": record.model,
        "workload": record.workload,
        "engine_version": record.fingerprint.engine_version,
        "objectives": record.objective,
        "slos": ", ".join(slo_texts(record)) or "none",
    }
    note = study_note(study, found, objectives, trials, launched_again(store, study), unreal)
    return Shown(attributes=attributes, note=note, trials=noted)


def bring_all_up_to_date(store: Store) -> None:
    """The studies that no tuner runs just now; nothing is done where the database can only be read."""
    for record in store.studies():
        with suppress(TunerError):
            if is_run(store, record.name):
                continue
            shown = shown_of(store, record.name)
            with store.errors():
                bring_up_to_date(store.url, store.opener, record.name, shown)


def is_verified(found: Decision) -> bool:
    """Whether the answer comes from new launches, as many as it needs, and nothing is left to be done for it."""
    v = found.verdict
    is_final = not v.why.endswith(UNFINISHED) and not v.is_cut_short
    return is_final and v.answer not in (Answer.NOT_VERIFIED, Answer.NOTHING_BETTER)


@dataclass(slots=True)
class Showing:
    """Of one run of a study. `write` is told what to show."""

    store: Store
    study: str
    write: Callable[[Shown], object]
    _next_s: float = 0.0

    def now(self) -> None:
        """Bring it up to date."""
        began_s = monotonic()
        self.write(shown_of(self.store, self.study))
        ended_s = monotonic()
        self._next_s = ended_s + (ended_s - began_s) / _SHARE

    def maybe(self) -> None:
        """Bring it up to date, unless that was done lately and takes long."""
        if monotonic() >= self._next_s:
            self.now()
