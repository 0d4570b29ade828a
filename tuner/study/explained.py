"""A stored study in; what each changed setting of its winner brings, and the decision that follows from it, out. It launches
nothing.
"""

from collections.abc import Sequence
from dataclasses import replace

from tuner.decide.attribution import LEVEL, Attribution, Launched, Without, ballast_of, holds, worth
from tuner.decide.ballast import changed
from tuner.decide.objective import Objective
from tuner.decide.rank import defaults_of
from tuner.decide.slo import Slo
from tuner.decide.verdict import Answer, Decision
from tuner.record.rows import Verification
from tuner.study.hand_settings import params_of
from tuner.types import Explains, Failed, Measured, Outcome, Trial, Twin

#: What a study has to have said of its winner.
_VERIFIED = (Answer.BETTER, Answer.ALONE, Answer.TRADE)


def winner_of(found: Decision) -> Trial | None:
    """The trial that can be explained: verified, and not the defaults."""
    chosen = found.chosen
    if chosen is None or chosen.is_default or found.defaults is None or found.verdict.answer not in _VERIFIED:
        return None
    return chosen if found.verdict.trial == chosen.number else None


def changed_names(winner: Trial, defaults: Trial) -> tuple[str, ...]:
    """What the winner has otherwise than the defaults; of hand settings what was said."""
    if winner.baseline is None:
        return tuple(changed(winner.params, defaults.params))
    usual = {**defaults.resolved, **defaults.params}
    return tuple(name for name, value in params_of(winner.baseline).items() if usual.get(name) != value)


def launched_of(
    winner: Trial, defaults: Trial | None, trials: Sequence[Trial], again: Sequence[Verification], role: str
) -> Launched:
    """`again` are the launches of the last contest, those of `role` made to explain it. What an explanation measured of a trial
    the first time is the trial's own outcome, if that is not of an earlier contest."""
    outcomes: dict[int, list[Outcome]] = {}
    made: dict[int, int] = {}
    began = min((one.started_at for one in again), default=None)
    for trial in trials:
        is_own = trial.explains is not None and trial.explains.of == winner.number and trial.attempts > 0
        if is_own and began is not None and trial.started_at >= began and isinstance(trial.outcome, Measured | Failed):
            outcomes[trial.number], made[trial.number] = [trial.outcome], 1
    for one in again:
        outcomes.setdefault(one.trial_number, []).append(one.outcome)
        if one.role == role:
            made[one.trial_number] = made.get(one.trial_number, 0) + 1
    is_side = defaults is not None and defaults.number in outcomes
    return Launched(
        of=winner.number, defaults=defaults.number if defaults and is_side else None, outcomes=outcomes, made=made
    )


def without_of(explains: Explains, trials: Sequence[Trial], winner: Trial) -> Without:
    """What is known of the winner without these settings."""
    trial = next((trial for trial in trials if trial.explains == explains), None)
    if trial is None:
        return Without(reset=explains.reset)
    if isinstance(trial.outcome, Twin):
        return Without(reset=explains.reset, trial=trial.outcome.equals)
    if isinstance(trial.outcome, Failed) and not trial.attempts:
        return Without(reset=explains.reset, why=trial.outcome.message)
    kept = [name for name in winner.params if name not in explains.reset and name in winner.resolved]
    also = tuple(name for name in kept if trial.resolved.get(name) != winner.resolved[name])
    return Without(reset=explains.reset, trial=trial.number, also=also)


def attribution_of(
    found: Decision,
    trials: Sequence[Trial],
    again: Sequence[Verification],
    role: str,
    objective: Objective,
    slos: Sequence[Slo],
) -> Attribution | None:
    """None where nothing was launched to explain the winner."""
    winner = winner_of(found)
    if winner is None:
        return None
    defaults = defaults_of(trials)
    assert defaults is not None
    known = [trial.explains for trial in trials if trial.explains is not None and trial.explains.of == winner.number]
    every = _alone(known)
    if not every:
        return None
    launched = launched_of(winner, found.defaults, trials, again, role)
    worths = [worth(without_of(one, trials, winner), launched, objective) for one in every]
    said = {name for one in every for name in one.reset}
    worths += [
        worth(Without(reset=(name,)), launched, objective)
        for name in changed_names(winner, defaults)
        if name not in said
    ]
    told = Attribution(
        of=winner.number,
        metric=objective.metric,
        launches=len(launched.measured(winner.number)),
        worths=tuple(worths),
        left_out=ballast_of(worths) if found.front is None else (),
        defaults_launches=len(launched.measured(launched.defaults)),
    )
    return _with_trimmed(told, trials, launched, winner, objective, slos) if told.left_out else told


def _alone(known: Sequence[Explains]) -> list[Explains]:
    """Not the trimmed settings, which reset what several others do."""
    every = [set(one.reset) for one in known]
    parts = [[other for other in every if other < mine] for mine in every]
    return [one for one, mine, own in zip(known, every, parts, strict=True) if set().union(*own) != mine]


def _with_trimmed(
    told: Attribution,
    trials: Sequence[Trial],
    launched: Launched,
    winner: Trial,
    objective: Objective,
    slos: Sequence[Slo],
) -> Attribution:
    trial = trimmed_trial(trials, winner, told.left_out)
    if trial is None or not trial.attempts or trial.number not in launched.outcomes:
        return told
    is_good, against = holds(trial.number, launched, objective, slos)
    count = len(launched.measured(trial.number))
    return replace(told, trimmed=trial.number, trimmed_launches=count, is_recommended=is_good, against=against)


def trimmed_trial(trials: Sequence[Trial], winner: Trial, names: Sequence[str]) -> Trial | None:
    """The trial that is the winner without these settings, in whatever order they are named."""
    mine = (trial for trial in trials if trial.explains is not None and trial.explains.of == winner.number)
    return next((one for one in mine if one.explains and set(one.explains.reset) == set(names)), None)


def decided_with(found: Decision, told: Attribution | None, trials: Sequence[Trial]) -> Decision:
    """The decision with the trimmed settings in the winner's place, where these hold what it does."""
    if told is None or told.trimmed is None or not told.is_recommended:
        return found
    trimmed = next(trial for trial in trials if trial.number == told.trimmed)
    verdict = replace(
        found.verdict,
        trial=trimmed.number,
        launches=told.trimmed_launches,
        defaults=told.defaults_launches,
        gain=told.against,
        level=None if told.against is None else LEVEL,
        is_cut_short=False,
        enough=None,
    )
    return replace(found, chosen=trimmed, winner=trimmed, verdict=verdict, heavier=told.of, ballast=told.left_out)
