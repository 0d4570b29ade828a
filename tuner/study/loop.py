"""The loop: propose, run, record, write the book; then the winner and the defaults are verified. Resuming is the same loop.

In: a setup, the database, the engine. Out: trials in the database, and what to deploy. It does not know how anything is
shown: it reports what happens to a `Watch`.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

from tuner.decide.early import Outdo
from tuner.decide.pareto import leading
from tuner.decide.rank import defaults_of, hand_trials
from tuner.decide.startup import plain_launch_s, predicted_trial_s, with_imports
from tuner.decide.verdict import Decision
from tuner.errors import RunError
from tuner.execute.slot import Slot
from tuner.launch.card_lock import holding_cards
from tuner.launch.engine import Engine
from tuner.launch.job import Again
from tuner.launch.vllm import Seen
from tuner.propose.book import Book
from tuner.record.aside import reserved, stored_or_kept, take_back
from tuner.record.rows import StudyRecord, Verification
from tuner.record.store import Store
from tuner.space.parameters import shown
from tuner.study.attempt import Attempt, asked, known_outcome, trial_of
from tuner.study.baselines import due, for_the_sampler, not_heeded
from tuner.study.budget import Budget
from tuner.study.decided import study_decision
from tuner.study.deleting import not_left_empty
from tuner.study.ending import Ending
from tuner.study.explaining import explain
from tuner.study.fingerprint import host_changed
from tuner.study.gate import Gate, refuse_what_is_not_of_the_settings
from tuner.study.hand_settings import HandSettings
from tuner.study.identity import check_same, other_sampler, record_of
from tuner.study.in_flight import InFlight
from tuner.study.launches import make_log_folder, run_recorded, sweep_leftovers
from tuner.study.lease import holding
from tuner.study.model import ServerModel
from tuner.study.neighbours import Neighbours
from tuner.study.proposing import Proposing, words_of
from tuner.study.setup import Setup, check_lengths
from tuner.study.showing import Showing
from tuner.study.slots import in_slot
from tuner.study.transfer import transfer
from tuner.study.verification import verify
from tuner.study.watch import Shared, Watch
from tuner.types import Failed, Measured, Outcome, Proposal, Resolved, Trial, Twin

#: When this many trials in a row fail from the start, the fault is not in the settings.
_GIVE_UP_AFTER = 5
#: When vLLM refuses this many proposals in a row, there is little in the space that it accepts; when it makes of them what was
#: launched already, there is little left in it.
_IN_A_ROW = 50


def run_study(setup: Setup, store: Store, engine: Engine, watch: Watch) -> Decision:
    """Run until the setup's number of trials is launched and verified, or its hours are over.

    Raises RunError when vLLM refuses its own defaults, every trial fails, or something other than the settings fails;
    KeyboardInterrupt leaves all that is finished.
    """
    budget, watch = Budget(setup.max_hours, setup.clock.monotonic), Shared(watch)
    for told in sweep_leftovers(store):
        watch.note(told)
    watch.phase("asking vLLM for its defaults")
    resolved = engine.resolve(setup.launcher.arguments({}))
    if isinstance(resolved, Failed):
        raise RunError(f"vLLM refuses model {setup.launcher.model} with {_fixed_words(setup)}: {resolved.message}")
    check_lengths(setup, resolved.settings)
    make_log_folder(setup.logs / setup.study)
    stored = store.create_or_get_study(record_of(setup))
    with (
        store.errors(),
        holding(store, setup.study, watch.note),
        not_left_empty(store, setup.study),
        reserved(setup.logs / setup.study),
        holding_cards(setup.all_gpus, setup.wait_for_gpu_s, watch.note),
    ):
        check_same(stored, setup, store.trials(setup.study))
        if stored.fingerprint.mps != setup.fingerprint.mps:
            store.share_gpus(setup.study, mps=setup.fingerprint.mps)
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
            alone = in_slot(setup, setup.slots[0])
            verify(alone, store, watch, budget, search.plain_launch_s, gate)
            explain(alone, store, engine, watch, budget, search.longest_launch_s, gate)
            showing.now()
    return study_decision(store, setup.study)


def _fixed_words(setup: Setup) -> str:
    """What the defaults have, as the user may have said it."""
    fixed = " ".join(f"{name}={shown(value)}" for name, value in setup.launcher.fixed.items())
    return f"its own defaults and what is fixed ({fixed})" if fixed else "its own defaults"


class _Search:
    """The state of one run of the loop."""

    def __init__(
        self,
        setup: Setup,
        store: Store,
        engine: Engine,
        watch: Shared,
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
        self._neighbours = Neighbours(setup, store, watch.note)
        self._finished: list[Trial] = []
        self._is_over = False

    def reconcile(self) -> None:
        """Store what the database refused before, and bring Optuna's book up to what is stored."""
        take_back(self._setup.logs / self._setup.study, self._study, self._take_back)
        self._finished = self._store.trials(self._setup.study)
        self._write()
        self._proposing.begin([trial for trial in self._finished if trial.is_searched])
        if self._finished:
            self._watch.study_continues(self._finished, self._leading())

    def _take_back(self, measured: Trial | Verification) -> None:
        """Store it, unless it is there. Of a trial that another host has measured meanwhile, that measurement stays."""
        study = self._setup.study
        stored: Trial | Verification | None
        if isinstance(measured, Verification):
            number = measured.trial_number
            place = (measured.contest, measured.round, number)
            again = {(one.contest, one.round, one.trial_number): one for one in self._store.verifications(study)}
            if (stored := again.get(place)) is None:
                self._store.add_verification(study, measured)
        else:
            number = measured.number
            trials = {one.number: one for one in self._store.trials(study)}
            if (stored := trials.get(number)) is None:
                self._store.finish(study, measured)
        if stored is not None and stored.ended_at != measured.ended_at:
            self._watch.note(
                f"a measurement of trial {number} that was kept here is left out: it was made again meanwhile"
            )

    def _write(self) -> None:
        self._book.write(self._finished, self._store.running(self._setup.study))
        if self._finished:
            self._showing.maybe()

    def run(self) -> None:
        with InFlight(self._setup.slots) as flying:
            while True:
                while self._may_begin(flying) and (proposal := self._next(flying)) is not None:
                    if not self._begin(proposal, flying):
                        break
                if self._neighbours.needs_check(self._finished, self._left(), len(flying)):
                    again = self._neighbours.begin(self._left(), is_first=False)
                    flying.begin(self._check(), partial(self._launch, None, again))
                if not flying:
                    return
                attempt, outcome, place = flying.landed()
                if not attempt.is_check:
                    self._finish(trial_of(self._setup, attempt, outcome, place), attempt.promise)
                if attempt.proposal.is_default:
                    self._neighbours.end(is_first=not attempt.is_check)

    def _may_begin(self, flying: InFlight) -> bool:
        """Whether another proposal is wanted now. The launch of the best without ballast, whose turn is last, has the host to
        itself."""
        if self._is_over or flying.free <= self._neighbours.keeps_free(self._finished, self._left()):
            return False
        launched, begun = self._launched(), flying.searched
        if len(launched) + begun >= self._ending.limit and self._hand_settings(flying) is None:
            return False
        if len(launched) >= _GIVE_UP_AFTER and all(isinstance(t.outcome, Failed) for t in launched):
            raise RunError(_all_failed(launched))
        if flying and self._ending.last(self._finished, begun)[0] is not None:
            return False
        if self._is_exhausted():
            self._is_over = True
        elif not self._budget.has(self._reserve_s()):
            self._is_over = True
            self._watch.note(
                "the search ends here: another trial and the verification would not end within --max-hours"
            )
        return not self._is_over

    def _left(self) -> int:
        """How many launches of the search have not ended yet."""
        return 0 if self._is_over else self._ending.limit - len(self._launched())

    def _launched(self) -> list[Trial]:
        """By the search: the user's own settings come on top of --trials."""
        return [trial for trial in self._finished if trial.attempts and trial.is_searched]

    def _known(self) -> list[Trial]:
        """What the sampler and the model of the server are told."""
        return for_the_sampler(self._finished, self._setup.space.parameters)

    def _hand_settings(self, flying: InFlight) -> HandSettings | None:
        return due(self._setup.baselines, self._finished, flying.proposals)

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

    def plain_launch_s(self, trial: Trial) -> float:
        """What a plain launch of it may take."""
        again = [one for one in self._store.verifications(self._setup.study) if one.trial_number == trial.number]
        took = [(one.ended_at - one.started_at).total_seconds() for one in again if isinstance(one.outcome, Measured)]
        return plain_launch_s(trial, self._finished, took, self._import_s)

    def longest_launch_s(self, trial: Trial) -> float:
        """What a plain launch of it may take with other settings, whose compile key is not known yet."""
        return max(self.plain_launch_s(trial), self._unknown_s(trial.command.engines_per_gpu))

    def _unknown_s(self, engines: int = 1) -> float:
        return with_imports(predicted_trial_s(self._finished, None, is_known=False), self._import_s, engines)

    @property
    def _import_s(self) -> float:
        """That a warm start saves."""
        return self._engine.info.import_s if self._setup.warm else 0.0

    def _reserve_s(self) -> float:
        """For the next trial, whose compile key is not known yet, and the verification. Half of the hours are the search's in
        any case: without it there is nothing to verify, and a verification that is cut short goes on another time."""
        sides = [self._leading(), defaults_of(self._finished), *hand_trials(self._finished)]
        known = {trial.number: trial for trial in sides if trial is not None}
        verification = self._setup.verify * sum(map(self.plain_launch_s, known.values()))
        return self._unknown_s() + self._budget.at_most_half(verification)

    def _next(self, flying: InFlight) -> Proposal | None:
        """None when there is nothing to propose now; where nothing is in flight either, that is the end, and told."""
        begun, unfinished = flying.proposals, self._store.running(self._setup.study)
        known = {one.number for one in begun}
        for one in unfinished:
            if one.explains is None and one.number not in known:
                self._watch.note(f"trial {one.number} was interrupted and is run again")
                return one
        self._store.check_held(self._setup.study)
        # a trial that the sampler was not told of has a number, too
        every: list[Trial | Proposal] = [*self._finished, *begun, *unfinished]
        number = max((one.number for one in every), default=-1) + 1
        if (hand := self._hand_settings(flying)) is not None:
            return Proposal(number=number, params=hand.params, baseline=hand.flags)
        winner, names = self._ending.last(self._finished, flying.searched)
        wished = {name: value for name, value in winner.params.items() if name not in names} if winner else None
        proposal = self._proposing.next(self._known(), wished, begun)
        if proposal is None:
            if not flying:
                self._watch.note(self._proposing.ended)
            return None
        proposal = replace(proposal, number=number)
        if winner and wished and wished.items() <= proposal.params.items():
            told = ", ".join(names)
            self._watch.note(
                f"trial {proposal.number} is trial {winner.number} without what seems to bring nothing: {told}"
            )
        return proposal

    def _begin(self, proposal: Proposal, flying: InFlight) -> bool:
        """Launch what vLLM accepts and what was not launched yet; all else costs nothing but its sentence. False where the same
        server is being launched: then that one has to be waited for."""
        promise = self._proposing.promise
        attempt = replace(asked(self._setup, self._engine, proposal, self._finished), promise=promise)
        outcome = known_outcome(attempt, self._finished)
        if outcome is None and flying.has_equal(attempt):
            return False
        self._watch.trial_begins(attempt.proposal, self._setup.launches)
        if outcome is not None:
            self._finish(trial_of(self._setup, attempt, outcome), promise)
            return True
        params = attempt.proposal.params
        is_known = proposal.baseline is None or params.keys() <= self._setup.space.parameters.keys()
        attempt = replace(attempt, predicted=self._model.predict(params, self._known()) if is_known else None)
        assert isinstance(attempt.answer, Resolved)
        self._store.begin(self._setup.study, attempt.proposal, attempt.command, attempt.answer, attempt.started_at)
        self._write()
        again = self._neighbours.begin(self._left() - 1, is_first=True) if proposal.is_default else None
        flying.begin(attempt, partial(self._launch, self._ending.outdo(proposal, self._finished), again))
        return True

    def _launch(self, outdo: Outdo | None, again: Again | None, attempt: Attempt, slot: Slot, seen: Seen) -> Outcome:
        """In the thread of the slot."""
        setup, watch = in_slot(self._setup, slot), self._watch.of(attempt.number)
        engine = self._engine if setup.warm and slot.run is None else None
        outcome = run_recorded(
            setup,
            self._store,
            watch,
            attempt.number,
            attempt.command,
            attempt.passed,
            engine=engine,
            outdo=outdo,
            label="-neighbours" if attempt.is_check else "",
            turns=self._neighbours.turns_of(slot, is_default=attempt.proposal.is_default),
            again=again,
            seen=seen,
        )
        return self._gate.judged(outcome, setup, is_default=attempt.proposal.is_default)

    def _check(self) -> Attempt:
        """The defaults once more, which are no trial."""
        defaults = defaults_of(self._finished)
        assert defaults is not None
        proposal = Proposal(number=defaults.number, params=defaults.params, is_default=True)
        return replace(asked(self._setup, self._engine, proposal, self._finished), is_check=True)

    def _finish(self, trial: Trial, promise: float | None) -> None:
        """Keep it, and tell it; `promise` is the gain that was expected of it. Raises RunError when it failed for what no other
        settings would change."""
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
            self._ending.launched(self._proposing.promised(self._known(), promise), self._finished)

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
