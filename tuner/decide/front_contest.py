"""Points of a front and the defaults in, launch after launch; who is launched next, and what the new launches say, out. Pure.

As a contest of one objective (contest.py), but nobody drops out for being behind: each point is launched again until it is
known whether it meets the SLOs, and the one nearest to the utopia point until it is known whether it beats the defaults in
anything. Which one that is is chosen by these launches, and it may be better in any objective: so the level of each test is
shared among all points and objectives (Bonferroni).
"""

from collections.abc import Sequence
from dataclasses import replace
from math import exp, log, sqrt
from statistics import fmean

from tuner.decide.contest import Race, Side, Standing, bounds_of, judge, level_of
from tuner.decide.gain import LEAST_GAIN, Gain, gain
from tuner.decide.objective import Objective
from tuner.decide.pareto import FINALISTS, Place, Told, by_distance, launch_error
from tuner.decide.repeats import LEAST_LAUNCHES, PRIOR_FREEDOM, Bound
from tuner.decide.slo import Slo
from tuner.decide.student import value_at
from tuner.types import Trial

#: From so many launches of each on, a point that shows no gain is not launched any more.
_FUTILE = 3
_SMALLEST = 1e-9


class FrontContest(Race):
    """One race. `defaults` is None where they could not be launched. `rounds` is how often a side is launched at most, `looks`
    how many looks earlier contests of the study had."""

    def __init__(
        self,
        candidates: Sequence[Trial],
        defaults: Trial | None,
        objectives: Sequence[Objective],
        slos: Sequence[Slo],
        *,
        rounds: int,
        looks: int = 0,
        hand: Sequence[Trial] = (),
    ) -> None:
        self._objectives, self._slos, self._rounds = tuple(objectives), tuple(slos), rounds
        self.defaults = Side(defaults) if defaults is not None else None
        self.hand = [Side(trial) for trial in hand]
        own = {side.trial.number for side in self.hand}
        points = [Side(trial) for trial in candidates[:FINALISTS] if trial.number not in own]
        self.finalists = [*points, *self.hand]
        self.looks = looks
        self.level = level_of(1) / self._tests
        self.is_decided = False
        self.round = 0
        self._bounds: dict[int, Bound] = {}
        self._due: list[Side] = []
        self._next_round()

    @property
    def verified(self) -> list[Side]:
        """The points that were launched often enough, and meet every SLO."""
        return [side for side in self.finalists if self.is_known(side)]

    @property
    def leader(self) -> Side | None:
        """Of the points that are in the race the one nearest to the utopia point; where none is left, the first of all."""
        racing = self._racing()
        placed = {side.trial.number: place for side in racing if (place := self.place(side)) is not None}
        against = self.place(self.defaults) if self.defaults and self.is_against_the_defaults else None
        if ordered := by_distance([*placed.values()], self._objectives, against):
            return next(side for side in racing if side.trial is ordered[0].trial)
        return next(iter(racing or self.finalists), None)

    def place(self, side: Side) -> Place | None:
        """Where its new launches lie; None before it has a value of each objective."""
        values = [side.values(objective) for objective in self._objectives]
        if not all(values):
            return None
        errors = [
            self._error(objective)[0] / sqrt(len(own)) for objective, own in zip(self._objectives, values, strict=True)
        ]
        return Place(side.trial, tuple(map(fmean, values)), tuple(errors))

    def gains(self, side: Side) -> tuple[Gain, ...] | None:
        """Over the defaults, in each objective; None where a side of the comparison has no value."""
        if self.defaults is None or not self.is_against_the_defaults:
            return None
        pairs = [(self.defaults.values(objective), side.values(objective)) for objective in self._objectives]
        if not all(base and own for base, own in pairs):
            return None
        of_all = zip(self._objectives, pairs, strict=True)
        return tuple(gain(objective, base, own, self.level) for objective, (base, own) in of_all)

    def told(self, side: Side) -> tuple[Told, ...]:
        """The means of its new launches and their gains over the defaults, with 95 % intervals (of logarithms)."""
        place, base = self.place(side), self._base(side)
        assert place is not None  # only what was measured is told
        found = []
        for at, (objective, value, error) in enumerate(zip(self._objectives, place.values, place.errors, strict=True)):
            quantile = value_at(0.975, self._error(objective)[1])
            told = Told(value=value, low=value / exp(quantile * error), high=value * exp(quantile * error))
            if base is not None and base.values[at] > 0 and value > 0:
                gained, half = objective.gain(value, base.values[at]), quantile * sqrt(error**2 + base.errors[at] ** 2)
                low, high = ((1 + gained) * exp(end) - 1 for end in (-half, half))
                told = replace(told, gain=gained, gain_low=low, gain_high=high)
            elif base is not None and objective.maximize:
                gained = objective.gain(value, base.values[at])
                told = replace(told, gain=gained, gain_low=gained, gain_high=gained)
            found.append(told)
        return tuple(found)

    def _base(self, side: Side) -> Place | None:
        """The defaults, where the side can be compared with them."""
        is_compared = self.defaults is not None and side is not self.defaults and self.is_against_the_defaults
        return self.place(self.defaults) if is_compared and self.defaults is not None else None

    @property
    def _tests(self) -> int:
        return max(1, len(self.finalists)) * len(self._objectives)

    def is_known(self, side: Side) -> bool:
        """Whether it was launched often enough and meets every SLO."""
        return (
            side.standing is Standing.RACING
            and len(side.outcomes) >= LEAST_LAUNCHES
            and self._bounds.get(side.trial.number) is Bound.MEETS
        )

    def _error(self, objective: Objective) -> tuple[float, float]:
        """The standard deviation of the logarithm among launches of the same settings, pooled over all sides and moderated by
        what the measurements themselves tell, and its degrees of freedom (as repeats.py)."""
        square, freedom, told = 0.0, 0, []
        for side in self._sides():
            told += [launch_error(objective, measured) for measured in side.measured]
            logs = [log(max(value, _SMALLEST)) for value in side.values(objective)]
            square += sum((value - fmean(logs)) ** 2 for value in logs) if logs else 0.0
            freedom += max(0, len(logs) - 1)
        known = PRIOR_FREEDOM + freedom
        return sqrt((PRIOR_FREEDOM * fmean(told) ** 2 + square) / known), known

    def _judge(self) -> None:
        """At the end of a round: who misses an SLO, and whether all that is asked is known."""
        self._bounds = bounds_of(self._sides(), self._slos)
        for side in self._sides():
            judge(side, self._bounds[side.trial.number], self._rounds, may_wait=False)
        if self._unknown():
            return
        leader = self.leader
        gains = self.gains(leader) if leader and leader in self.verified else None
        if leader is None or gains is None or self.defaults is None:
            self.is_decided = True
            return
        self.looks += 1
        self.level = level_of(self.looks) / self._tests
        launches = min(len(leader.outcomes), len(self.defaults.outcomes))
        futile = launches >= _FUTILE and all(one.gain < LEAST_GAIN for one in gains)
        found = any(one.is_better(self.level) for one in gains)
        self.is_decided = found or futile or launches >= self._rounds

    def _unknown(self) -> list[Side]:
        """Who is in the race and has still to show that it meets the SLOs."""
        racing = [side for side in self._sides() if side.standing is Standing.RACING]
        return [side for side in racing if not self.is_known(side)]

    def _next_round(self) -> None:
        if self.is_decided:
            return
        self.round += 1
        needed, racing = [*self._unknown(), self.leader, *self.hand, self.defaults], self._racing()
        against = [self.defaults] if racing and self.defaults is not None and self.is_against_the_defaults else []
        due = [
            side
            for side in (*racing, *against)
            if any(side is one for one in needed) and len(side.outcomes) < self._rounds
        ]
        self._due = due if self.round % 2 else due[::-1]
