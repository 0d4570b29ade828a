"""Finalists and the defaults in, launch after launch; who is launched next, and in the end the answer, out. Pure.

A contest is a race in rounds: whoever clearly misses an SLO, fails, or is behind drops out, the next of the shortlist takes the
place of one that failed, and rounds go on until the question is decided. There are two questions: whether a finalist meets the
SLOs (repeats.py, the same rule for every side), and whether it is better than the defaults (gain.py).

The leader is the first finalist of the shortlist, which the search has ordered, so that its launches here are not the ones that
chose it. The user's own settings are launched in every round, finalists or not, and take its place when they are clearly
ahead. Of one pair only one hypothesis is tested, but at several looks: each look has a level of its own (`level_of`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean

from tuner.decide.gain import LEAST_GAIN, Enough, Gain, enough, gain
from tuner.decide.harm import MAX_LOSS, Harm, Judged, judged
from tuner.decide.objective import Objective
from tuner.decide.repeats import LEAST_LAUNCHES, Bound, bound, noise
from tuner.decide.shortlist import Candidate, is_near, slo_error
from tuner.decide.slo import Slo
from tuner.types import Failed, LoadMetrics, Measured, Outcome, Trial
from tuner.types.quality import Quality

FINALISTS = 3
#: So many settings of a shortlist are launched again at the most.
MOST_CANDIDATES = 8
#: From so many launches of each on, a leader that shows no gain is not launched any more.
_FUTILE = 3
#: What a look may claim by chance: the first ones of a contest; each further one has half of the one before. All together are
#: below 5 %, and looks at the same launches agree mostly: `make bench-truth` shows less than 5 %.
_LEVELS = (0.005, 0.02, 0.011, 0.008)
ERROR_OF_ALL_LOOKS = 0.05
#: A finalist is clearly ahead of another at this level; no claim depends on it.
_AHEAD = 0.05


def level_of(look: int) -> float:
    """The level of the test at look 1, 2, ... of a study, over all its contests."""
    return _LEVELS[look - 1] if look <= len(_LEVELS) else _LEVELS[-1] / 2.0 ** (look - len(_LEVELS))


class Standing(StrEnum):
    """Where a side is in the race."""

    RACING = "racing"
    MISSES = "misses an SLO"
    OPEN = "not shown to meet the SLOs"
    FAILED = "failed"
    BEHIND = "behind another finalist"
    IN_DOUBT = "less likely than not to meet the SLOs"
    HARMED = "loses quality"


@dataclass(slots=True)
class Side:
    """A setting in the race, with its launches."""

    trial: Trial
    outcomes: list[Outcome] = field(default_factory=list)
    standing: Standing = Standing.RACING

    @property
    def measured(self) -> list[Measured]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, Measured)]

    @property
    def loads(self) -> list[LoadMetrics]:
        return [measured.load for measured in self.measured]

    @property
    def qualities(self) -> list[Quality]:
        """What its launches answered, where they were asked."""
        return [measured.quality for measured in self.measured if measured.quality is not None]

    @property
    def failure(self) -> Failed | None:
        return next((outcome for outcome in self.outcomes if isinstance(outcome, Failed)), None)

    def values(self, objective: Objective) -> list[float]:
        """The objective of each launch that has one."""
        return [value for one in self.measured if (value := objective.value(one)) is not None]


def bounds_of(sides: Sequence[Side], slos: Sequence[Slo]) -> dict[int, Bound]:
    """What the launches of each side say of its SLOs, by its trial's number; how noisy a launch is is pooled over all."""
    loads, noises = [side.loads for side in sides], []
    for slo in slos:
        told = [error for side in loads for load in side if (error := slo_error(load, slo)) is not None]
        noises.append(noise(loads, slo, fmean(told) if told else None))
    return {side.trial.number: bound(side.loads, slos, noises) for side in sides}


def judge(side: Side, found: Bound, rounds: int, *, may_wait: bool) -> None:
    """At the end of a round: whether the side drops out for its SLOs, for good after `rounds` launches."""
    if side.standing is not Standing.RACING:
        return
    if found is Bound.MISSES:
        side.standing = Standing.MISSES
    elif found is not Bound.MEETS and len(side.outcomes) >= rounds:
        side.standing = Standing.OPEN
    elif found is Bound.IN_DOUBT and may_wait:
        side.standing = Standing.IN_DOUBT


