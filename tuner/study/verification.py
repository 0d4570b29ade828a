"""The winner and the defaults launched again; what follows from it is decided.py's.

In: a study in the database. Out: verifications in it. It searches nothing.
"""

from tuner.decide.rank import feasible
from tuner.decide.verdict import decision
from tuner.record.rows import Verification
from tuner.record.store import Store
from tuner.study.budget import Budget
from tuner.study.launches import run_recorded
from tuner.study.setup import Setup
from tuner.study.watch import Watch
from tuner.types import Trial


def verify(setup: Setup, store: Store, watch: Watch, budget: Budget, launch_s: float) -> None:
    """Launch both `setup.verify` times, in turn and each time in the other order, so that neither luck nor drift decides.

    Always plainly, by the command that is exported. What was verified before an interruption is kept. Nothing is done where
    there is nothing to compare, nor when a launch of `launch_s` would not end within the budget.
    """
    found = decision(store.trials(setup.study), (), setup.objective, setup.constraints)
    winner, defaults = found.winner, found.defaults
    if winner is None or defaults is None or winner is defaults or not feasible(defaults):
        return
    done = {(v.round, v.trial_number) for v in store.verifications(setup.study)}
    for turn in range(1, setup.verify + 1):
        pair = [("winner", winner), ("defaults", defaults)]
        for role, trial in pair if turn % 2 else reversed(pair):
            if (turn, trial.number) not in done:
                if not budget.has(launch_s):
                    watch.note("the verification ends here: its next launch would not end within --max-hours")
                    return
                watch.verification_begins(role, turn, setup.verify)
                store.add_verification(setup.study, _again(setup, store, watch, turn, role, trial))


def _again(setup: Setup, store: Store, watch: Watch, turn: int, role: str, trial: Trial) -> Verification:
    started_at = setup.clock.now()
    passed = {} if trial.is_default else trial.params
    outcome = run_recorded(setup, store, watch, trial.number, trial.command, passed, label=f"-verify-{turn}")
    return Verification(
        round=turn,
        role=role,
        trial_number=trial.number,
        command=trial.command,
        outcome=outcome,
        started_at=started_at,
        ended_at=setup.clock.now(),
    )
