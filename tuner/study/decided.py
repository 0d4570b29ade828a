"""A stored study in; what to deploy, and what follows it, out. It launches nothing, and knows nothing that launches."""

from collections.abc import Sequence

from tuner.decide.contest import Contest
from tuner.decide.objective import Objective, parse_objective
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
    objective = parse_objective(record.objective)
    slos = constraints(objective, [parse_slo(text) for text in slo_texts(record)])
    trials, contests = store.trials(name), store.contests(name)
    if not contests:
        return decision(trials, None, objective, slos, _OFF)
    contest = replayed(store, name, contests[-1], trials, objective, slos)
    found = decision(trials, contest, objective, slos, _ENDED_EARLY if contest.due else "")
    now = shortlist(trials, objective, slos)
    if now and now[0].trial.number not in contests[-1].candidates:
        found = found.since(_SINCE.format(now[0].trial.number))
    return found


def launched_again(store: Store, name: str) -> list[tuple[int, Outcome]]:
    """The outcomes of the last contest, each with its trial's number."""
    contests = store.contests(name)
    return [(v.trial_number, v.outcome) for v in store.verifications(name) if v.contest == len(contests)]


def slo_texts(record: StudyRecord) -> list[str]:
    """The SLOs of a study as they are stored, e.g. ["ttft_p99=0.5s"]."""
    stored = record.settings.get("slos")
    return [str(text) for text in stored] if isinstance(stored, list) else []


def replayed(
    store: Store,
    study: str,
    stored: StoredContest,
    trials: Sequence[Trial],
    objective: Objective,
    slos: Sequence[Slo],
) -> Contest:
    """A stored contest as far as it has come, the looks of those before it counted."""
    looks = 0
    for one in store.contests(study)[: stored.number - 1]:
        looks = _replay(store, study, one, trials, objective, slos, looks).looks
    return _replay(store, study, stored, trials, objective, slos, looks)


def _replay(
    store: Store,
    study: str,
    stored: StoredContest,
    trials: Sequence[Trial],
    objective: Objective,
    slos: Sequence[Slo],
    looks: int,
) -> Contest:
    known = {c.trial.number: c for c in shortlist(trials, objective, slos)}
    by_number = {trial.number: trial for trial in trials}
    candidates = [
        known.get(number) or Candidate(by_number[number], 0.0, 0.0, 0.0)
        for number in stored.candidates
        if number in by_number
    ]
    contest = contest_of(trials, candidates, objective, slos, rounds=stored.rounds, looks=looks)
    for launched in store.verifications(study):
        if launched.contest == stored.number:
            contest.take(launched.trial_number, launched.outcome)
    return contest