class Race:
    """What contests of one objective and of several have in common: sides that are launched in rounds. What a round says, and
    who is due in the next one, is the contest's own (`_judge`, `_next_round`). Of the NLL a side may lose `max_loss`."""

    defaults: Side | None
    finalists: list[Side]
    hand: list[Side]
    _due: list[Side]
    max_loss: float = MAX_LOSS

    @property
    def due(self) -> list[Trial]:
        """What is still to be launched in this round, in order; empty when the contest is over."""
        return [side.trial for side in self._due]

    def launches_of(self, trial: Trial) -> int:
        """How often it was launched in this contest."""
        return next(len(side.outcomes) for side in self._sides() if side.trial.number == trial.number)

    @property
    def is_against_the_defaults(self) -> bool:
        """Whether there are defaults to be better than: launched, and not known to miss an SLO."""
        return self.defaults is not None and self.defaults.standing is Standing.RACING

    def take(self, number: int, outcome: Outcome) -> None:
        """What came of a launch that was due; another one is heeded, too (a stored contest of an older tuner)."""
        side = next((side for side in self._sides() if side.trial.number == number), None)
        if side is None:
            return
        side.outcomes.append(outcome)
        if isinstance(outcome, Failed):
            side.standing = Standing.FAILED
        self._due = [due for due in self._due if due is not side]
        if not self._due:
            self._drop_harmed()
            self._judge()
            self._next_round()

    def harm_of(self, side: Side) -> Judged | None:
        """What its answers say against those of the defaults; None where it was not asked."""
        return judged(self.defaults.qualities if self.defaults else [], side.qualities, self.max_loss)

    @property
    def quality(self) -> dict[int, Judged]:
        """The same of all finalists that were asked, by their trials' numbers."""
        return {side.trial.number: found for side in self.finalists if (found := self.harm_of(side)) is not None}

    def _drop_harmed(self) -> None:
        """At the end of a round, before anything is decided: whoever is shown to lose more than is allowed drops out."""
        for side in self._racing():
            if (found := self.harm_of(side)) is not None and found.harm is Harm.LOSES:
                side.standing = Standing.HARMED

    def _sides(self) -> list[Side]:
        known = [*([self.defaults] if self.defaults else []), *self.finalists]
        return [*known, *(side for side in self.hand if all(side is not one for one in known))]

    def _racing(self) -> list[Side]:
        return [side for side in self.finalists if side.standing is Standing.RACING]

    def _judge(self) -> None:
        raise NotImplementedError

    def _next_round(self) -> None:
        raise NotImplementedError


