"""When a search ends, and a launch of it: the trials so far in, the limits out. It launches nothing and asks no sampler.

It is told of each launch and of what was promised of it. Where another one is not worth it, the search has one launch left, of
its best without ballast, if there is any.
"""

from collections.abc import Callable, Sequence

from tuner.decide.ballast import ballast
from tuner.decide.early import Outdo, outdo
from tuner.decide.rank import best, defaults_of
from tuner.decide.startup import predicted_trial_s
from tuner.decide.stopping import Step, step, why_stop
from tuner.propose.samplers import OURS
from tuner.space.gpus import UNSET
from tuner.study.setup import Setup
from tuner.types import Failed, Proposal, Trial


class Ending:
    """Of one run of a search. `limit` is how many launches it may have in all; `tell` is told why it became less."""

    def __init__(self, setup: Setup, tell: Callable[[str], None]) -> None:
        self._setup, self._tell = setup, tell
        self._steps: list[Step] = []
        self.limit = setup.trials

    def outdo(self, proposal: Proposal, finished: Sequence[Trial]) -> Outdo | None:
        """What its launch has to outdo to be measured to the end; None for the defaults, which all are compared with."""
        if proposal.is_default or proposal.baseline is not None or not self._setup.may_stop or self._setup.beside:
            return None
        return outdo(finished, self._setup.objective, self._setup.constraints, self._setup.workload)

    def launched(self, promise: float | None, finished: Sequence[Trial]) -> None:
        """The last of the finished trials was launched, and so much was promised of it."""
        objective, now = self._setup.objective, best(finished, self._setup.objective)
        failed = self._setup.sampler in OURS and isinstance(finished[-1].outcome, Failed)  # the others learn of none
        self._steps.append(step(promise, best(finished[:-1], objective), now, objective, failed=failed))
        launches = _launches(finished)
        if not self._setup.may_stop or self._setup.beside or launches >= self.limit:
            return
        launch_s = predicted_trial_s(finished, None, is_known=False)
        if why := why_stop(self._steps, now, launches=launches, trials=self._setup.trials, launch_s=launch_s):
            self._tell(why)
            self.limit = launches + bool(self._ballast(finished))

    def last(self, finished: Sequence[Trial], begun: int = 0) -> tuple[Trial | None, tuple[str, ...]]:
        """What the last launch of the search is for: the best so far, and its settings that seem to bring nothing. `begun` are
        in flight."""
        if _launches(finished) + begun + 1 < self.limit:
            return None, ()
        names = self._ballast(finished)
        finished = _searched(finished)
        return best(finished, self._setup.objective) if names else None, names

    def _ballast(self, finished: Sequence[Trial]) -> tuple[str, ...]:
        """What the best can be without: a default that the user's space does not have, and no "none" for it, is no setting."""
        if self._setup.beside:
            return ()
        parameters, defaults = self._setup.space.parameters, defaults_of(finished)
        logarithmic = [name for name, known in parameters.items() if getattr(known, "log", False)]
        light = ballast(_searched(finished), self._setup.objective, logarithmic)
        usual = defaults.params if defaults else {}
        return tuple(name for name in light if parameters[name].nearest(usual[name]) in (usual[name], UNSET))


def _launches(finished: Sequence[Trial]) -> int:
    """Of the search alone."""
    return sum(trial.attempts > 0 for trial in _searched(finished))


def _searched(finished: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in finished if trial.is_searched]
