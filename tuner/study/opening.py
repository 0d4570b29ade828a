"""A search space with its groups, finished trials and what a sampler still promises in; which parameters wait, which group is
searched next, why, and which remedy is tried first in it, out. Pure.

The groups that a space opens by itself are searched first; of the others, one by one, those that move what limits the best
settings so far: by the diagnosis of its measurement (docs/diagnosis.md), else by its prediction. A group that moves nothing
that limits waits for ever. It does not know how points are chosen.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

from tuner.decide.objective import Objective
from tuner.decide.rank import best, defaults_of
from tuner.diagnose.card import card_thresholds
from tuner.diagnose.causes import Cause
from tuner.diagnose.diagnosing import remedies_of
from tuner.diagnose.diagnosis import Remedy
from tuner.diagnose.judged import Attempt
from tuner.diagnose.table import begins_so
from tuner.diagnose.trials import diagnosis_of, settings_of
from tuner.predict.advise.limits import CAUSES, Bottleneck
from tuner.space.parameters import meant, meeting
from tuner.space.search_space import SearchSpace
from tuner.space.speculation import is_of_speculation
from tuner.types import Measured, Params, Trial, Value, Workload

#: Below this promise what is open is searched through.
ENOUGH = 0.01
#: Launches that say little of what limits: the defaults and a design. So many are due to each group before another is opened
#: for what limits alone.
_DESIGN, _EACH = 4, 3
#: Few sequences at once, prompts that return.
_FEW, _RETURN = 32, 0.05

#: What is predicted to limit settings, and the numbers that say so; None where nothing is.
Limits = Callable[[Params], tuple[Bottleneck, str] | None]
#: The relative gain that is predicted for the second settings over the first; None where nothing is.
Gain = Callable[[Params, Params], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """`why` is a sentence for who watches. `attempt` is the remedy to be tried by itself, None where it has no known value."""

    group: str
    why: str
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What holds the incumbent back, in words, and what moves it, the likeliest first. A remedy is worth a launch of its own
    where this is predicted of it; None: or nothing, and no loss, for the cause was measured."""

    cause: Cause
    told: str
    remedies: tuple[Remedy, ...]
    least_gain: float | None = None