class Contest(Race):
    """One race. `defaults` is None where they were not measured, or so far from an SLO that they need not be launched. `hand`
    are the trials of the user's own settings.
    `rounds` is how often a side is launched at most, `looks` how many looks earlier contests of the study had. One that
    `is_cut_short` is decided only because no side may be launched more often."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        defaults: Trial | None,
        objective: Objective,
        slos: Sequence[Slo],
        *,
        rounds: int,
        looks: int = 0,
        hand: Sequence[Trial] = (),
    ) -> None:
        self._waiting = list(candidates[:MOST_CANDIDATES])
        self._objective, self._slos, self._rounds = objective, tuple(slos), rounds
        self.defaults = Side(defaults) if defaults is not None else None
        self.finalists: list[Side] = []
        self.hand = [Side(trial) for trial in hand]
        self.looks = looks
        self.gain: Gain | None = None
        self.level: float | None = None
        self.is_decided = self.is_cut_short = False
        self.round = 0
        self._due: list[Side] = []
        self._next_round()

    @property
    def leader(self) -> Side | None:
        """The first finalist that is still in the race; where none is left, the first of all."""
        racing = self._racing()
        return racing[0] if racing else next(iter(self.finalists), None)

    @property
    def enough(self) -> Enough | None:
        """How many launches of each would find a useful gain, where the contest was cut short of that."""
        if not self.is_cut_short or self.gain is None:
            return None
        return enough(self.gain, self._rounds, lambda launches: level_of(launches - LEAST_LAUNCHES + 1))

    def _judge(self) -> None:
        """At the end of a round: who has dropped out, and whether the leader is decided."""
        bounds = bounds_of(self._sides(), self._slos)
        for side in self._sides():
            judge(side, bounds[side.trial.number], self._rounds, may_wait=side is not self.defaults)
        self._compare_finalists()
        leader = next(iter(self._racing()), None)
        if leader is not None and bounds[leader.trial.number] is Bound.MEETS:
            self._decide(leader, bounds)

    def _compare_finalists(self) -> None:
        """Others stay only while they may become the leader: those that are not ahead of it wait, and the leader waits when
        another is clearly ahead of it."""
        racing = self._racing()
        others = [*racing[1:], *(side for side in self.hand if self._may_lead(side) and side not in racing)]
        if not racing or not others:
            return
        leader, values = racing[0], {id(side): side.values(self._objective) for side in (racing[0], *others)}
        for other in others:
            if other is leader or not values[id(other)] or not values[id(leader)]:
                continue
            found = gain(self._objective, values[id(leader)], values[id(other)], _AHEAD)
            if found.is_better(_AHEAD):
                leader.standing, other.standing = Standing.BEHIND, Standing.RACING
                self.finalists = [other, *(side for side in self.finalists if side is not other)]
                return
            if found.gain <= 0 and other in racing:
                other.standing = Standing.BEHIND

    def _decide(self, leader: Side, bounds: Mapping[int, Bound]) -> None:
        """The leader meets the SLOs. Defaults of which that is not known yet are waited for."""
        if self.defaults is None or not self.is_against_the_defaults:
            self.is_decided = len(leader.outcomes) >= LEAST_LAUNCHES
            return
        if bounds[self.defaults.trial.number] is not Bound.MEETS:
            return
        base, values = self.defaults.values(self._objective), leader.values(self._objective)
        if min(len(base), len(values)) < LEAST_LAUNCHES:
            return
        self.looks += 1
        self.level = level_of(self.looks)
        self.gain = gain(self._objective, base, values, self.level)
        hopeless = self.gain.is_worse(_AHEAD) or (
            min(len(base), len(values)) >= _FUTILE and self.gain.gain < LEAST_GAIN
        )
        found = self.gain.is_better(self.level) or hopeless
        self.is_cut_short = not found and len(values) >= self._rounds
        self.is_decided = found or self.is_cut_short

    def _next_round(self) -> None:
        if self.is_decided:
            self._due = []
            return
        self._fill()
        self.round += 1
        racing = self._racing()
        against = [self.defaults] if racing and self.defaults is not None and self.is_against_the_defaults else []
        hand = [side for side in self.hand if racing and side not in racing and self._may_lead(side)]
        due = [side for side in (*racing, *hand, *against) if len(side.outcomes) < self._rounds]
        self._due = due if self.round % 2 else due[::-1]

    def _fill(self) -> None:
        """A place is free when no finalist is left: first for those that were only behind, then for the next of the shortlist
        and those that may well be as good, in the end for those in doubt, the least launched first."""
        if self._racing() or self._is_back(Standing.BEHIND):
            return
        if not self._waiting:
            self._is_back(Standing.IN_DOUBT)
            return
        first = self._waiting[0]
        near = [other for other in self._waiting[1:] if is_near(other, first, self._objective)]
        for candidate in [first, *near][:FINALISTS]:
            self._waiting.remove(candidate)
            known = next((side for side in self.hand if side.trial.number == candidate.trial.number), None)
            self.finalists.append(known or Side(candidate.trial))

    def _may_lead(self, side: Side) -> bool:
        """Whether it neither failed nor misses an SLO."""
        return side.standing in (Standing.RACING, Standing.BEHIND)

    def _is_back(self, standing: Standing) -> bool:
        """Whether one that stood so is in the race again."""
        parked = [side for side in self.finalists if side.standing is standing]
        for side in sorted(parked, key=lambda side: len(side.outcomes))[:1]:
            side.standing = Standing.RACING
        return bool(parked)
