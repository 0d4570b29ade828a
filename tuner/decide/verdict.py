"""A study's trials and its contest in; what to deploy, and the answer with its reason, out. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tuner.decide.ballast import changed
from tuner.decide.contest import Contest, Side, Standing
from tuner.decide.gain import Enough, Gain
from tuner.decide.harm import Judged
from tuner.decide.objective import Objective, metric_value
from tuner.decide.pareto import Front
from tuner.decide.rank import best, defaults_of, feasible
from tuner.decide.shortlist import Candidate, heavier, shortlist
from tuner.decide.slo import Slo
from tuner.types import Failed, Measured, Trial

#: What ends each reason that goes away when the study goes on.
AGAIN = "run the same command again"
#: What it ends with while the study goes on.
STILL_RUNS = "the study still runs"
#: How the reason of an answer that is not the last one ends.
UNFINISHED = (AGAIN, STILL_RUNS)


class Answer(StrEnum):
    """What a study says in the end; each has a sentence of its own."""

    BETTER = "better"
    ALONE = "meets the SLOs"  # on its own: the defaults do not, or could not be measured
    TRADE = "a trade-off"  # better in one objective and worse in another: only of several
    NOT_TOLD_APART = "not told apart"
    WORSE = "worse"
    CRASHED = "crashed"
    MISSES = "misses an SLO"
    HARMED = "loses quality"
    NOT_VERIFIED = "not verified"
    NOTHING_BETTER = "nothing better"  # the search found nothing that is worth a launch


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """One SLO that a setting missed when it was launched again: in `times` of `launches`, at the worst with `worst_s`."""

    slo: str
    limit_s: float
    worst_s: float
    times: int
    launches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer about trial `trial`, from `launches` new launches of it and `defaults` of the defaults. There is a `gain` only
    where both were launched again, tested at `level` (a one-sided p-value). `failure` is that of a launch that failed. `why`
    says what kept it from being verified, or what became of the defaults; `defaults_missed` are the SLOs that these missed.
    Of one that `is_cut_short` more launches than were allowed may say more, and `enough` of each would find a useful gain.
    `harm` is what its answers say, where it was asked."""

    answer: Answer
    trial: int | None = None
    launches: int = 0
    defaults: int = 0
    gain: Gain | None = None
    level: float | None = None
    missed: tuple[Missed, ...] = ()
    defaults_missed: tuple[Missed, ...] = ()
    failure: Failed | None = None
    why: str = ""
    is_cut_short: bool = False
    enough: Enough | None = None
    harm: Judged | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to deploy. `chosen` is None when nothing that was launched meets the SLOs. `winner` is the setting that the answer
    is about: the leader of the contest, or the best of the search. `finalists` are all that were launched again. `ballast`
    names the settings of trial `heavier` that are at the defaults in the chosen one, because they brought nothing. `front` is
    the trade-off of several objectives, whose knee is the winner; its verdict's gain is in the first of them. `quality` is what
    the answers of the finalists say against those of the defaults, by trial, where they were asked."""

    chosen: Trial | None
    winner: Trial | None
    defaults: Trial | None
    verdict: Verdict
    finalists: tuple[Side, ...] = ()
    heavier: int | None = None
    ballast: tuple[str, ...] = ()
    front: Front | None = None
    quality: Mapping[int, Judged] = field(default_factory=dict)

    def since(self, why: str) -> "Decision":
        """The same, with what is to be known beside it: something that was not launched again yet looks better."""
        return replace(self, verdict=replace(self.verdict, why="; ".join(filter(None, (self.verdict.why, why)))))


def contest_of(
    trials: Sequence[Trial],
    candidates: Sequence[Candidate],
    objective: Objective,
    slos: Sequence[Slo],
    *,
    rounds: int,
    looks: int = 0,
    hand: Sequence[Trial] = (),
) -> Contest:
    """The race of these candidates against the defaults, if these can be launched: not where they failed in the search; with
    the user's own settings, `hand`."""
    defaults = defaults_of(trials)
    measured = defaults is not None and not isinstance(defaults.outcome, Failed)
    base = defaults if measured else None
    return Contest(candidates, base, objective, slos, rounds=rounds, looks=looks, hand=hand)


def decision(
    trials: Sequence[Trial], contest: Contest | None, objective: Objective, slos: Sequence[Slo], why: str = ""
) -> Decision:
    """Choose. `why` says what keeps a contest from being finished, or from being begun."""
    return _with_ballast(_decision(trials, contest, objective, slos, why), trials, objective, slos)


def _with_ballast(found: Decision, trials: Sequence[Trial], objective: Objective, slos: Sequence[Slo]) -> Decision:
    chosen, defaults = found.chosen, found.defaults
    if chosen is None or defaults is None or chosen.is_default:
        return found
    other = heavier(shortlist(trials, objective, slos), chosen, defaults.params, objective)
    if other is None:
        return found
    kept = changed(chosen.params, defaults.params)
    names = tuple(name for name in changed(other.params, defaults.params) if name not in kept)
    return replace(found, heavier=other.number, ballast=names)


