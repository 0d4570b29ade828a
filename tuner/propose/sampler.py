"""An Optuna study in, its next point out: an Optuna sampler that begins with what is expected and learns from each launch.

    study = optuna.create_study(sampler=ModelSampler())

It is used like any other. Without candidates it takes the study's own search space as soon as a trial has shown it; without a
prior it is a Gaussian process alone. Trials may carry more than values: user attributes and constraints, tuner.propose.prior.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from tuner.propose.candidates import Candidates, key_of
from tuner.propose.choosing import Chooser
from tuner.propose.distributions import searched
from tuner.propose.history import history
from tuner.propose.prior import Earlier, Prior
from tuner.space.parameters import Categorical, Float, Int, Parameter
from tuner.types import Params


class ModelSampler(BaseSampler):
    """`candidates` are the points it chooses from; `tell` is told in a sentence when the prior is dropped."""

    def __init__(
        self,
        candidates: Candidates | None = None,
        prior: Prior | None = None,
        *,
        seed: int = 0,
        earlier: Sequence[Earlier] = (),
        tell: Callable[[str], None] = lambda text: None,
        without: Collection[str] = (),
    ) -> None:
        self._candidates, self._prior, self._seed = candidates, prior, seed
        self._earlier, self._tell, self._without = tuple(earlier), tell, frozenset(without)
        self._random = RandomSampler(seed=seed)
        self._intersection = IntersectionSearchSpace()
        self._chooser: Chooser | None = None
        #: The gain expected of the launch that was proposed last (Choice).
        self.promise: float | None = None

    @property
    def candidates(self) -> Candidates | None:
        return self._candidates

    @candidates.setter
    def candidates(self, candidates: Candidates) -> None:
        """Others from now on, such as with more parameters."""
        self._candidates = candidates
        if self._chooser is not None:
            self._chooser.candidates = candidates

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if self._candidates is not None:
            return {name: searched(parameter) for name, parameter in self._candidates.parameters.items()}
        found = self._intersection.calculate(study)
        return {name: one for name, one in found.items() if not one.single() and _parameter(one) is not None}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The chosen point; nothing where every candidate was tried, or there is no search space yet."""
        self.promise = None
        if not search_space:
            return {}
        chooser = self._made(study, search_space)
        trials = study.get_trials(deepcopy=False)
        others = [t for t in trials if t.number != trial.number and t.params]
        tried = {key_of(_within(t.params, chooser)) for t in others}
        seen = [one for one in history(trials, study.directions) if one.params]
        running = [dict(t.params) for t in others if t.state is TrialState.RUNNING]
        choice = chooser.choose(seen, tried, running)
        if choice is None:
            return {}
        self.promise = choice.promise
        return dict(choice.params)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        self._random.reseed_rng()

    def _made(self, study: Study, search_space: Mapping[str, BaseDistribution]) -> Chooser:
        """The chooser of this study, made anew where its search space has changed."""
        if self._candidates is None:
            made = {name: _parameter(distribution) for name, distribution in search_space.items()}
            parameters = {name: parameter for name, parameter in made.items() if parameter is not None}
            if self._chooser is None or self._chooser.candidates.parameters != parameters:
                self._chooser = self._chooser_of(study, Candidates(parameters, seed=self._seed))
        elif self._chooser is None:
            self._chooser = self._chooser_of(study, self._candidates)
        assert self._chooser is not None
        return self._chooser

    def _chooser_of(self, study: Study, candidates: Candidates) -> Chooser:
        return Chooser(
            candidates,
            self._prior,
            signs=[1 if d is StudyDirection.MAXIMIZE else -1 for d in study.directions],
            metrics=study.metric_names or [f"value_{i}" for i in range(len(study.directions))],
            seed=self._seed,
            earlier=self._earlier,
            tell=self._tell,
            without=self._without,
        )


def _within(params: Params, chooser: Chooser) -> Params:
    return {name: value for name, value in params.items() if name in chooser.candidates.parameters}


def _parameter(of: BaseDistribution) -> Parameter | None:
    """None for what is no parameter of tuner's, such as a choice that is None or a range that is too wide: Optuna draws it."""
    try:
        if isinstance(of, IntDistribution):
            return Int(type="int", low=of.low, high=of.high, log=of.log, step=None if of.log else of.step)
        if isinstance(of, FloatDistribution):
            return Float(type="float", low=of.low, high=of.high, log=of.log, step=of.step)
        if isinstance(of, CategoricalDistribution) and None not in of.choices:
            return Categorical(type="categorical", choices=tuple(choice for choice in of.choices if choice is not None))
    except ValidationError:
        pass
    return None