class Opening:
    """Of one run of a study, over the space as the user chose its groups."""

    def __init__(
        self,
        space: SearchSpace,
        objective: Objective,
        limits: Limits = lambda params: None,
        workload: Workload | None = None,
        gain: Gain = lambda usual, params: None,
    ) -> None:
        self._space, self._objective, self._limits = space, objective, limits
        self._workload, self._gain, self._card = workload, gain, card_thresholds(space.gpu)
        groups = dict.fromkeys(parameter.group for parameter in space.parameters.values() if parameter.group)
        closed = [name for name in groups if name in space.groups and not space.groups[name].open]
        self._closed = closed if len(closed) < len({parameter.group for parameter in space.parameters.values()}) else []
        self._since = 0

    @property
    def frozen(self) -> frozenset[str]:
        """The parameters that stay at the defaults for now."""
        return frozenset(name for group in self._closed for name in self._of(group))

    def first(self, finished: Sequence[Trial] = ()) -> frozenset[str]:
        """Those that are frozen when a study begins, or goes on after these trials: a group that was searched stays open."""
        usual = defaults_of(finished)
        enqueued = [dict(point) for point in self._space.enqueue]
        for trial in finished:
            if usual is None or trial.is_default or any(point.items() <= trial.params.items() for point in enqueued):
                continue
            moved = {name for name, value in trial.params.items() if self._is_moved(name, value, usual.params)}
            self._closed = [group for group in self._closed if not moved.intersection(self._of(group))]
        self._since = sum(trial.attempts > 0 for trial in finished)
        return self.frozen

    def _is_moved(self, name: str, value: Value, usual: Params) -> bool:
        """Whether it is neither the default nor what stands for that in the space."""
        if name not in usual or name not in self._space.parameters:
            return False
        return value not in (usual[name], self._space.parameters[name].nearest(usual[name]))

    def next(self, finished: Sequence[Trial], promise: float | None) -> Opened | None:
        """The group that is opened now; None where what is open is not searched through, or no other would help."""
        launched = sum(trial.attempts > 0 for trial in finished)
        incumbent = best(finished, self._objective)
        if not self._closed or incumbent is None or launched < _DESIGN:
            return None
        exhausted = promise is not None and promise < ENOUGH
        if not exhausted and launched - self._since < _EACH:
            return None
        for held in self._held_back(incumbent):
            for group in self._moving(held, incumbent):
                attempt = self._attempt(held, group, incumbent)
                self._closed.remove(group)
                self._since = launched
                about = self._space.groups[group].about
                told = f"what holds trial {incumbent.number} back is {held.told}"
                return Opened(group=group, why=f"{group} ({about}) is searched from here on; {told}", attempt=attempt)
        return None

    def _held_back(self, incumbent: Trial) -> Iterator[_Held]:
        """What limits it, as measured, then as predicted. What is less sure than that nothing does is left out."""
        seen = set[Cause]()
        found = diagnosis_of(incumbent, self._workload, card=self._card)
        for finding in found.findings if found is not None else ():
            if finding.cause is Cause.THROTTLED:  # nothing of the server moves it, and the rest is as true
                continue
            if not finding.remedies:
                break
            seen.add(finding.cause)
            told = f"{finding.cause}: {'; '.join(finding.evidence)}"
            yield _Held(cause=finding.cause, told=told, remedies=finding.remedies)
        if (predicted := self._limits(incumbent.params)) is None:
            return
        for cause in CAUSES.get(predicted[0], ()):
            if cause not in seen:
                told = f"the {predicted[0]}, predicted: {predicted[1]}"
                remedies = remedies_of(cause, settings_of(incumbent))
                yield _Held(cause=cause, told=told, remedies=remedies, least_gain=ENOUGH)

    def _moving(self, held: _Held, incumbent: Trial) -> Iterator[str]:
        """The closed groups that move it, the likeliest first."""
        for remedy in held.remedies:
            for group in self._closed:
                if self._moves(remedy, group, incumbent):
                    yield group

    def _moves(self, remedy: Remedy, group: str, incumbent: Trial) -> bool:
        return any(name == remedy.name and self._counts(name, incumbent) for name in self._of(group))

    def _attempt(self, held: _Held, group: str, incumbent: Trial) -> Attempt | None:
        """Of the remedies in the group the one that is predicted to gain most, else the likeliest."""
        remedies = (remedy for remedy in held.remedies if self._moves(remedy, group, incumbent))
        found = [one for remedy in remedies if (one := self._with(held, remedy, incumbent)) is not None]
        return max(found, key=lambda one: -inf if one.remedy.gain is None else one.remedy.gain, default=None)

    def _with(self, held: _Held, remedy: Remedy, incumbent: Trial) -> Attempt | None:
        """The incumbent with the remedy alone; None where the space has no such value, or too little is predicted of it."""
        name, wanted = remedy.name, remedy.value
        if wanted is None:
            return None
        parameter, current = self._space.parameters[name], incumbent.params.get(name)
        if (value := meant(parameter, wanted, current, begins=begins_so(name, wanted))) is None:
            return None
        moved = {**incumbent.params, name: value}
        counted = self._space.active(moved)
        point = {name: setting for name, setting in moved.items() if name in counted}
        gain = self._gain(incumbent.params, point)
        worth = held.least_gain is None if gain is None else gain >= (held.least_gain or 0.0)
        if not worth:
            return None
        return Attempt(cause=held.cause, remedy=replace(remedy, value=value, gain=gain), trial=incumbent, params=point)

    def _counts(self, name: str, incumbent: Trial) -> bool:
        """Whether it can do something beside the settings that are best, for the load that there is."""
        assert isinstance(incumbent.outcome, Measured)
        server, point = incumbent.outcome.server, {**self._space.fixed, **incumbent.params}
        if is_of_speculation(name):
            return server is not None and server.running_mean is not None and server.running_mean <= _FEW
        if name == "kv_offloading_size":
            queries, hits = (server.prefix_cache_queries, server.prefix_cache_hits) if server else (None, None)
            return queries is not None and hits is not None and hits >= max(_RETURN * queries, 1)
        when = self._space.parameters[name].when
        return all(point.get(other) in meeting(value) for other, value in when.items())

    def _of(self, group: str) -> Collection[str]:
        return [name for name, parameter in self._space.parameters.items() if parameter.group == group]
