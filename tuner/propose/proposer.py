"""The trials of a study in, the next settings to launch out.

The sampler is an Optuna sampler, and asked in a study in memory that is made of the trials each time: what breaks a rule or was
tried before is thrown away there, and asked for again. It knows no database and no launches.
"""

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from tuner.propose.candidates import Candidates, Key, key_of
from tuner.propose.completion import completed, refusal
from tuner.propose.distributions import is_inside, searched
from tuner.propose.enumeration import check_finite, every_point, is_finite
from tuner.propose.prior import Earlier, Prior
from tuner.propose.samplers import HEEDLESS, OURS, drawing, ours
from tuner.propose.storage import quiet
from tuner.propose.told import Words, directions, told
from tuner.space.search_space import SearchSpace
from tuner.types import Params, Proposal, Trial, Value

#: How often a sampler may repeat what was tried, or break a rule, before a point is drawn from what is left.
REPEATS = 50
#: Even draws from a space that cannot be gone through, before nothing counts as left.
DRAWS = 2_000
#: Of a number on a grid: 0.91, where low and steps add up to 0.9099999999999999.
_DIGITS = 12


class Proposer:
    """Proposals for one study. `defaults` are the searched parameters as vLLM resolved them without any flag; `prior` is what
    is known of points before a launch, `earlier` what other studies found. `tell` is told what the user should know."""

    def __init__(
        self,
        space: SearchSpace,
        words: Words,
        *,
        defaults: Params,
        seed: int,
        sampler: str = "model",
        prior: Prior | None = None,
        earlier: Sequence[Earlier] = (),
        frozen: Collection[str] = (),
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Raises UsageError where a grid would have no end."""
        quiet()
        self._space, self._words, self._defaults, self._seed, self._name = space, words, defaults, seed, sampler
        if sampler == "grid":
            check_finite(space)
        self._enqueued = list(self._completed(tell))
        self._freeze(frozen)
        self._ours = ours(sampler, self._candidates, prior=prior, earlier=earlier, seed=seed, tell=tell)
        #: The gain that the sampler expects of what it proposed last; None where it did not propose it, or cannot say.
        self.promise: float | None = None
        #: Why nothing is left to propose, once that is so.
        self.ended = ""

    def freeze(self, names: Collection[str]) -> None:
        """From now on these parameters, and no others, stay as vLLM has them."""
        self._freeze(names)
        if self._ours is not None:
            self._ours.candidates = self._candidates

    def propose(
        self, trials: Sequence[Trial], wished: Params | None = None, running: Sequence[Proposal] = ()
    ) -> Proposal | None:
        """The next settings; None when nothing is left to try beside what was tried and is `running`, and `ended` says so.

        First vLLM's defaults, then what is wished, if it is new and can run, then the points that the space enqueues, which our
        own samplers choose themselves, then the sampler's.
        """
        self.promise = None
        begun: list[Trial | Proposal] = [*trials, *running]
        number = max((one.number for one in begun), default=-1) + 1
        if not begun:
            return Proposal(number=number, params=self._defaults, is_default=True)
        tried = {key_of(one.params) for one in begun}
        for params in self._points(trials, running, number, wished, tried):
            if key_of(params) not in tried and not self._space.violations(params):
                return Proposal(number=number, params=params)
            self.promise = None
        return None

    def _freeze(self, names: Collection[str]) -> None:
        parameters = self._space.parameters
        self._frozen = {n: parameters[n].nearest(self._defaults.get(n, parameters[n].example)) for n in names}
        self._every: list[Params] | None = None
        self._candidates = Candidates(
            parameters,
            is_legal=lambda params: not self._space.violations(params),
            active=self._space.active,
            defaults=self._defaults,
            seed=self._seed,
            frozen=names,
            wished=self._enqueued,
        )

    def _completed(self, tell: Callable[[str], None]) -> Iterator[Params]:
        for point in self._space.enqueue:
            if (whole := completed(self._space, point, self._defaults)) is not None:
                yield whole
            else:
                tell(refusal(self._space, point, self._defaults))

    def _points(
        self,
        trials: Sequence[Trial],
        running: Sequence[Proposal],
        number: int,
        wished: Params | None,
        tried: Collection[Key],
    ) -> Iterator[Params]:
        if wished and (whole := completed(self._space, wished, self._defaults)) is not None:
            yield whole
        if self._name not in OURS:
            yield from self._enqueued
        sampler = self._ours or drawing(self._name, self._seed, number)
        if sampler is not None:
            study = self._study(trials, running, sampler)
            for _ in range(REPEATS):
                params = self._sample(study)
                self.promise = self._ours.promise if self._ours is not None else None
                yield params
        self.promise = None
        yield from self._left(number, tried)

    def _study(
        self, trials: Sequence[Trial], running: Sequence[Proposal], sampler: optuna.samplers.BaseSampler
    ) -> optuna.Study:
        """In memory. Optuna's samplers are not told of a trial outside of what is searched: it would take its parameters out of
        those that they model together; and one that heeds no trial is told of none."""
        words = self._words
        study = optuna.create_study(directions=directions(words), sampler=sampler)
        study.set_metric_names([objective.metric for objective in words.objectives])
        if self._name in HEEDLESS:
            return study
        every = self._name in OURS
        known = [t for t in trials if every or is_inside(t.params, words.parameters)]
        begun = [p for p in running if every or is_inside(p.params, words.parameters)]
        study.add_trials(told(known, begun, words))
        return study

    def _sample(self, study: optuna.Study) -> Params:
        """Draw one point. The drawn trial is failed at once: samplers ignore failed trials."""
        trial = study.ask()
        params: dict[str, Value] = {}
        for name in self._space.parameters:
            if name in self._space.active(params):
                params[name] = self._frozen[name] if name in self._frozen else self._suggest(trial, name)
        study.tell(trial, state=TrialState.FAIL)
        return params

    def _suggest(self, trial: optuna.Trial, name: str) -> Value:
        of = searched(self._space.parameters[name])
        if isinstance(of, CategoricalDistribution):
            choice: Value = trial.suggest_categorical(name, of.choices)  # type: ignore[assignment]
            return choice
        if isinstance(of, IntDistribution):
            return trial.suggest_int(name, of.low, of.high, log=of.log, step=of.step)
        assert isinstance(of, FloatDistribution)
        drawn = trial.suggest_float(name, of.low, of.high, log=of.log, step=of.step)
        return drawn if of.step is None else round(drawn, _DIGITS)

    def _left(self, number: int, tried: Collection[Key]) -> Iterable[Params]:
        """What was not tried, evenly: all of it where that can be gone through."""
        opened = " of the groups that are open" if self._frozen else ""
        if is_finite(self._space, self._frozen):
            if self._every is None:
                self._every = every_point(self._space, self._frozen)
                random.Random(f"{self._seed}:order").shuffle(self._every)
            self.ended = f"every setting{opened} of the search space that can run has been tried"
            return [point for point in self._every if key_of(point) not in tried]
        self.ended = f"{DRAWS:,} draws found no setting{opened} that keeps the rules of the space and was not tried"
        even = optuna.create_study(sampler=drawing("random", self._seed, number))
        return (self._sample(even) for _ in range(DRAWS))
