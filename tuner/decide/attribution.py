"""A verified winner, and launches of it without one of its changed settings, in; what each setting brings, what is launched
next, and the winner without what brings nothing, out. Pure.

What differs is one setting alone, so its gain needs no model. All launches of a contest and of its explanation are taken to be
equally noisy (in their logarithms), whatever the settings: so a few launches of each tell as much as they can.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import expm1, log, sqrt
from statistics import fmean

from tuner.decide.ballast import NOTHING
from tuner.decide.gain import LEAST_GAIN, Gain
from tuner.decide.objective import Objective
from tuner.decide.repeats import LEAST_LAUNCHES, Bound, bound, noise
from tuner.decide.slo import Slo
from tuner.decide.student import share_below, value_at
from tuner.types import Failed, Measured, Outcome

#: Each is launched so often at the most, like a side of a contest.
_ROUNDS = 5
#: The last launches are kept for the winner without its ballast, where there are enough for every setting without them.
_KEPT = 3
#: The trimmed settings are worse than the winner, or no better than the defaults, at this level of a one-sided test.
LEVEL = 0.05


class Brings(StrEnum):
    """What is known of a changed setting."""

    GAIN = "brings"
    LOSS = "costs"
    NOTHING = "nothing seen"
    SAME = "the same to vLLM"
    NEEDED = "fails without it"
    REFUSED = "cannot be reset alone"
    UNKNOWN = "not launched"


@dataclass(frozen=True, slots=True, kw_only=True)
class Without:
    """The winner with the settings in `reset` as vLLM has them. `trial` is what is launched for it, the winner's where vLLM
    makes the same of both, None where that is not known yet; `why` it cannot be, None where it can. `also` are settings that
    vLLM then changes by itself."""

    reset: tuple[str, ...]
    trial: int | None = None
    why: str | None = None
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What the winner gains by a setting: relative, of the (geometric) means, with its 95 % interval; None where it was not
    launched without it, or the noise is not known. `launches` are those without it."""

    reset: tuple[str, ...]
    brings: Brings
    trial: int | None = None
    launches: int = 0
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Of trial `of`, which was launched `launches` times, in the metric of the first objective. `left_out` are the settings
    that bring nothing, `trimmed` is the trial without them, if that was launched; `is_recommended` says whether it holds what
    the winner does, `against` is its gain over the defaults."""

    of: int
    metric: str
    launches: int
    worths: tuple[Worth, ...]
    trimmed: int | None = None
    left_out: tuple[str, ...] = ()
    trimmed_launches: int = 0
    defaults_launches: int = 0
    is_recommended: bool = False
    against: Gain | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """All launches by trial, of the contest and for the explanation, and how many of each were made for the explanation. `of`
    is the winner, `defaults` None where they are no side."""

    of: int
    defaults: int | None
    outcomes: Mapping[int, Sequence[Outcome]]
    made: Mapping[int, int]

    def measured(self, trial: int | None) -> list[Measured]:
        found = self.outcomes.get(trial, ()) if trial is not None else ()
        return [one for one in found if isinstance(one, Measured)]

    def values(self, trial: int | None, objective: Objective) -> list[float]:
        return [value for one in self.measured(trial) if (value := objective.value(one)) is not None]

    def failure(self, trial: int | None) -> Failed | None:
        found = self.outcomes.get(trial, ()) if trial is not None else ()
        return next((one for one in found if isinstance(one, Failed)), None)


def worth(one: Without, launched: Launched, objective: Objective) -> Worth:
    """Of one setting."""
    if one.why is not None:
        return Worth(reset=one.reset, brings=Brings.REFUSED, why=one.why)
    if one.trial == launched.of:
        return Worth(reset=one.reset, brings=Brings.SAME, trial=one.trial)
    if (failed := launched.failure(one.trial)) is not None:
        why = f"{failed.kind.value}: {failed.message}"
        return Worth(reset=one.reset, brings=Brings.NEEDED, trial=one.trial, why=why, also=one.also)
    values = launched.values(one.trial, objective)
    if not values:
        return Worth(reset=one.reset, brings=Brings.UNKNOWN)
    found = gained(objective, launched, launched.of, one.trial)
    brings = Brings.NOTHING
    if found.low is not None and found.high is not None:
        if found.low > 0 and found.gain >= LEAST_GAIN:
            brings = Brings.GAIN
        elif found.high < 0 and found.gain <= -LEAST_GAIN:
            brings = Brings.LOSS
    else:
        brings = Brings.UNKNOWN
    return Worth(
        reset=one.reset,
        brings=brings,
        trial=one.trial,
        launches=len(values),
        gain=found.gain,
        low=found.low,
        high=found.high,
        also=one.also,
    )


def gained(objective: Objective, launched: Launched, better: int, base: int | None) -> Gain:
    """Of one trial over another, with the noise of all: Student's t of the logarithms. No interval without a degree of freedom
    or with a value of 0."""
    own, other = launched.values(better, objective), launched.values(base, objective)
    relative = objective.gain(fmean(own), fmean(other)) if own and other else 0.0
    every = [values for trial in launched.outcomes if (values := launched.values(trial, objective))]
    if not own or not other or any(value <= 0 for values in every for value in values):
        return Gain(gain=relative)
    logs = [[log(value) for value in values] for values in every]
    freedom = sum(len(values) - 1 for values in logs)
    if freedom < 1:
        return Gain(gain=relative)
    spread = sqrt(sum((value - fmean(values)) ** 2 for values in logs for value in values) / freedom)
    apart = (fmean(map(log, own)) - fmean(map(log, other))) * (1 if objective.maximize else -1)
    error = spread * sqrt(1 / len(own) + 1 / len(other))
    if error == 0:
        same = {"low": expm1(apart), "high": expm1(apart), "noise": 0.0}
        return Gain(gain=expm1(apart), p_better=float(apart <= 0), p_worse=float(apart >= 0), **same)
    half, p_better = value_at(0.975, freedom) * error, share_below(-apart / error, freedom)
    return Gain(
        gain=expm1(apart),
        low=expm1(apart - half),
        high=expm1(apart + half),
        noise=spread,
        p_better=p_better,
        p_worse=1 - p_better,
    )


def next_launch(without: Sequence[Without], launched: Launched, most: int) -> Without | int | None:
    """What is launched next for the explanation, of at most `most` launches: a setting reset, or the winner's number; None when
    all that is possible is done. Each round goes through all, in the other order than the one before."""
    left = most - sum(launched.made.values())
    tried = planned(without, launched, most)
    rounds = min(_ROUNDS, _for_settings(len(_able(without, launched)), most) // (len(tried) + 1)) if tried else 0
    order: list[Without | None] = [*tried, None]
    seen: dict[int | None, int] = {}
    for number in range(rounds):
        for one in order if number % 2 == 0 else order[::-1]:
            trial = launched.of if one is None else one.trial
            if one is not None and trial is None:
                return one if left > 0 else None
            if launched.failure(trial) is not None:
                continue
            seen[trial] = seen.get(trial, 0) + 1
            if seen[trial] > launched.made.get(trial or 0, 0):
                return (launched.of if one is None else one) if left > 0 else None
    return None


def planned(without: Sequence[Without], launched: Launched, most: int) -> list[Without]:
    """Those that are launched, the most influential first, as many as can have two launches each; not those that the contest
    has launched often enough already."""
    able = _able(without, launched)
    return able[: max(0, _for_settings(len(able), most) // LEAST_LAUNCHES - 1)]


def _able(without: Sequence[Without], launched: Launched) -> list[Without]:
    return [one for one in without if one.why is None and one.trial != launched.of and not _is_known(one, launched)]


def _is_known(one: Without, launched: Launched) -> bool:
    before = len(launched.outcomes.get(one.trial, ())) - launched.made.get(one.trial, 0) if one.trial is not None else 0
    return before >= LEAST_LAUNCHES


def _for_settings(able: int, most: int) -> int:
    return most - _KEPT if (most - _KEPT) // LEAST_LAUNCHES > able else most


def ballast_of(worths: Sequence[Worth]) -> tuple[str, ...]:
    """The settings that bring nothing, or cost: what they seem to bring is not worth a setting. Empty where nothing would be
    left."""
    light = [one for one in worths if one.brings in (Brings.LOSS, Brings.SAME) or _is_nothing(one)]
    if not light or len(light) == len(worths) or all(one.brings is Brings.SAME for one in light):
        return ()
    return tuple(dict.fromkeys(name for one in light for name in one.reset))


def _is_nothing(one: Worth) -> bool:
    return one.brings is Brings.NOTHING and one.gain is not None and one.gain < NOTHING


def next_of_trimmed(trimmed: Without, launched: Launched, most: int) -> Without | int | None:
    """The launches that are left, until the trimmed settings have two, with one of the winner between."""
    left = most - sum(launched.made.values())
    has = len(launched.outcomes.get(trimmed.trial, ())) if trimmed.trial is not None else 0
    if left <= 0 or has >= LEAST_LAUNCHES or launched.failure(trimmed.trial) is not None or has + left < LEAST_LAUNCHES:
        return None
    return trimmed


def holds(trimmed: int, launched: Launched, objective: Objective, slos: Sequence[Slo]) -> tuple[bool, Gain | None]:
    """Whether the trimmed settings may be recommended in the winner's place: launched often enough, they meet the SLOs, are not
    worse than the winner, and better than the defaults, if those are a side; with the gain over these."""
    own, winner = launched.values(trimmed, objective), launched.values(launched.of, objective)
    if launched.failure(trimmed) is not None or min(len(own), len(winner)) < LEAST_LAUNCHES:
        return False, None
    loads = {trial: [one.load for one in launched.measured(trial)] for trial in launched.outcomes}
    if bound(loads[trimmed], slos, [noise(loads.values(), slo) for slo in slos]) is not Bound.MEETS and slos:
        return False, None
    over = gained(objective, launched, trimmed, launched.of)
    if over.gain < -NOTHING or over.is_worse(LEVEL):
        return False, None
    if launched.defaults is None:
        return True, None
    against = gained(objective, launched, trimmed, launched.defaults)
    return against.is_better(LEVEL), against


def least_visible(one: Worth) -> float | None:
    """What a setting of which nothing was seen brings at the most."""
    return None if one.high is None else max(one.high, 0.0)
