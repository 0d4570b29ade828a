"""A study of several objectives and its contest in; what to deploy, the answer, and the front, out. Pure.

The front is of what was launched again and met every SLO; what the search alone saw stands beside it, and is said to. The
defaults are a point like any other: where they are the knee, they are kept.
"""

from collections.abc import Sequence

from tuner.decide.contest import Side, Standing
from tuner.decide.front_contest import FrontContest
from tuner.decide.gain import Gain
from tuner.decide.objective import Objective
from tuner.decide.pareto import (
    Front,
    FrontPoint,
    Place,
    by_distance,
    contenders,
    front,
    is_dominated,
    leading,
    searched,
    unverified,
)
from tuner.decide.rank import defaults_of, feasible
from tuner.decide.slo import Slo
from tuner.decide.verdict import Answer, Decision, Verdict, about_the_defaults, are_kept, missed, why_nothing
from tuner.types import Failed, Trial

#: A trade-off is told as one when what it costs is no chance at this level.
_WORSE = 0.05


def front_contest_of(
    trials: Sequence[Trial],
    candidates: Sequence[Trial],
    objectives: Sequence[Objective],
    slos: Sequence[Slo],
    *,
    rounds: int,
    looks: int = 0,
    hand: Sequence[Trial] = (),
) -> FrontContest:
    """The race of these points against the defaults, if these can be launched: not where they failed in the search; with the
    user's own settings, `hand`."""
    defaults = defaults_of(trials)
    launched = defaults is not None and not isinstance(defaults.outcome, Failed)
    base = defaults if launched else None
    return FrontContest(candidates, base, objectives, slos, rounds=rounds, looks=looks, hand=hand)


def front_decision(
    trials: Sequence[Trial],
    contest: FrontContest | None,
    objectives: Sequence[Objective],
    slos: Sequence[Slo],
    why: str = "",
) -> Decision:
    """Choose. `why` says what keeps a contest from being finished, or from being begun."""
    leader = contest.leader if contest else None
    if contest is None or leader is None or not any(side.outcomes for side in contest.finalists):
        return _unverified(trials, objectives, why)
    verdict = _verdict(contest, leader, slos, why)
    found = _front(trials, contest, objectives)
    chosen = _chosen(verdict, leader.trial, found.knee, contest, trials)
    return Decision(
        chosen=chosen,
        winner=leader.trial,
        defaults=defaults_of(trials),
        verdict=verdict,
        finalists=tuple(contest.finalists),
        front=found,
        quality=contest.quality,
    )


def verdict_of(found: Decision, trial: Trial) -> Verdict | None:
    """What a study says of any trial; None of one that it says nothing of."""
    if found.verdict.trial == trial.number or (found.chosen and trial.number == found.chosen.number):
        return found.verdict
    point = found.front.point(trial.number) if found.front else None
    if point is None or not point.is_verified:
        return None
    first, worse = point.told[0], any(one.is_worse for one in point.told)
    answer = Answer.ALONE if first.gain is None else Answer.TRADE if worse else Answer.BETTER
    known = None if first.gain is None else Gain(gain=first.gain, low=first.gain_low, high=first.gain_high)
    return Verdict(answer=answer, trial=trial.number, launches=point.launches, gain=known)


def _unverified(trials: Sequence[Trial], objectives: Sequence[Objective], why: str) -> Decision:
    winner, defaults, places = leading(trials, objectives), defaults_of(trials), searched(trials, objectives)
    points = tuple(unverified(place, objectives, trials) for place in front(places, objectives))
    found = Front(objectives=tuple(objectives), points=points, knee=winner.number if winner else None)
    if winner is None or winner.is_default or not contenders(trials, objectives):
        kept = defaults if defaults is not None and feasible(defaults) else None
        is_knee = winner is not None and contenders(trials, objectives)
        told = "vLLM's defaults are the knee of what was measured" if is_knee else why_nothing(trials)
        verdict = Verdict(answer=Answer.NOTHING_BETTER, why=told)
        return Decision(chosen=kept, winner=kept, defaults=defaults, verdict=verdict, front=found)
    verdict = Verdict(answer=Answer.NOT_VERIFIED, trial=winner.number, why=why)
    return Decision(chosen=winner, winner=winner, defaults=defaults, verdict=verdict, front=found)


