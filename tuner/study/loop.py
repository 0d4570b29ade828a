"""The loop: propose, run, record, write the book; then the winner and the defaults are verified. Resuming is the same loop.

In: a setup, the database, the engine. Out: trials in the database, and what to deploy. It does not know how anything is
shown: it reports what happens to a `Watch`.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime

from tuner.decide.pareto import leading
from tuner.decide.rank import defaults_of
from tuner.decide.slo import violations
from tuner.decide.startup import predicted_trial_s
from tuner.decide.twins import twin_of
from tuner.decide.verdict import Decision
from tuner.errors import RunError
from tuner.launch.card_lock import holding_cards
from tuner.launch.engine import Engine
from tuner.propose.book import Book
from tuner.record.aside import reserved, stored_or_kept, take_back
from tuner.record.rows import StudyRecord, Verification
from tuner.record.store import Store
from tuner.study.baselines import due, for_the_sampler, not_heeded, passed_by, point_of, refusal, unknown_to
from tuner.study.budget import Budget
from tuner.study.decided import study_decision
from tuner.study.deleting import not_left_empty
from tuner.study.ending import Ending
from tuner.study.explaining import explain
from tuner.study.fingerprint import host_changed
from tuner.study.gate import Gate, refuse_what_is_not_of_the_settings
from tuner.study.identity import check_same, other_sampler, record_of
from tuner.study.launches import make_log_folder, run_recorded, started_with, sweep_leftovers
from tuner.study.lease import holding
from tuner.study.model import ServerModel
from tuner.study.proposing import Proposing, words_of
from tuner.study.setup import Setup, check_lengths, too_short
from tuner.study.showing import Showing
from tuner.study.transfer import transfer
from tuner.study.verification import verify
from tuner.study.watch import Watch
from tuner.types import (
    Command,
    Failed,
    FailureKind,
    Measured,
    Outcome,
    Params,
    Predicted,
    Proposal,
    Resolved,
    Trial,
    Twin,
)

#: When this many trials in a row fail from the start, the fault is not in the settings.
_GIVE_UP_AFTER = 5
#: When vLLM refuses this many proposals in a row, there is little in the space that it accepts; when it makes of them what was
#: launched already, there is little left in it.
_IN_A_ROW = 50
#: The API server and EngineCore each import vLLM; a worker may, too.
_IMPORTS = 3


def run_study(setup: Setup, store: Store, engine: Engine, watch: Watch) -> Decision:
    """Run until the setup's number of trials is launched and verified, or its hours are over.

    Raises RunError when vLLM refuses its own defaults, every trial fails, or something other than the settings fails;
    KeyboardInterrupt leaves all that is finished.
    """
    budget = Budget(setup.max_hours, setup.clock.monotonic)
    for told in sweep_leftovers(store):
        watch.note(told)
    watch.phase("asking vLLM for its defaults")
    resolved = engine.resolve(setup.launcher.arguments({}))
    if isinstance(resolved, Failed):
        raise RunError(f"vLLM refuses model {setup.launcher.model} with its own defaults: {resolved.message}")
    check_lengths(setup, resolved.settings)
    make_log_folder(setup.logs / setup.study)
    stored = store.create_or_get_study(record_of(setup))
    with (
        store.errors(),
        holding(store, setup.study, watch.note),
        not_left_empty(store, setup.study),
        reserved(setup.logs / setup.study),
        holding_cards(setup.gpus, setup.wait_for_gpu_s, watch.note),
    ):
        check_same(stored, setup)
        if taught := transfer(setup, stored, store, watch.note):
            setup = replace(setup, calibration=taught.calibration)
        if changed := host_changed(stored.fingerprint.host_speed, setup.fingerprint.host_speed):
            watch.note(changed)
        if other := other_sampler(stored, setup):
            watch.note(other)
        for told in not_heeded(setup.baselines):
            watch.note(told)
        gate, model = Gate(setup, store, watch), ServerModel(setup, watch.detail)
        proposing = Proposing(setup, resolved.settings, model, watch, taught.earlier if taught else ())
        with closing(Book(store.url, setup.study, words_of(setup), tell=watch.note)) as book:
            showing = Showing(store, setup.study, book.show)
            search = _Search(setup, store, engine, watch, model, proposing, book, showing, budget, gate, stored)
            search.reconcile()
            search.run()
            showing.now()
            verify(setup, store, watch, budget, search.plain_launch_s(), gate)
            explain(setup, store, engine, watch, budget, search.plain_launch_s(), gate)
            showing.now()
    return study_decision(store, setup.study)


class _Search:
    """The state of one run of the loop."""

    def __init__(
        self,
        setup: Setup,
        store: Store,
        engine: Engine,
        watch: Watch,
        model: ServerModel,
        proposing: Proposing,
        book: Book,
        showing: Showing,
        budget: Budget,
        gate: Gate,
        study: StudyRecord,
    ) -> None:
        self._setup, self._store, self._engine, self._watch = setup, store, engine, watch
        self._proposing, self._book, self._budget, self._gate, self._study = proposing, book, budget, gate, study
        self._model, self._ending, self._showing = model, Ending(setup, watch.note), showing
        self._finished: list[Trial] = []

    def reconcile(self) -> None:
        """Store what the database refused before, and bring Optuna's book up to what is stored."""
        take_back(self._setup.logs / self._setup.study, self._study, self._take_back)
        self._finished = self._store.trials(self._setup.study)
        self._write()
        self._proposing.begin([trial for trial in self._finished if trial.is_searched])
        if self._finished:
            self._watch.study_continues(self._finished, self._leading())

    def _take_back(self, measured: Trial | Verification) -> None:
        study = self._setup.study
        if isinstance(measured, Verification):
            known = {(v.contest, v.round, v.trial_number) for v in self._store.verifications(study)}
            if (measured.contest, measured.round, measured.trial_number) not in known:
                self._store.add_verification(study, measured)
        elif measured.number not in {trial.number for trial in self._store.trials(study)}:
            self._store.finish(study, measured)

    def _write(self) -> None:
        self._book.write(self._finished, self._store.running(self._setup.study))
        if self._finished:
            self._showing.maybe()

    def run(self) -> None:
        while len(launched := self._launched()) < self._ending.limit or self._hand_settings() is not None:
            if len(launched) >= _GIVE_UP_AFTER and all(isinstance(t.outcome, Failed) for t in launched):
                raise RunError(_all_failed(launched))
            if self._is_exhausted():
                return
            if not self._budget.has(self._reserve_s()):
                self._watch.note(
                    "the search ends here: another trial and the verification would not end within --max-hours"
                )
                return
            proposal = self._next()
            if proposal is None:
                self._watch.note(self._proposing.ended)
                return
            self._finish(self._run(proposal))

    def _launched(self) -> list[Trial]:
        """By the search: the user's own settings come on top of --trials."""
        return [trial for trial in self._finished if trial.attempts and trial.is_searched]

    def _known(self) -> list[Trial]:
        """What the sampler and the model of the server are told."""
        return for_the_sampler(self._finished, self._setup.space.parameters)

    def _hand_settings(self) -> Proposal | None:
        return due(self._setup.baselines, self._finished)

    def _is_exhausted(self) -> bool:
        """Whether nothing of the last proposals could be launched and most of the space is known. Raises RunError where vLLM
        refused them all."""
        last = self._finished[-_IN_A_ROW:]
        if len(last) < _IN_A_ROW or any(trial.attempts for trial in last):
            return False
        twins = sum(isinstance(trial.outcome, Twin) for trial in last)
        if not twins:
            raise RunError(_all_refused(self._finished))
        refused = f", and vLLM refused the other {len(last) - twins}" if twins < len(last) else ""
        self._watch.note(
            f"the search ends here: {twins} of the last {len(last)} proposals equal settings that were launched{refused}"
        )
        return True

    def plain_launch_s(self) -> float:
        """What a plain launch of the best settings or of the defaults may take, with the imports that a warm start saves; 0 if
        none was seen."""
        known = [self._leading(), defaults_of(self._finished)]
        keys = {trial.compile_key for trial in known if trial is not None}
        return self._plain_s(max((predicted_trial_s(self._finished, key) for key in keys), default=0.0))

    def _plain_s(self, trial_s: float) -> float:
        return trial_s + (_IMPORTS * self._engine.info.import_s if self._setup.warm and trial_s else 0.0)

    def _reserve_s(self) -> float:
        """For the next trial, whose compile key is not known yet, and the verification. Half of the hours are the search's in
        any case: without it there is nothing to verify, and a verification that is cut short goes on another time."""
        longest = self._plain_s(predicted_trial_s(self._finished, None, is_known=False))
        return longest + self._budget.at_most_half(2 * self._setup.verify * self.plain_launch_s())

    def _next(self) -> Proposal | None:
        if unfinished := [one for one in self._store.running(self._setup.study) if one.explains is None]:
            self._watch.note(f"trial {unfinished[0].number} was interrupted and is run again")
            return unfinished[0]
        self._store.check_held(self._setup.study)
        if (hand := self._hand_settings()) is not None:
            return hand
        winner, names = self._ending.last(self._finished)
        wished = {name: value for name, value in winner.params.items() if name not in names} if winner else None
        proposal = self._proposing.next(self._known(), wished)
        if proposal is not None:  # a trial that the sampler was not told of has a number, too
            proposal = replace(proposal, number=max((t.number for t in self._finished), default=-1) + 1)
        if proposal and winner and wished and wished.items() <= proposal.params.items():
            told = ", ".join(names)
            self._watch.note(
                f"trial {proposal.number} is trial {winner.number} without what seems to bring nothing: {told}"
            )
        return proposal

    def _run(self, proposal: Proposal) -> Trial:
        """Launch what vLLM accepts and what was not launched yet; all else costs nothing but its sentence."""
        self._watch.trial_begins(proposal, self._setup.launches)
        passed = passed_by(proposal)
        command, started_at = self._setup.launcher.command(passed), self._setup.clock.now()
        answer = self._resolve(self._setup.launcher.arguments(passed))
        if proposal.baseline is not None:
            answer = self._taken(proposal.baseline, passed, answer)
            if isinstance(answer, Resolved):
                usual = defaults_of(self._finished)
                point = point_of(self._setup, passed, answer, usual.params if usual else {})
                proposal = replace(proposal, params=point)
        outcome: Outcome | Twin
        predicted: Predicted | None = None
        effective: Params = {}
        twin = None if isinstance(answer, Failed) else twin_of(answer, command, self._finished)
        if isinstance(answer, Failed):
            outcome = answer
        elif twin is not None:
            outcome = twin
        else:
            is_known = proposal.baseline is None or proposal.params.keys() <= self._setup.space.parameters.keys()
            predicted = self._model.predict(proposal.params, self._known()) if is_known else None
            outcome = self._launch(proposal, command, passed, answer, started_at)
            effective = started_with(self._setup, proposal.number, answer.settings)
        known = answer if isinstance(answer, Resolved) else None
        return Trial(
            number=proposal.number,
            params=proposal.params,
            is_default=proposal.is_default,
            resolved=known.settings if known else {},
            command=command,
            outcome=outcome,
            violations=violations(outcome.load, self._setup.constraints) if isinstance(outcome, Measured) else {},
            started_at=started_at,
            ended_at=self._setup.clock.now(),
            attempts=0 if outcome is answer or outcome is twin else 1,
            digest=known.digest if known else None,
            compile_key=known.compile_key if known else None,
            effective=effective,
            predicted=predicted,
            baseline=proposal.baseline,
        )

    def _launch(
        self, proposal: Proposal, command: Command, passed: Params, resolved: Resolved, started_at: datetime
    ) -> Outcome:
        self._store.begin(self._setup.study, proposal, command, resolved, started_at)
        self._write()
        engine = self._engine if self._setup.warm else None
        outdo = self._ending.outdo(proposal, self._finished)
        outcome = run_recorded(
            self._setup, self._store, self._watch, proposal.number, command, passed, engine=engine, outdo=outdo
        )
        return self._gate.judged(outcome, is_default=proposal.is_default)

    def _taken(self, flags: str, hand: Params, answer: Resolved | Failed) -> Resolved | Failed:
        """The answer to hand settings; a refusal says whose they are."""
        why = unknown_to(self._engine.info, hand)
        if why is None and isinstance(answer, Resolved):
            why = too_short(self._setup, answer.settings)
        if why is not None:
            return Failed(kind=FailureKind.REJECTED, message=refusal(flags, why))
        return replace(answer, message=refusal(flags, answer.message)) if isinstance(answer, Failed) else answer

    def _resolve(self, arguments: tuple[str, ...]) -> Resolved | Failed:
        """vLLM's answer; the second one where the first may have been a hiccup of the hub."""
        answer = self._engine.resolve(arguments)
        return self._engine.resolve(arguments) if isinstance(answer, Failed) and answer.kind.is_transient else answer

    def _finish(self, trial: Trial) -> None:
        """Keep it, and tell it. Raises RunError when it failed for what no other settings would change."""
        self._watch.phase("keeping the trial")
        folder = self._setup.logs / self._setup.study
        stored_or_kept(lambda: self._store.finish(self._setup.study, trial), folder, self._study, trial)
        if not isinstance(trial.outcome, Twin):
            refuse_what_is_not_of_the_settings(trial.outcome, f"trial {trial.number}")
        self._finished.append(_without_timeline(trial))
        self._write()
        self._watch.trial_ended(trial, self._leading())
        self._proposing.judge(trial)
        if trial.attempts and trial.is_searched:
            self._ending.launched(self._proposing.promised(self._known()), self._finished)

    def _leading(self) -> Trial | None:
        return leading(self._finished, self._setup.objectives)


def _without_timeline(trial: Trial) -> Trial:
    """What is stored need not be kept in memory, too."""
    outcome = trial.outcome
    return replace(trial, outcome=replace(outcome, timeline=None)) if isinstance(outcome, Measured) else trial


def _all_refused(trials: Sequence[Trial]) -> str:
    last = trials[-1].outcome
    assert isinstance(last, Failed)
    return f"vLLM refused the last {_IN_A_ROW} proposals of the search space, the last one because: {last.message}"


def _all_failed(trials: Sequence[Trial]) -> str:
    last = trials[-1].outcome
    assert isinstance(last, Failed)
    return f"the first {len(trials)} trials all failed, the last one as {last.kind.value}: {last.message}"
