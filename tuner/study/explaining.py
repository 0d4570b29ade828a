"""What each changed setting of a verified winner brings, launched: the winner without it, in turn with the winner itself.

In: a study in the database whose contest is decided. Out: its trials and launches in it; the launches that are left go to the
winner without what brings nothing. It decides nothing: what follows is read from the database.
"""

from collections.abc import Callable, Sequence
from functools import partial

from tuner.decide.attribution import Launched, Without, ballast_of, next_launch, next_of_trimmed, planned, worth
from tuner.launch.engine import Engine
from tuner.propose.importance import importances
from tuner.record.aside import stored_or_kept
from tuner.record.rows import EXPLAIN, Verification
from tuner.record.store import Store
from tuner.study.attempt import Attempt, known_outcome, trial_of
from tuner.study.baselines import point_of
from tuner.study.budget import Budget
from tuner.study.decided import contest_decision, searched
from tuner.study.explained import changed_names, launched_of, trimmed_trial, winner_of, without_of
from tuner.study.gate import Gate, refuse_what_is_not_of_the_settings
from tuner.study.hand_settings import params_of
from tuner.study.launches import run_recorded
from tuner.study.setup import Setup
from tuner.study.watch import Watch
from tuner.types import (
    Command,
    Explains,
    Failed,
    FailureKind,
    Params,
    Proposal,
    Resolved,
    Trial,
    Twin,
)


def explain(
    setup: Setup,
    store: Store,
    engine: Engine,
    watch: Watch,
    budget: Budget,
    launch_s: Callable[[Trial], float],
    gate: Gate,
) -> None:
    """At most `setup.explain` launches, plainly. What was launched before an interruption is kept. Nothing is done where the
    contest found nothing to deploy but the defaults, nor when a launch, which may take the winner's `launch_s` seconds, would
    not end within the budget. Raises RunError for a launch that failed for what no settings would change."""
    if not setup.explain:
        return
    found = contest_decision(store, setup.study)
    winner = winner_of(found)
    if winner is None or found.defaults is None:
        watch.note("nothing is explained: the verification recommends no other settings than vLLM's defaults")
        return
    explaining = _Explaining(setup, store, engine, watch, gate, winner, found.defaults)
    explaining.ask()
    while (step := explaining.next()) is not None:
        if not budget.has(launch_s(winner)):
            watch.note("the explanation ends here: its next launch would not end within --max-hours")
            return
        explaining.launch(step)
    explaining.tell()


