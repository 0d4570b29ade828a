"""The winner's launches and the defaults' in; whether one is better, and what to deploy, out. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

from tuner.decide.confidence import t_quantile
from tuner.decide.objective import Objective
from tuner.decide.rank import best, defaults_of, feasible, score
from tuner.decide.slo import Slo, violations
from tuner.types import Failed, Measured, Outcome, Trial

#: Other settings than the defaults have to be worth it.
LEAST_GAIN = 0.01


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the winner is really better than the defaults. `gain` is relative, of the means; `noise` is the standard
    deviation among launches of the same settings, relative to the defaults' mean, None where none was repeated or that mean
    is 0 (goodput); the counts
    are the launches compared."""

    better: bool
    gain: float
    noise: float | None
    defaults: int
    winner: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What to deploy. `chosen` is None when nothing that was measured meets the SLOs. `winner` is the best trial of the
    search; `verdict` is None when that is the defaults, or when there is nothing to compare it with."""

    chosen: Trial | None
    winner: Trial | None
    defaults: Trial | None
    verdict: Verdict | None


def decision(
    trials: Sequence[Trial], again: Sequence[tuple[int, Outcome]], objective: Objective, slos: Sequence[Slo]
) -> Decision:
    """Choose between the winner and the defaults. `again` are later launches of a trial's settings, by its number.

    The winner's value from the search is not used: being the best of many, it is too good (winner's curse). That of the
    defaults is, unless their server was forked: later launches are plain, and forked servers were measured to be slower on
    a GPU. The defaults are chosen when the winner is not better, or when one of its later launches failed or missed an SLO.
    """
    winner, defaults = best(trials, objective), defaults_of(trials)
    if winner is None or winner is defaults or defaults is None or not feasible(defaults):
        return Decision(winner, winner, defaults, None)
    values = {
        t.number: [_value(outcome, objective, slos) for n, outcome in again if n == t.number]
        for t in (winner, defaults)
    }
    wins, base = values[winner.number], values[defaults.number]
    if isinstance(defaults.outcome, Measured) and defaults.outcome.start == "plain":
        base = [score(defaults, objective), *base]
    if not wins or not base:
        return Decision(winner, winner, defaults, None)
    known_base = [v for v in base if v is not None]
    known_wins = [v for v in wins if v is not None]
    if len(known_wins) < len(wins):
        return Decision(defaults, winner, defaults, Verdict(False, 0.0, None, len(known_base), len(known_wins)))
    compared = verdict(objective, known_base, known_wins)
    return Decision(winner if compared.better else defaults, winner, defaults, compared)


def verdict(objective: Objective, defaults: Sequence[float], winner: Sequence[float]) -> Verdict:
    """Compare launches of the two. Better means: a gain of at least 1 %, and a two-sample t test with pooled variance
    (Student 1908), one-sided at 5 %, says that it is no chance. Each launch is one sample: settings are what is compared,
    and launches of the same settings differ by more than windows of one launch do.
    """
    better_by = (fmean(winner) - fmean(defaults)) * (1 if objective.maximize else -1)
    gain = objective.gain(fmean(winner), fmean(defaults))
    freedom = len(defaults) + len(winner) - 2
    if freedom < 1:
        return Verdict(False, gain, None, len(defaults), len(winner))
    deviation = sqrt(sum((x - fmean(group)) ** 2 for group in (defaults, winner) for x in group) / freedom)
    error = deviation * sqrt(1 / len(defaults) + 1 / len(winner))
    significant = better_by > t_quantile(0.95, freedom) * error
    noise = deviation / fmean(defaults) if any(defaults) else None
    return Verdict(significant and gain >= LEAST_GAIN, gain, noise, len(defaults), len(winner))


def _value(outcome: Outcome, objective: Objective, slos: Sequence[Slo]) -> float | None:
    """None for a failed launch and for one that misses an SLO."""
    if isinstance(outcome, Failed) or any(v > 0 for v in violations(outcome.load, slos).values()):
        return None
    return objective.value(outcome.load)
