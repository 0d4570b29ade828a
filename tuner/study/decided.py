"""A stored study in; what to deploy, and what follows it, out. It launches nothing, and knows nothing that launches."""

from collections.abc import Sequence

from tuner.decide.contest import Contest
from tuner.decide.front import front_contest_of, front_decision
from tuner.decide.front_contest import FrontContest
from tuner.decide.harm import MAX_LOSS
from tuner.decide.objective import Objective, parse_objectives
from tuner.decide.pareto import contenders
from tuner.decide.shortlist import Candidate, shortlist
from tuner.decide.slo import Slo, constraints, parse_slo
from tuner.decide.verdict import AGAIN, Decision, contest_of, decision
from tuner.record.rows import StoredContest, StudyRecord
from tuner.record.store import Store
from tuner.types import Outcome, Trial

_OFF = "it was not launched again: see --verify"
_ENDED_EARLY = f"its verification is not finished: {AGAIN}"
_SINCE = f"trial {{}} looks better by now, and was not launched again yet: {AGAIN}"
_SEARCHING = f"the search is not finished: {AGAIN}"


def study_decision(store: Store, name: str) -> Decision:
    """What to deploy, from what is stored. Raises UsageError if there is no such study."""
    found = _decision(store, name)
    return found.since(_SEARCHING) if store.running(name) else found


def _decision(store: Store, name: str) -> Decision:
    record = store.study(name)
    objectives = objectives_of(record)
    slos = constraints(objectives, [parse_slo(text) for text in slo_texts(record)])
    trials, contests = store.trials(name), store.contests(name)
    contest = replayed(store, name, contests[-1], trials, objectives, slos) if contests else None
    why = _OFF if contest is None else _ENDED_EARLY if contest.due else ""
    if isinstance(contest, FrontContest) or (contest is None and len(objectives) > 1):
        found = front_decision(trials, contest, objectives, slos, why)
    else:
        found = decision(trials, contest, objectives[0], slos, why)
    now = finalists(trials, objectives, slos)
    if contests and now and now[0] not in contests[-1].candidates:
        found = found.since(_SINCE.format(now[0]))
    return found


def finalists(trials: Sequence[Trial], objectives: Sequence[Objective], slos: Sequence[Slo]) -> list[int]:
    """What is worth launching again, by number, the most promising first."""
    if len(objectives) > 1:
        return [trial.number for trial in contenders(trials, objectives)]
    return [candidate.trial.number for candidate in shortlist(trials, objectives[0], slos)]


def launched_again(store: Store, name: str) -> list[tuple[int, Outcome]]:
    """The outcomes of the last contest, each with its trial's number."""
    contests = store.contests(name)
    return [(v.trial_number, v.outcome) for v in store.verifications(name) if v.contest == len(contests)]


def objectives_of(record: StudyRecord) -> tuple[Objective, ...]:
    """What a study optimizes, the first one first."""
    price = record.settings.get("price_per_hour")
    return parse_objectives(record.objective.split(","), float(price) if isinstance(price, int | float) else None)


def slo_texts(record: StudyRecord) -> list[str]:
    """The SLOs of a study as they are stored, e.g. ["ttft_p99=0.5s"]."""
    stored = record.settings.get("slos")
    return [str(text) for text in stored] if isinstance(stored, list) else []


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
    contest: Contest | FrontContest
    if len(objectives) > 1:
        contest = front_contest_of(trials, again, objectives, slos, rounds=stored.rounds, looks=looks)
    else:
        known = {c.trial.number: c for c in shortlist(trials, objectives[0], slos)}
        candidates = [known.get(trial.number) or Candidate(trial, 0.0, 0.0, 0.0) for trial in again]
        contest = contest_of(trials, candidates, objectives[0], slos, rounds=stored.rounds, looks=looks)
    contest.max_loss = max_loss_of(store.study(study))
    for launched in store.verifications(study):
        if launched.contest == stored.number:
            contest.take(launched.trial_number, launched.outcome)
    return contest
