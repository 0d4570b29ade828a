"""A stored study in; what to deploy, and what follows it, out. It launches nothing, and knows nothing that launches."""

import json
from collections.abc import Sequence
from dataclasses import replace

from tuner.decide.attribution import Attribution
from tuner.decide.contest import Contest
from tuner.decide.front import front_contest_of, front_decision
from tuner.decide.front_contest import FrontContest
from tuner.decide.harm import MAX_LOSS
from tuner.decide.objective import OBJECTIVES, Objective, parse_objectives
from tuner.decide.pareto import contenders
from tuner.decide.rank import hand_trials
from tuner.decide.shortlist import Candidate, shortlist
from tuner.decide.slo import Slo, constraints, parse_slo
from tuner.decide.verdict import AGAIN, STILL_RUNS, Decision, contest_of, decision
from tuner.record.rows import EXPLAIN, StoredContest, StudyRecord, Verification
from tuner.record.store import Store
from tuner.space.parallel import gpus_of
from tuner.study.explained import attribution_of, decided_with
from tuner.study.lease import is_run
from tuner.types import Outcome, Trial, Twin

_OFF = "it was not launched again: see --verify"
_ENDED_EARLY = f"its verification is not finished: {AGAIN}"
_SINCE = "trial {} looks better by now, and was not launched again yet: {}"
_SEARCHING = f"the search is not finished: {AGAIN}"


def study_decision(store: Store, name: str) -> Decision:
    """What to deploy, from what is stored. Raises UsageError if there is no such study."""
    is_run_elsewhere = is_run(store, name) and not store.holds(name)
    found = _decision(store, name, STILL_RUNS if is_run_elsewhere else None)
    found = decided_with(found, explanation(store, name, found), store.trials(name))
    if is_run_elsewhere:
        return found if found.verdict.why.endswith(STILL_RUNS) else found.since(STILL_RUNS)
    return found.since(_SEARCHING) if any(one.explains is None for one in store.running(name)) else found


def contest_decision(store: Store, name: str) -> Decision:
    """What the search and its contest alone have decided. Raises UsageError if there is no such study."""
    return _decision(store, name)


def explanation(store: Store, name: str, found: Decision | None = None) -> Attribution | None:
    """What each setting of the contest's winner brings; None where nothing was launched to explain it."""
    record, trials = store.study(name), store.trials(name)
    if all(trial.explains is None for trial in trials):
        return None
    objectives = objectives_of(record)
    slos = constraints(objectives, [parse_slo(text) for text in slo_texts(record)])
    again = [one for one in store.verifications(name) if one.contest == len(store.contests(name))]
    return attribution_of(found or _decision(store, name), trials, again, EXPLAIN, objectives[0], slos)


def _decision(store: Store, name: str, runs: str | None = None) -> Decision:
    """`runs` is said of one that goes on by itself, in place of what the user would do."""
    record = store.study(name)
    objectives = objectives_of(record)
    slos = constraints(objectives, [parse_slo(text) for text in slo_texts(record)])
    trials, contests = searched(store.trials(name)), store.contests(name)
    contest = replayed(store, name, contests[-1], trials, objectives, slos) if contests else None
    left = _OFF if contest is None else _ENDED_EARLY if contest.due else ""
    why = runs or left if left else ""
    if isinstance(contest, FrontContest) or (contest is None and len(objectives) > 1):
        found = front_decision(trials, contest, objectives, slos, why)
    else:
        found = decision(trials, contest, objectives[0], slos, why)
    now = finalists(trials, objectives, slos)
    if contests and now and now[0] not in contests[-1].candidates:
        found = found.since(_SINCE.format(now[0], runs or AGAIN))
    return found


def finalists(trials: Sequence[Trial], objectives: Sequence[Objective], slos: Sequence[Slo]) -> list[int]:
    """What is worth launching again, by number, the most promising first; where nothing is, the user's own settings."""
    if len(objectives) > 1:
        found = [trial.number for trial in contenders(trials, objectives)]
    else:
        found = [candidate.trial.number for candidate in shortlist(trials, objectives[0], slos)]
    return found or [trial.number for trial in hand_trials(trials)]


def searched(trials: Sequence[Trial]) -> list[Trial]:
    """Those that a decision is about: of the search, and the user's own; not what was launched to explain it."""
    return [trial for trial in trials if trial.explains is None]


