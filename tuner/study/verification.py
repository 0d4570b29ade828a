"""The finalists and the defaults launched again, and what follows from it.

In: a study in the database. Out: the launches of its contest in it; the decision. It searches nothing.
"""

from collections.abc import Callable, Sequence
from functools import partial

from tuner.decide.rank import defaults_of
from tuner.launch.job import Probe
from tuner.record.aside import stored_or_kept
from tuner.record.rows import StoredContest, Verification
from tuner.record.store import Store
from tuner.study.budget import Budget
from tuner.study.decided import finalists, lacks_hand_settings, replayed, searched
from tuner.study.gate import Gate, refuse_what_is_not_of_the_settings
from tuner.study.launches import run_recorded
from tuner.study.setup import Setup
from tuner.study.watch import Watch
from tuner.types import Trial


def verify(
    setup: Setup, store: Store, watch: Watch, budget: Budget, launch_s: Callable[[Trial], float], gate: Gate
) -> None:
    """Launch the finalists and the defaults in rounds, each round in the other order, so that neither luck nor drift decides,
    until the contest is decided; each at most `setup.verify` times.

    Always plainly, by the command that is exported. What was launched before an interruption is kept, and a contest whose first
    finalist is another now is a new one, with new launches of the defaults. Nothing is done where nothing is worth a launch,
    nor when a launch, which may take `launch_s` seconds, would not end within the budget. Raises RunError for a launch that
    failed for what no settings would change: it is not kept, and the next run goes on there.
    """
    trials, objectives, slos = searched(store.trials(setup.study)), setup.objectives, setup.constraints
    candidates = finalists(trials, objectives, slos)
    if not setup.verify or not candidates:
        return
    stored = _current(setup, store, candidates, is_new=lacks_hand_settings(store, setup.study, trials))
    study = store.study(setup.study)
    contest = replayed(store, setup.study, stored, trials, objectives, slos)
    while due := contest.due:
        trial = due[0]
        if not budget.has(launch_s(trial)):
            watch.note("the verification ends here: its next launch would not end within --max-hours")
            return
        who = "the defaults" if trial.is_default else f"trial {trial.number}"
        who += " (hand settings)" if trial.baseline is not None else ""
        watch.verification_begins(who, contest.launches_of(trial) + 1, setup.verify)
        probe = _probe(setup, trials, stored, trial, contest.launches_of(trial))
        launched = _launch(setup, store, watch, stored, contest.round, trial, gate, probe)
        keep = partial(store.add_verification, setup.study, launched)
        stored_or_kept(keep, setup.logs / setup.study, study, launched)
        contest.take(trial.number, launched.outcome)


def _current(setup: Setup, store: Store, numbers: Sequence[int], *, is_new: bool) -> StoredContest:
    """The contest that goes on: the last one, unless the search has found another leader since, or there are other hand
    settings."""
    contests = store.contests(setup.study)
    if not contests or is_new or numbers[0] not in contests[-1].candidates:
        return store.begin_contest(setup.study, numbers, setup.verify, setup.clock.now())
    last = contests[-1]
    if setup.verify > last.rounds:
        store.extend_contest(setup.study, last.number, setup.verify)
        return StoredContest(number=last.number, candidates=last.candidates, rounds=setup.verify)
    return last


def _probe(setup: Setup, trials: Sequence[Trial], contest: StoredContest, trial: Trial, launches: int) -> Probe | None:
    """What the next launch of `trial` is asked to show that its answers are unharmed; None where it cannot change them."""
    usual = defaults_of(trials)
    again = [one for one in trials if one.number in contest.candidates]
    if setup.guard is None or usual is None or not setup.guard.is_due(trial, again, usual.params, launches):
        return None
    return setup.guard.ask


def _launch(
    setup: Setup,
    store: Store,
    watch: Watch,
    contest: StoredContest,
    round: int,
    trial: Trial,
    gate: Gate,
    probe: Probe | None = None,
) -> Verification:
    started_at = setup.clock.now()
    passed = {} if trial.is_default else trial.params
    label = f"-verify-{round}" if contest.number == 1 else f"-verify-{contest.number}-{round}"
    outcome = run_recorded(setup, store, watch, trial.number, trial.command, passed, label=label, probe=probe)
    outcome = gate.judged(outcome, is_default=trial.is_default)
    refuse_what_is_not_of_the_settings(outcome, f"trial {trial.number}, launched again")
    return Verification(
        contest=contest.number,
        round=round,
        role="defaults" if trial.is_default else "finalist" if trial.baseline is None else "baseline",
        trial_number=trial.number,
        command=trial.command,
        outcome=outcome,
        started_at=started_at,
        ended_at=setup.clock.now(),
    )