class _Explaining:
    """Of one winner."""

    def __init__(
        self, setup: Setup, store: Store, engine: Engine, watch: Watch, gate: Gate, winner: Trial, defaults: Trial
    ) -> None:
        self._setup, self._store, self._engine, self._watch, self._gate = setup, store, engine, watch, gate
        self._winner, self._defaults = winner, defaults
        self._names = changed_names(winner, defaults)
        told = importances(searched(store.trials(setup.study)), setup.objective)
        effects = {one.name: one.effect or 0.0 for one in told.settings}
        #: The most influential first, by what the search says; the others in the order of the settings.
        self._ordered = sorted(self._names, key=lambda name: -effects.get(name, 0.0))

    def ask(self) -> None:
        """What vLLM makes of the winner without each setting: what it refuses, or makes the same of, is not launched."""
        for name in self._ordered:
            explains = Explains(of=self._winner.number, reset=self._with_dependents(name))
            if self._trial(explains) is None:
                self._asked(explains)

    def next(self) -> Without | int | None:
        """What is launched next."""
        launched, most = self._launched(), self._setup.explain
        without = self._without()
        if (step := next_launch(without, launched, most)) is not None:
            return step
        light = ballast_of([worth(one, launched, self._setup.objective) for one in without])
        if not light or self._setup.beside:
            return None
        trials = self._store.trials(self._setup.study)
        known = trimmed_trial(trials, self._winner, light)
        explains = (known.explains if known else None) or Explains(of=self._winner.number, reset=light)
        if known is None and not self._asked(explains):
            return None
        trimmed = without_of(explains, self._store.trials(self._setup.study), self._winner)
        if trimmed.why is not None or (known is not None and isinstance(known.outcome, Twin)):
            return None
        return next_of_trimmed(trimmed, launched, most)

    def launch(self, step: Without | int) -> None:
        """Once more, and keep it."""
        trials = self._store.trials(self._setup.study)
        number = step if isinstance(step, int) else step.trial
        known = next((trial for trial in trials if trial.number == number), None)
        self._watch.verification_begins(self._words(step), 1 + sum(self._launched().made.values()), self._setup.explain)
        if known is None and isinstance(step, Without):
            self._launch_first(Explains(of=self._winner.number, reset=step.reset))
        elif known is not None:
            self._launch_again(known)

    def tell(self) -> None:
        """What was not launched, for want of launches."""
        launched = self._launched()
        without = self._without()
        tried = planned(without, launched, self._setup.explain)
        left = [one for one in without if one.why is None and one.trial is None and one not in tried]
        if left:
            names = ", ".join(name for one in left for name in one.reset)
            self._watch.note(
                f"not launched without {names}: two launches each need more than --explain {self._setup.explain}"
            )

    def _words(self, step: Without | int) -> str:
        winner = f"trial {self._winner.number}"
        return winner if isinstance(step, int) else f"{winner} without {', '.join(step.reset)}"

    def _with_dependents(self, name: str) -> tuple[str, ...]:
        """With the settings that mean nothing without it."""
        space = self._setup.space
        if self._winner.baseline is not None or name not in space.parameters:
            return (name,)
        point = self._point((name,))
        return (name, *(n for n in self._names if n != name and n in space.parameters and n not in space.active(point)))

    def _point(self, reset: Sequence[str]) -> Params:
        """What is passed."""
        if self._winner.baseline is not None:
            return {n: v for n, v in params_of(self._winner.baseline).items() if n not in reset}
        usual = self._defaults.params
        point = {n: v for n, v in self._winner.params.items() if n not in reset or n in usual}
        return {**point, **{name: usual[name] for name in reset if name in usual}}

    def _without(self) -> list[Without]:
        trials = self._store.trials(self._setup.study)
        asked = [Explains(of=self._winner.number, reset=self._with_dependents(name)) for name in self._ordered]
        return [without_of(one, trials, self._winner) for one in dict.fromkeys(asked)]

    def _launched(self) -> Launched:
        store, study = self._store, self._setup.study
        again = [one for one in store.verifications(study) if one.contest == len(store.contests(study))]
        return launched_of(self._winner, self._defaults, store.trials(study), again, EXPLAIN)

    def _trial(self, explains: Explains) -> Trial | None:
        return next((one for one in self._store.trials(self._setup.study) if one.explains == explains), None)

    def _command(self, explains: Explains) -> tuple[Params, Command]:
        passed = self._point(explains.reset)
        if self._winner.baseline is None:
            active = self._setup.space.active(passed)
            passed = {n: v for n, v in passed.items() if n in active or n not in self._setup.space.parameters}
        return passed, self._setup.launcher.command(passed)

    def _asked(self, explains: Explains) -> bool:
        """Whether it can be launched; what cannot, and what would repeat another trial, is kept as a trial without a launch."""
        attempt = self._attempt(explains, self._free_number())
        outcome = known_outcome(attempt, self._store.trials(self._setup.study))
        if outcome is None:
            return True
        self._store.finish(self._setup.study, trial_of(self._setup, attempt, outcome))
        return False

    def _attempt(self, explains: Explains, number: int) -> Attempt:
        passed, command = self._command(explains)
        answer, started_at = self._resolved(passed), self._setup.clock.now()
        proposal = Proposal(number=number, params=self._params(passed, answer), explains=explains)
        return Attempt(proposal=proposal, passed=passed, command=command, answer=answer, started_at=started_at)

    def _resolved(self, passed: Params) -> Resolved | Failed:
        usual = self._defaults.params
        broken = self._setup.space.violations(passed, usual) if self._winner.baseline is None else []
        if broken:
            return Failed(kind=FailureKind.REJECTED, message=f"a rule of the search space: {broken[0]}")
        return self._engine.resolve(self._setup.launcher.arguments(passed))

    def _params(self, passed: Params, answer: Resolved | Failed) -> Params:
        if self._winner.baseline is None or isinstance(answer, Failed):
            return passed
        return point_of(self._setup, passed, answer, self._defaults.params)

    def _free_number(self) -> int:
        study = self._setup.study
        known = [
            *(trial.number for trial in self._store.trials(study)),
            *(p.number for p in self._store.running(study)),
        ]
        return max(known, default=-1) + 1

    def _launch_first(self, explains: Explains) -> None:
        """As a trial of its own, which can be exported. One that was interrupted is run again under its number."""
        setup, store = self._setup, self._store
        begun = next((one.number for one in store.running(setup.study) if one.explains == explains), None)
        number = self._free_number() if begun is None else begun
        attempt = self._attempt(explains, number)
        proposal, command, answer = attempt.proposal, attempt.command, attempt.answer
        if isinstance(answer, Failed):
            store.finish(setup.study, trial_of(setup, attempt, answer))
            return
        store.begin(setup.study, proposal, command, answer, attempt.started_at)
        outcome = run_recorded(setup, store, self._watch, number, command, proposal.params)
        outcome = self._gate.judged(outcome, is_default=False)
        trial = trial_of(setup, attempt, outcome)
        refuse_what_is_not_of_the_settings(outcome, f"trial {number}, launched to explain trial {self._winner.number}")
        keep = partial(store.finish, setup.study, trial)
        stored_or_kept(keep, setup.logs / setup.study, store.study(setup.study), trial)

    def _launch_again(self, trial: Trial) -> None:
        setup, store = self._setup, self._store
        contest, started_at = len(store.contests(setup.study)), setup.clock.now()
        rounds = [one.round for one in store.verifications(setup.study) if one.contest == contest]
        round = max(rounds, default=0) + 1
        passed = {} if trial.is_default else trial.params
        label = f"-explain-{contest}-{round}"
        outcome = run_recorded(setup, store, self._watch, trial.number, trial.command, passed, label=label)
        outcome = self._gate.judged(outcome, is_default=trial.is_default)
        refuse_what_is_not_of_the_settings(outcome, f"trial {trial.number}, launched again")
        launched = Verification(
            contest=contest,
            round=round,
            role=EXPLAIN,
            trial_number=trial.number,
            command=trial.command,
            outcome=outcome,
            started_at=started_at,
            ended_at=setup.clock.now(),
        )
        keep = partial(store.add_verification, setup.study, launched)
        stored_or_kept(keep, setup.logs / setup.study, store.study(setup.study), launched)
