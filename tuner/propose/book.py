"""A study's trials in; Optuna's study of the same name in the same database, that says the same, out.

It is written for others: optuna-dashboard, the `optuna` command, Python. Tuner's own tables are the truth, and nothing is ever
read from here but to see what is missing; what was deleted, or changed by others, is written anew. It proposes nothing.
"""

from collections.abc import Callable, Iterable, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuner.errors import StorageError, UsageError
from tuner.patience import Patience
from tuner.propose.shown import Shown, show
from tuner.propose.storage import OURS, quiet, storage
from tuner.propose.told import Made, Words, directions, told
from tuner.types import Proposal, Trial

#: optuna-dashboard 0.21 reads constraints only from this attribute of a trial, not from Optuna 5's own.
_DASHBOARD_CONSTRAINTS = "constraints"
#: How often the book is begun again when somebody deletes it while it is written.
_ATTEMPTS = 3
_WRITTEN_ANEW = (
    "Optuna's study of this name was deleted, or changed by another program or an older tuner: it is written anew from"
    " tuner's own tables"
)


class Book:
    """Of one study. `tell` is told, once, when it had to be written anew."""

    def __init__(self, url: str, name: str, words: Words, *, tell: Callable[[str], None] = lambda text: None) -> None:
        """Open Optuna's tables. Raises StorageError."""
        quiet()
        self._name, self._words, self._tell, self._told = name, words, tell, False
        self._directions, self._made = directions(words), Made()
        self._patience = Patience()
        with self._patience.waiting(self._tell):
            self._storage = self._patience.of(lambda: storage(url))
        self._seen = optuna.storages.get_storage(self._storage)  # reads no trial again that has ended

    def close(self) -> None:
        """Give the database connections back."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def write(self, trials: Sequence[Trial], running: Iterable[Proposal] = ()) -> None:
        """Have it say just this. Writing the same again changes nothing. Raises UsageError where a study of that name is
        none of ours, StorageError where others delete it again and again."""
        ours = told(trials, running, self._words, self._made)
        for _ in range(_ATTEMPTS):
            try:
                self._wait_for(lambda: self._write(ours))
            except (
                KeyError,
                optuna.exceptions.UpdateFinishedTrialError,
            ):  # deleted or ended by another program just now
                continue
            return
        raise StorageError(f"another program changes Optuna's study {self._name!r} all the time: stop it")

    def show(self, shown: Shown) -> None:
        """Have it say this, too, of what was written before."""
        self._wait_for(lambda: show(self._seen, self._name, shown))

    def _wait_for(self, write: Callable[[], None]) -> None:
        """Write, when the database has come back: each write looks first at what is there."""
        with self._patience.waiting(self._tell):
            self._patience.of(write)

    def _write(self, ours: Sequence[FrozenTrial]) -> None:
        study = self._opened()
        if OURS not in self._storage.get_study_system_attrs(study._study_id):  # another one that was given its id
            self._seen = optuna.storages.get_storage(self._storage)
            study = self._opened()
        shown = study.get_trials(deepcopy=False)
        agreeing = [_agree(one, mine) for one, mine in zip(shown, ours, strict=False)]
        was_lost = not shown and any(mine.state.is_finished() for mine in ours)
        if self._is_another(study) or len(shown) > len(ours) or not all(agreeing):
            self._refuse_a_foreign(study, shown)
            study, was_lost, shown = self._anew(study), True, []
        if was_lost and not self._told:
            self._tell(_WRITTEN_ANEW)
            self._told = True
        self._end(shown, ours)
        for mine in ours[len(shown) :]:
            # before each trial is added, which Optuna would try five times, and wait for a lock each time
            self._storage.set_study_system_attr(study._study_id, OURS, len(ours))
            study.add_trial(_for_the_dashboard(mine))

    def _opened(self) -> optuna.Study:
        """By its name each time: a study that was deleted may have left its id to another one."""
        study = optuna.create_study(
            storage=self._seen,
            study_name=self._name,
            directions=self._directions,
            sampler=optuna.samplers.RandomSampler(),  # never asked
            load_if_exists=True,
        )
        names = [objective.metric for objective in self._words.objectives]
        if study.metric_names != names and not self._is_another(study):
            study.set_metric_names(names)
        return study

    def _is_another(self, study: optuna.Study) -> bool:
        return study.directions != self._directions

    def _refuse_a_foreign(self, study: optuna.Study, shown: Sequence[FrozenTrial]) -> None:
        """Somebody's own study is not overwritten."""
        if shown and OURS not in self._storage.get_study_system_attrs(study._study_id):
            raise UsageError(
                f"Optuna's study {self._name!r} in this database was made by another program:"
                " give this one another name with --study"
            )

    def _anew(self, study: optuna.Study) -> optuna.Study:
        attributes = study.user_attrs
        optuna.delete_study(study_name=self._name, storage=self._seen)
        made = self._opened()
        for name, value in attributes.items():
            made.set_user_attr(name, value)
        return made

    def _end(self, shown: Sequence[FrozenTrial], ours: Sequence[FrozenTrial]) -> None:
        """Tell what has ended since it was shown as running."""
        for one, mine in zip(shown, ours, strict=False):
            if one.state is TrialState.RUNNING and mine.state.is_finished():
                mine = _for_the_dashboard(mine)
                for name, value in mine.user_attrs.items():
                    self._storage.set_trial_user_attr(one._trial_id, name, value)
                for name, value in mine.system_attrs.items():
                    self._storage.set_trial_system_attr(one._trial_id, name, value)
                self._storage.set_trial_state_values(one._trial_id, mine.state, mine.values)


def _agree(shown: FrozenTrial, ours: FrozenTrial) -> bool:
    """Whether what is shown of a trial is so, or can become so."""
    if (shown.params, shown.distributions) != (ours.params, ours.distributions):
        return False
    if shown.state is TrialState.RUNNING:
        return True
    said = [(t.state, t.values, {name: t.constraints.get(name) for name in ours.constraints}) for t in (shown, ours)]
    return said[0] == said[1]


def _for_the_dashboard(trial: FrozenTrial) -> FrozenTrial:
    if trial.constraints:
        trial.system_attrs.setdefault(_DASHBOARD_CONSTRAINTS, list(trial.constraints.values()))
    return trial
