"""The finished trials of a study in, its next proposal out: the sampler, what the model of the server expects, and the groups
that are searched by now. It launches nothing and stores nothing.
"""

from collections.abc import Iterator, Sequence

from tuner.diagnose.card import card_thresholds
from tuner.diagnose.judged import Attempt, judged
from tuner.diagnose.words import remedy_text
from tuner.errors import RunError
from tuner.propose.prior import Earlier
from tuner.propose.proposer import Proposer
from tuner.propose.samplers import OURS
from tuner.propose.told import Words
from tuner.space.gpus import UNSET
from tuner.space.parameters import Categorical
from tuner.study.model import ServerModel
from tuner.study.opening import Opening
from tuner.study.setup import Setup
from tuner.study.watch import Watch
from tuner.types import Params, Proposal, Trial, Value


class Proposing:
    """Of one run of a study. `resolved` are vLLM's defaults, `earlier` is what another study found."""

    def __init__(
        self, setup: Setup, resolved: Params, model: ServerModel, watch: Watch, earlier: Sequence[Earlier] = ()
    ) -> None:
        """Raises RunError where vLLM does not tell a default, UsageError where a grid would have no end."""
        self._model, self._watch = model, watch
        for told in not_there(setup, resolved):
            watch.note(told)
        by_need = setup.sampler in OURS
        self._opening = (
            Opening(setup.space, setup.objective, model.limit_of, setup.workload, model.gain) if by_need else None
        )
        self._objective, self._workload = setup.objective, setup.workload
        self._card = card_thresholds(setup.space.gpu)
        self._attempt: Attempt | None = None
        self._proposer = Proposer(
            setup.space,
            words_of(setup),
            defaults=_searched(setup, resolved),
            seed=setup.seed,
            sampler=setup.sampler,
            prior=model.prior(setup.objectives, watch.phase) if setup.sampler == "model" else None,
            earlier=earlier,
            tell=watch.note,
        )

    def begin(self, finished: Sequence[Trial]) -> None:
        """After these trials, of an earlier run."""
        if self._opening is not None and (frozen := self._opening.first(finished)):
            self._proposer.freeze(frozen)

    def next(
        self, finished: Sequence[Trial], wished: Params | None, running: Sequence[Proposal] = ()
    ) -> Proposal | None:
        """None when nothing is left to propose beside what is `running`; `ended` says why. Where a group was opened for a
        remedy, that is tried first, by itself."""
        self._model.learn(finished)
        proposal = self._proposer.propose(finished, wished or self._remedy(finished), running)
        while proposal is None and self._opens(finished, 0.0):
            proposal = self._proposer.propose(finished, wished or self._remedy(finished), running)
        return proposal

    def _remedy(self, finished: Sequence[Trial]) -> Params | None:
        """The settings that try the remedy; None once they were, or where there is none."""
        attempt = self._attempt
        return None if attempt is None or any(attempt.is_made_by(trial) for trial in finished) else attempt.params

    def judge(self, trial: Trial) -> None:
        """Say whether the remedy did what was said, if this trial has tried it."""
        if (attempt := self._attempt) is not None and attempt.is_made_by(trial):
            self._attempt = None
            self._watch.note(judged(attempt, trial, self._objective, self._workload, self._card))

    @property
    def ended(self) -> str:
        return self._proposer.ended

    @property
    def promise(self) -> float | None:
        """The gain that is expected of the last proposal; None where nobody says."""
        return self._proposer.promise

    def promised(self, finished: Sequence[Trial], promise: float | None) -> float | None:
        """The gain that was expected of the last of the finished trials; None where more is searched from here on."""
        return None if self._opens(finished, promise) else promise

    def _opens(self, finished: Sequence[Trial], promise: float | None) -> bool:
        """Whether another group is searched from now on."""
        if self._opening is None or (opened := self._opening.next(finished, promise)) is None:
            return False
        self._attempt = opened.attempt
        tried = f"; {remedy_text(opened.attempt.remedy)} is tried first" if opened.attempt else ""
        self._watch.note(f"{opened.why}{tried}")
        self._proposer.freeze(self._opening.frozen)
        return True


def words_of(setup: Setup) -> Words:
    return Words(parameters=setup.space.parameters, objectives=setup.objectives, slos=setup.constraints)


def _searched(setup: Setup, resolved: Params) -> Params:
    """The defaults as a point of the space: each searched parameter as vLLM resolved it; "none" where it leaves it unset."""
    point: dict[str, Value] = {}
    for name in setup.space.parameters:
        value = resolved.get(name, UNSET)
        if value == UNSET and not isinstance(setup.space.parameters[name], Categorical):
            if name not in setup.space.active(point):
                continue
            raise RunError(f"vLLM does not say what its default of {name} is: take it out of the search space")
        point[name] = value
    return point


def not_there(setup: Setup, resolved: Params) -> Iterator[str]:
    """A default that is a word, and none of the choices: another word stands for it, and nothing says that it is like it."""
    for name, parameter in setup.space.parameters.items():
        usual = resolved.get(name, UNSET)
        if not isinstance(parameter, Categorical) or len(parameter.choices) == 1 or not isinstance(usual, str):
            continue
        if (stands := parameter.nearest(usual)) not in (usual, UNSET):
            yield (
                f"vLLM's default of {name}, {usual}, is not in the search space: {stands} stands for it where no other value is"
                " asked for"
            )