def launched_again(store: Store, name: str) -> list[tuple[int, Outcome]]:
    """The outcomes of the last contest, each with its trial's number; and of what was launched only to explain its winner. How
    the sides of the contest did in the explanation is told there: the verdict does not count it."""
    contests = store.contests(name)
    again = [one for one in store.verifications(name) if one.contest == len(contests)]
    began = min((one.started_at for one in again), default=None)
    own = [
        (trial.number, trial.outcome)
        for trial in store.trials(name)
        if trial.explains and trial.attempts and began and trial.started_at >= began
    ]
    first = [(number, outcome) for number, outcome in own if not isinstance(outcome, Twin)]
    sides = {one.trial_number for one in again if one.role != EXPLAIN}
    counted = [one for one in again if one.role != EXPLAIN or one.trial_number not in sides]
    return [*((one.trial_number, one.outcome) for one in counted), *first]


def objectives_of(record: StudyRecord) -> tuple[Objective, ...]:
    """What a study optimizes, the first one first."""
    price = record.settings.get("price_per_hour")
    known = float(price) if isinstance(price, int | float) else None
    return parse_objectives(record.objective.split(","), known, fixed_gpus_of(record))


def compared_by(record: StudyRecord) -> tuple[Objective, ...]:
    """What a study optimizes, and the cost of its tokens where a price is known."""
    price, found = record.settings.get("price_beside"), objectives_of(record)
    if not isinstance(price, int | float):
        return found
    return (*found, replace(OBJECTIVES["cost"], price_per_hour=float(price), gpus=fixed_gpus_of(record)))


def fixed_gpus_of(record: StudyRecord) -> int:
    """How many GPUs each server has by the sizes that are fixed: a stored price is that of so many. One where an older tuner
    kept the space in another form."""
    try:
        space = json.loads(record.space)
    except ValueError:
        return 1
    return gpus_of(space.get("fixed", {})) if isinstance(space, dict) else 1


def slo_texts(record: StudyRecord) -> list[str]:
    """The SLOs of a study as they are stored, e.g. ["ttft_p99=0.5s"]."""
    stored = record.settings.get("slos")
    return [str(text) for text in stored] if isinstance(stored, list) else []


def lacks_hand_settings(store: Store, study: str, trials: Sequence[Trial]) -> bool:
    """Whether the last contest was begun without some of the user's own settings."""
    number, hand = len(store.contests(study)), hand_trials(trials)
    launched = [one for one in store.verifications(study) if one.contest == number]
    return bool(launched) and len(_raced(hand, launched)) < len(hand)


def max_loss_of(record: StudyRecord) -> float:
    """What a finalist may lose of the NLL; that of an older study is what it is where nobody says."""
    stored = record.settings.get("max_quality_loss")
    return float(stored) if isinstance(stored, int | float) else MAX_LOSS


def replayed(
    store: Store,
    study: str,
    stored: StoredContest,
    trials: Sequence[Trial],
    objectives: Sequence[Objective],
    slos: Sequence[Slo],
) -> Contest | FrontContest:
    """A stored contest as far as it has come, the looks of those before it counted."""
    looks = 0
    for one in store.contests(study)[: stored.number - 1]:
        looks = _replay(store, study, one, trials, objectives, slos, looks).looks
    return _replay(store, study, stored, trials, objectives, slos, looks)


def _raced(hand: Sequence[Trial], launched: Sequence[Verification]) -> list[Trial]:
    """Of the user's own settings those that were there when the contest began."""
    last = max((one.round for one in launched if one.role != EXPLAIN), default=1)
    there = {one.trial_number for one in launched}
    return [trial for trial in hand if last < 2 or trial.number in there]


def _replay(
    store: Store,
    study: str,
    stored: StoredContest,
    trials: Sequence[Trial],
    objectives: Sequence[Objective],
    slos: Sequence[Slo],
    looks: int,
) -> Contest | FrontContest:
    by_number = {trial.number: trial for trial in trials}
    again = [by_number[number] for number in stored.candidates if number in by_number]
    of_contest = [one for one in store.verifications(study) if one.contest == stored.number]
    hand = _raced(hand_trials(trials), of_contest)
    contest: Contest | FrontContest
    if len(objectives) > 1:
        contest = front_contest_of(trials, again, objectives, slos, rounds=stored.rounds, looks=looks, hand=hand)
    else:
        known = {c.trial.number: c for c in shortlist(trials, objectives[0], slos)}
        candidates = [known.get(trial.number) or Candidate(trial, 0.0, 0.0, 0.0) for trial in again]
        contest = contest_of(trials, candidates, objectives[0], slos, rounds=stored.rounds, looks=looks, hand=hand)
    contest.max_loss = max_loss_of(store.study(study))
    for launched in of_contest:
        if launched.role != EXPLAIN:
            contest.take(launched.trial_number, launched.outcome)
    return contest
