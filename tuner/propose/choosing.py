"""What was launched and what is expected in; the next point out. It knows neither Optuna nor databases.

First a design (tuner.propose.design), then expected improvement over what the surrogates believe. An expectation that does not
explain what was measured is dropped, and the user told.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from math import expm1

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tuner.propose import design
from tuner.propose.acquisition import below, expected_improvement, launch_s
from tuner.propose.candidates import Candidates, Key, key_of
from tuner.propose.encoding import Encoding
from tuner.propose.feasibility import chances
from tuner.propose.history import Seen
from tuner.propose.models import Models, fitted, no_help
from tuner.propose.prior import Earlier, Prior
from tuner.propose.subset import subset
from tuner.propose.surrogate import Vector
from tuner.propose.view import Looking, View
from tuner.types import Params

#: Points beside the best that are looked at: at the beginning, in so many rounds at the most, and with each proposal.
_CLIMB, _ROUNDS, _NEAR = 40, 4, 10
#: So many of them are remembered, the last ones.
_REMEMBERED = 2_000
#: By how much, in a logarithm, a latency may be off where only an expectation speaks.
_SLO_UNSURE = 0.3
#: A point that starts with this chance is as good as any where nothing else is known.
_LIKELY = 0.5
_NOTHING = 1e-300
#: Points that are expected to be this near to the best, in a logarithm, are as good: a prediction is no finer.
_AS_GOOD = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """`promise` is the gain that is expected of it over the best so far (0.01 is 1 %), failures and misses counted as none.
    None while the design is launched, and where nothing feasible was found yet."""

    params: Params
    promise: float | None = None


class Chooser:
    """Of one space. `without` names parts that are left out, to see what they are worth (benchmarks/search)."""

    def __init__(
        self,
        candidates: Candidates,
        prior: Prior | None = None,
        *,
        signs: Sequence[int] = (1,),
        metrics: Sequence[str] = ("value",),
        seed: int = 0,
        earlier: Sequence[Earlier] = (),
        tell: Callable[[str], None] = lambda text: None,
        without: Collection[str] = (),
    ) -> None:
        """`signs` are 1 for an objective that is maximized, else -1, `metrics` their names."""
        self.candidates, self._signs, self._metrics = candidates, tuple(signs), tuple(metrics)
        self._prior = None if "prior" in without else prior
        self._seed, self._earlier, self._tell, self._without = seed, tuple(earlier), tell, frozenset(without)
        self._beside: dict[Key, Params] = {}
        #: Whether the prior was dropped.
        self.dropped = False

    def choose(self, seen: Sequence[Seen], tried: Collection[Key], running: Sequence[Params] = ()) -> Choice | None:
        """None where every candidate that may start was tried; what was `tried` need not have been launched. Nothing that is
        `running` is chosen again."""
        with threadpool_limits(limits=1, user_api="blas"):  # the matrices are small: threads would wait for each other
            return _Turn(self, seen, {*tried, *map(key_of, running)}, running).choice()

    def looking(self, turn: int) -> Looking:
        """With another mixture of several objectives each turn, so that all of a front is looked for (Knowles 2006, ParEGO)."""
        count = len(self._signs)
        weights = [1 / count] * count
        if count > 1 and turn > design.STEPS:
            weights = list(map(float, np.random.default_rng([self._seed, turn]).dirichlet(np.ones(count))))
        return Looking(
            encoding=Encoding(self.candidates.parameters),
            prior=self._prior,
            signs=self._signs,
            metrics=self._metrics,
            weights=tuple(weights),
        )

    def untried(self, tried: Collection[Key]) -> list[Params]:
        """Candidates, and what was looked at beside them."""
        every = {**{key_of(point): point for point in self.candidates.points}, **self._beside}
        return [point for key, point in every.items() if key not in tried]

    def beside(
        self, centers: Sequence[Params], most: int, seed: int, known: Collection[Key], launched: Sequence[Params] = ()
    ) -> list[Params]:
        """Points near these that are not known yet, and halfway between those of them that were `launched`; remembered for the
        next proposals."""
        found = [point for center in centers for point in self.candidates.near(center, most, seed, launched)]
        near = {key_of(point): point for point in found}
        new = {key: point for key, point in near.items() if key not in known}
        self._beside = dict([*(self._beside | new).items()][-_REMEMBERED:])
        return list(new.values())

    def models(self, looking: Looking, seen: Sequence[Seen], running: Sequence[Params] = ()) -> Models:
        """Fitted to what was measured; the user is told when the prior is dropped."""
        found = fitted(looking, seen, self._earlier, running, dropped=self.dropped)
        if found.known.trend is not None and not found.believed and not self.dropped:
            self.dropped = True
            self._tell(no_help(found.known.trend, [one.score(looking.weights) for one in seen]))
        return found

    def leaves_out(self, part: str) -> bool:
        return part in self._without

    def rng(self, turn: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, turn, 1])


class _Turn:
    """One choice."""

    def __init__(
        self, chooser: Chooser, seen: Sequence[Seen], tried: Collection[Key], running: Sequence[Params]
    ) -> None:
        self._chooser, self._seen, self._tried, self._running = chooser, seen, tried, running
        self._measured = [one for one in seen if one.measured]
        #: What was measured, and what will be: the steps of the design.
        self._launched = [*(one.params for one in self._measured), *running]
        self._turn = len(seen) + len(running)
        self._looking = chooser.looking(self._turn)

    def choice(self) -> Choice | None:
        view = self._at(self._chooser.untried(self._tried))
        if not view.points:
            launched = self._centers()
            view = self._at(self._chooser.beside(launched, _CLIMB, 0, self._tried, launched))
        if not view.points:
            return None
        step = len(self._launched) - 1  # the defaults are no step
        says_something = view.says_something and not self._chooser.dropped
        if says_something and self._chooser.leaves_out("residual"):
            return self._first(view)
        if says_something and step < design.STEPS and (step <= 0 or self._is_to_be_tested()):
            return self._designed(view, step)
        if not self._measured or (view.trend is None and step < design.STEPS_WITHOUT):
            return self._far(view)
        return self._improving(view)

    def _is_to_be_tested(self) -> bool:
        trend = self._looking.at(self._launched).trend
        if self._chooser.leaves_out("contrast") or trend is None:
            return False
        return design.is_to_be_tested(trend, [one.score(self._looking.weights) for one in self._measured])

    def _at(self, points: Sequence[Params]) -> View:
        """Without those that surely do not start."""
        view = self._looking.at(points)
        if self._chooser.leaves_out("feasibility"):
            return replace(view, starts=np.ones(len(points)))
        return view if (view.starts > 0).all() else view.only(view.starts > 0)

    def _starts(self, view: View) -> Vector:
        found = chances(view.points, self._looking.encoding, self._seen, view.starts, self._running)
        return np.maximum(found, _NOTHING)

    def _centers(self) -> list[Params]:
        """All that was launched."""
        return [*(one.params for one in self._seen), *self._running]

    def _first(self, view: View) -> Choice:
        """The best that is expected; of those that are as good the one with the fewest settings changed."""
        utility = self._utility(view)
        good = np.flatnonzero(utility >= utility.max() - _AS_GOOD)
        changed = [self._chooser.candidates.changed(view.points[i]) for i in good]
        return Choice(params=view.points[min(zip(changed, -utility[good], good, strict=True))[2]])

    def _far(self, view: View) -> Choice:
        """No model prefers a point: one that an expert would launch, else one that is far from all others."""
        for point in self._chooser.candidates.wished:
            if key_of(point) not in self._tried:
                return Choice(params=point)
        starts, launched = self._starts(view), self._looking.encoding.encode(self._centers())
        possible = [int(i) for i in np.flatnonzero(starts >= min(_LIKELY, float(starts.max())))]
        rng = self._chooser.rng(len(self._tried))
        return Choice(params=view.points[design.farthest(view.x, launched, possible, rng)])

    def _utility(self, view: View) -> Vector:
        """What is expected of each point before anything was learned, less what may go wrong."""
        assert view.trend is not None
        found = view.trend + np.log(self._starts(view))
        for values in view.slos.values():
            found = found + np.log(np.maximum(below(values, np.full(len(values), _SLO_UNSURE)), _NOTHING))
        return found

    def _designed(self, view: View, step: int) -> Choice:
        if step <= 0:
            return self._first(self._climbed(view))
        assert view.trend is not None
        utility, encoding = self._utility(view), self._looking.encoding
        launched = self._launched
        if step == 1:
            groups = {name: p.group for name, p in self._chooser.candidates.parameters.items() if p.group is not None}
            return Choice(params=view.points[design.second(view.points, utility, encoding, groups, launched)])
        chosen = design.contrast(view.points, view.x, view.trend, utility, encoding, launched)
        return Choice(params=view.points[chosen])

    def _climbed(self, view: View) -> View:
        """With points beside the best one, as long as they are better."""
        for number in range(_ROUNDS):
            utility = self._utility(view)
            top = int(utility.argmax())
            view = self._wider(view, [view.points[top]], _CLIMB, number)
            if float(self._utility(view).max()) <= float(utility[top]):
                break
        return view

    def _wider(self, view: View, centers: Sequence[Params], most: int, seed: int) -> View:
        known = {*map(key_of, view.points), *self._tried}
        launched = self._centers() if view.trend is None else ()
        new = self._chooser.beside(centers, most, seed, known, launched)
        return self._at([*view.points, *new]) if new else view

    def _improving(self, view: View) -> Choice:
        learned = self._learned()
        models = self._chooser.models(self._looking, learned, self._running)
        best = models.best()
        worth = self._worth(view, models, best, learned)
        centers = [view.points[int(worth.argmax())], *([best[0]] if best else [])]
        if (wider := self._wider(view, centers, _NEAR, self._turn)) is not view:
            view = wider
            worth = self._worth(view, models, best, learned)
        top = np.arange(len(view.points)) == worth.argmax()
        return Choice(params=view.points[int(worth.argmax())], promise=self._promise(view.only(top), models))

    def _learned(self) -> list[Seen]:
        """What the surrogates are fitted to."""
        score = np.array([one.score(self._looking.weights) for one in self._measured])
        exact = np.array([not one.bound for one in self._measured])
        x = self._looking.encoding.encode([one.params for one in self._measured])
        return [self._measured[i] for i in subset(x, score, exact)]

    def _worth(self, view: View, models: Models, best: tuple[Params, float] | None, learned: Sequence[Seen]) -> Vector:
        """What launching each point is worth, a logarithm: the gain over the best, or the chance where there is none yet, for
        each second."""
        chance = self._starts(view) * np.maximum(models.feasible(view), _NOTHING)
        gain = chance if best is None else expected_improvement(*models.predict(view), best[1]) * chance
        worth: Vector = np.log(np.maximum(gain, _NOTHING)) - np.log(self._cost_s(view, models, learned))
        return worth

    def _promise(self, view: View, models: Models) -> float | None:
        """Of one point over the best that was measured."""
        if (best := models.best_measured()) is None:
            return None
        chance = self._starts(view) * np.maximum(models.feasible(view), _NOTHING)
        return expm1(float((expected_improvement(*models.predict(view), best[1]) * chance)[0]))

    def _cost_s(self, view: View, models: Models, learned: Sequence[Seen]) -> Vector:
        if self._chooser.leaves_out("order"):
            return np.ones(len(view.points))
        return launch_s(view.keys, learned, models.known.keys)