def _decision(
    trials: Sequence[Trial], contest: Contest | None, objective: Objective, slos: Sequence[Slo], why: str
) -> Decision:
    defaults = defaults_of(trials)
    if contest is None or contest.leader is None or not any(side.outcomes for side in contest.finalists):
        return _unverified(trials, objective, slos, why)
    side = contest.leader
    verdict = _verdict(contest, side, slos, why)
    return Decision(
        chosen=_chosen(verdict, side.trial, contest, defaults),
        winner=side.trial,
        defaults=defaults,
        verdict=verdict,
        finalists=tuple(contest.finalists),
        quality=contest.quality,
    )


def _unverified(trials: Sequence[Trial], objective: Objective, slos: Sequence[Slo], why: str) -> Decision:
    winner, defaults = best(trials, objective), defaults_of(trials)
    worth = shortlist(trials, objective, slos)
    if not worth or winner is None:
        kept = defaults if defaults is not None and feasible(defaults) else None
        verdict = Verdict(answer=Answer.NOTHING_BETTER, why=why_nothing(trials))
        return Decision(chosen=kept, winner=kept, defaults=defaults, verdict=verdict)
    verdict = Verdict(answer=Answer.NOT_VERIFIED, trial=winner.number, why=why)
    return Decision(chosen=winner, winner=winner, defaults=defaults, verdict=verdict)


def why_nothing(trials: Sequence[Trial]) -> str:
    """Why the search has nothing that is worth a launch."""
    measured = [trial for trial in trials if isinstance(trial.outcome, Measured)]
    if not measured:
        return "no trial could be measured" if trials else "no trial has ended yet"
    if not any(map(feasible, measured)):
        return "no trial that was measured meets every SLO"
    others = "no other trial could be measured" if len(trials) > 1 else "no other trial has ended"
    return "no trial was better" if len(measured) > 1 else others


def _verdict(contest: Contest, side: Side, slos: Sequence[Slo], why: str) -> Verdict:
    defaults = contest.defaults
    return Verdict(
        answer=_answer(contest, side),
        trial=side.trial.number,
        launches=len(side.outcomes),
        defaults=len(defaults.outcomes) if defaults else 0,
        gain=contest.gain if side.standing is Standing.RACING else None,
        level=contest.level if side.standing is Standing.RACING else None,
        missed=missed(side, slos),
        defaults_missed=missed(defaults, slos) if defaults else (),
        failure=side.failure,
        why=about_the_defaults(contest.defaults) if contest.is_decided else why,
        is_cut_short=side.standing is Standing.OPEN or (side.standing is Standing.RACING and contest.is_cut_short),
        enough=contest.enough,
        harm=contest.harm_of(side),
    )


def _answer(contest: Contest, side: Side) -> Answer:
    if side.standing is Standing.FAILED:
        return Answer.CRASHED
    if side.standing in (Standing.MISSES, Standing.OPEN, Standing.IN_DOUBT):
        return Answer.MISSES
    if side.standing is Standing.HARMED:
        return Answer.HARMED
    if not contest.is_decided:
        return Answer.NOT_VERIFIED
    if not contest.is_against_the_defaults:
        return Answer.ALONE
    assert contest.gain is not None
    assert contest.level is not None
    if contest.gain.is_better(contest.level):
        return Answer.BETTER
    return Answer.WORSE if contest.gain.is_worse(_WORSE) else Answer.NOT_TOLD_APART


_WORSE = 0.05


def _chosen(verdict: Verdict, leader: Trial, contest: Contest, defaults: Trial | None) -> Trial | None:
    """The defaults may be kept unless they fail or miss an SLO, clearly or in most of their launches."""
    if verdict.answer in (Answer.BETTER, Answer.ALONE, Answer.NOT_VERIFIED):
        return leader
    return defaults if are_kept(contest.defaults, verdict.defaults_missed) else None


def are_kept(defaults: Side | None, missed: Sequence[Missed]) -> bool:
    """Whether the defaults are an answer: not where they fail or miss an SLO, clearly or in most of their launches."""
    kept = defaults is not None and defaults.standing in (Standing.RACING, Standing.OPEN)
    return kept and not any(2 * one.times > one.launches for one in missed)


def missed(side: Side, slos: Sequence[Slo]) -> tuple[Missed, ...]:
    """The SLOs that it missed in its launches."""
    found = []
    for slo in slos:
        values = [value for load in side.loads if (value := metric_value(load, slo.metric)) is not None]
        if over := [value for value in values if value > slo.limit_s]:
            found.append(
                Missed(slo=slo.name, limit_s=slo.limit_s, worst_s=max(over), times=len(over), launches=len(values))
            )
    return tuple(found)


def about_the_defaults(defaults: Side | None) -> str:
    """Why they are no side of the comparison; empty where they are."""
    if defaults is None:
        return "the defaults could not be measured"
    return "" if defaults.standing is Standing.RACING else f"the defaults {_DEFAULTS_DID[defaults.standing]}"


_DEFAULTS_DID = {
    Standing.FAILED: "failed when they were launched again",
    Standing.MISSES: "miss an SLO",
    Standing.OPEN: "were not shown to meet the SLOs",
}