def _front(trials: Sequence[Trial], contest: FrontContest, objectives: Sequence[Objective]) -> Front:
    """Of what is verified and the defaults; and what the search saw that none of these dominates and nobody launched again."""
    sides = contest.verified
    if contest.defaults is not None and contest.is_against_the_defaults and contest.defaults.outcomes:
        sides = [*sides, contest.defaults]
    placed = [(side, place) for side in sides if (place := contest.place(side)) is not None]
    known = front([place for _, place in placed], objectives)
    points = [_point(contest, next(s for s, p in placed if p is place)) for place in known]
    again = {side.trial.number for side in contest.finalists} | {t.number for t in trials if t.is_default}
    others = [
        place
        for place in front(searched(trials, objectives), objectives)
        if place.trial.number not in again and not any(is_dominated(place, one, objectives) for one in known)
    ]
    points += [unverified(place, objectives, trials) for place in others]
    order = {place.trial.number: at for at, place in enumerate(front([*known, *others], objectives))}
    points.sort(key=lambda point: order.get(point.trial.number, len(order)))
    return Front(objectives=tuple(objectives), points=tuple(points), knee=_knee(contest, known, objectives))


def _knee(contest: FrontContest, known: Sequence[Place], objectives: Sequence[Objective]) -> int | None:
    of_the_defaults = next((place for place in known if place.trial.is_default), None)
    defaults = of_the_defaults or (contest.place(contest.defaults) if contest.defaults else None)
    ordered = by_distance(known, objectives, defaults)
    return ordered[0].trial.number if ordered else None


def _point(contest: FrontContest, side: Side) -> FrontPoint:
    return FrontPoint(
        trial=side.trial, told=contest.told(side), launches=len(side.outcomes), is_verified=contest.is_known(side)
    )


def _verdict(contest: FrontContest, side: Side, slos: Sequence[Slo], why: str) -> Verdict:
    gains, is_raced = contest.gains(side), side.standing is Standing.RACING
    return Verdict(
        answer=_answer(contest, side, gains),
        trial=side.trial.number,
        launches=len(side.outcomes),
        defaults=len(contest.defaults.outcomes) if contest.defaults else 0,
        gain=gains[0] if gains and is_raced else None,
        level=contest.level if gains and is_raced else None,
        missed=missed(side, slos),
        defaults_missed=missed(contest.defaults, slos) if contest.defaults else (),
        failure=side.failure,
        why=about_the_defaults(contest.defaults) if contest.is_decided else why,
        is_cut_short=side.standing is Standing.OPEN,
        harm=contest.harm_of(side),
    )


def _answer(contest: FrontContest, side: Side, gains: tuple[Gain, ...] | None) -> Answer:
    if side.standing is Standing.FAILED:
        return Answer.CRASHED
    if side.standing in (Standing.MISSES, Standing.OPEN):
        return Answer.MISSES
    if side.standing is Standing.HARMED:
        return Answer.HARMED
    if not contest.is_decided:
        return Answer.NOT_VERIFIED
    if gains is None:
        return Answer.ALONE
    worse = any(one.is_worse(_WORSE) for one in gains)
    if any(one.is_better(contest.level) for one in gains):
        return Answer.TRADE if worse else Answer.BETTER
    return Answer.WORSE if worse else Answer.NOT_TOLD_APART


def _chosen(
    verdict: Verdict, leader: Trial, knee: int | None, contest: FrontContest, trials: Sequence[Trial]
) -> Trial | None:
    """The leader where it is better in anything and the knee, the defaults that are no worse included."""
    defaults = defaults_of(trials)
    if verdict.answer in (Answer.BETTER, Answer.ALONE, Answer.NOT_VERIFIED):
        return leader
    if verdict.answer is Answer.TRADE and knee == leader.number:
        return leader
    return defaults if are_kept(contest.defaults, verdict.defaults_missed) else None
