"""The loop: propose, run, record, tell; then the winner and the defaults are verified. Resuming is the same loop.

In: a plan, the database, vLLM's host. Out: trials in the database, and what to deploy. It does not know how anything is
shown: it reports what happens to a `Watch`.
"""

from collections.abc import Sequence

from tuner.budget import Budget
from tuner.decide import Decision, best, violations
from tuner.errors import RunError, UsageError
from tuner.launch.engine import Host
from tuner.plan import Plan, check_lengths
from tuner.propose.proposer import Proposer
from tuner.record import Store, StudyRecord
from tuner.recorded import run_recorded, sweep_leftovers
from tuner.space import UNSET, Categorical
from tuner.types import Failed, Measured, Outcome, Params, Proposal, Trial, Value
from tuner.verify import slo_texts, study_decision, verify
from tuner.watch import Watch

#: When this many trials in a row fail from the start, the fault is not in the settings.
_GIVE_UP_AFTER = 5
#: When vLLM refuses this many proposals in a row, there is little in the space that it accepts.
_REFUSED_IN_A_ROW = 50
#: The API server and EngineCore each import vLLM; a worker may, too.
_IMPORTS = 3
_RUN_AGAIN = "run the same command again once that is mended: this trial is not counted"


def run_study(plan: Plan, store: Store, host: Host, watch: Watch) -> Decision:
    """Run until the plan's number of trials is launched and verified, or its hours are over.

    Raises RunError when vLLM refuses its own defaults, every trial fails, or something other than the settings fails;
    KeyboardInterrupt leaves all that is finished.
    """
    budget = Budget(plan.max_hours, plan.clock.monotonic)
    for told in sweep_leftovers(store):
        watch.note(told)
    _same_slos(store.create_or_get_study(_record(plan)), plan)
    watch.phase("asking vLLM for its defaults")
    resolved = host.resolve(plan.engine.arguments({}))
    if isinstance(resolved, Failed):
        raise RunError(f"vLLM refuses model {plan.engine.model} with its own defaults: {resolved.message}")
    check_lengths(plan, resolved)
    with store.claimed(plan.study):
        proposer = _proposer(plan, store, resolved)
        try:
            search = _Search(plan, store, host, watch, proposer, budget)
            search.reconcile()
            search.run()
        finally:
            proposer.close()
        verify(plan, store, watch, budget, search.plain_launch_s())
    return study_decision(store, plan.study)


class _Search:
    """The state of one run of the loop."""

    def __init__(self, plan: Plan, store: Store, host: Host, watch: Watch, proposer: Proposer, budget: Budget) -> None:
        self._plan, self._store, self._host, self._watch = plan, store, host, watch
        self._proposer, self._budget = proposer, budget
        self._finished: list[Trial] = []

    def reconcile(self) -> None:
        """Tell Optuna what was finished and stored before a crash kept it from being told."""
        self._finished = self._store.trials(self._plan.study)
        for trial in self._finished:
            self._proposer.tell(trial)
        if self._finished:
            self._watch.study_continues(self._finished, best(self._finished, self._plan.objective))

    def run(self) -> None:
        while len(launched := [t for t in self._finished if t.attempts]) < self._plan.trials:
            if len(launched) >= _GIVE_UP_AFTER and all(isinstance(t.outcome, Failed) for t in launched):
                raise RunError(_all_failed(launched))
            if sum(t.attempts == 0 for t in self._finished[-_REFUSED_IN_A_ROW:]) == _REFUSED_IN_A_ROW:
                raise RunError(_all_refused(self._finished))
            if not self._budget.has(self._reserve_s()):
                self._watch.note(
                    "the search ends here: another trial and the verification would not end within --max-hours"
                )
                return
            proposal = self._next()
            if proposal is None:
                self._watch.note("every setting of the search space that can run has been tried")
                return
            self._finish(self._run(proposal))

    def plain_launch_s(self) -> float:
        """What one plain launch may take: the longest trial, and the imports that a warm start saves; 0 if none was seen."""
        longest = max(((t.ended_at - t.started_at).total_seconds() for t in self._finished), default=0.0)
        return longest + (_IMPORTS * self._host.info.import_s if self._plan.warm and longest else 0.0)

    def _reserve_s(self) -> float:
        return self.plain_launch_s() * (1 + 2 * self._plan.verify)

    def _next(self) -> Proposal | None:
        if unfinished := self._proposer.unfinished():
            self._watch.note(f"trial {unfinished[0].number} was interrupted and is run again")
            return unfinished[0]
        return self._proposer.propose()

    def _run(self, proposal: Proposal) -> Trial:
        """Launch what vLLM accepts; what it refuses costs nothing but its sentence."""
        self._watch.trial_begins(proposal, self._plan.trials)
        passed = {} if proposal.is_default else proposal.params
        command, started_at = self._plan.engine.command(passed), self._plan.clock.now()
        answer = self._resolve(self._plan.engine.arguments(passed))
        outcome: Outcome
        resolved: Params = {}
        if isinstance(answer, Failed):
            outcome = answer
        else:
            resolved = answer
            self._store.begin(self._plan.study, proposal, command, resolved, started_at)
            host = self._host if self._plan.warm else None
            outcome = run_recorded(self._plan, self._store, self._watch, proposal.number, command, passed, host=host)
        return Trial(
            number=proposal.number,
            params=proposal.params,
            is_default=proposal.is_default,
            resolved=resolved,
            command=command,
            outcome=outcome,
            violations=violations(outcome.load, self._plan.constraints) if isinstance(outcome, Measured) else {},
            started_at=started_at,
            ended_at=self._plan.clock.now(),
            attempts=0 if outcome is answer else 1,
        )

    def _resolve(self, arguments: tuple[str, ...]) -> Params | Failed:
        """vLLM's answer; the second one where the first may have been a hiccup of the hub."""
        answer = self._host.resolve(arguments)
        return self._host.resolve(arguments) if isinstance(answer, Failed) and answer.kind.is_transient else answer

    def _finish(self, trial: Trial) -> None:
        """Keep it, and tell it. Raises RunError when it failed for what no other settings would change."""
        self._watch.phase("keeping the trial")
        self._store.finish(self._plan.study, trial)
        if isinstance(trial.outcome, Failed) and not trial.outcome.kind.is_of_the_settings:
            raise RunError(f"trial {trial.number}: {trial.outcome.kind.value}: {trial.outcome.message}; {_RUN_AGAIN}")
        self._proposer.tell(trial)
        self._finished.append(trial)
        self._watch.trial_ended(trial, best(self._finished, self._plan.objective))


def _proposer(plan: Plan, store: Store, resolved: Params) -> Proposer:
    return Proposer(
        store.url,
        plan.study,
        space=plan.space,
        objective=plan.objective,
        slos=plan.constraints,
        defaults=_searched(plan, resolved),
        seed=plan.seed,
    )


def _searched(plan: Plan, resolved: Params) -> Params:
    """The defaults as a point of the space: each searched parameter as vLLM resolved it; "none" where it leaves it unset."""
    point: dict[str, Value] = {}
    for name in plan.space.parameters:
        value = resolved.get(name, UNSET)
        if value == UNSET and not isinstance(plan.space.parameters[name], Categorical):
            raise RunError(f"vLLM does not say what its default of {name} is: take it out of the search space")
        point[name] = value
    return point


def _record(plan: Plan) -> StudyRecord:
    return StudyRecord(
        name=plan.study,
        created_at=plan.clock.now(),
        gpu=plan.space.name,
        model=plan.engine.model,
        workload=plan.workload.name,
        objective=plan.objective.name,
        direction="maximize" if plan.objective.maximize else "minimize",
        space_digest=plan.space.digest(),
        space=plan.space.model_dump_json(),
        fingerprint=plan.fingerprint,
        settings={
            "slos": [f"{slo.name}={slo.limit_s}s" for slo in plan.slos],
            "seed": plan.seed,
            "verify": plan.verify,
        },
    )


def _same_slos(stored: StudyRecord, plan: Plan) -> None:
    """Feasible must mean the same for all trials of a study. Raises UsageError."""
    before, now = slo_texts(stored), slo_texts(_record(plan))
    if sorted(before) != sorted(now):
        raise UsageError(
            f"study {plan.study!r} was begun with SLOs {', '.join(before) or 'none'} and not {', '.join(now) or 'none'}: "
            "choose another --study"
        )


def _all_refused(trials: Sequence[Trial]) -> str:
    last = trials[-1].outcome
    assert isinstance(last, Failed)
    return (
        f"vLLM refused the last {_REFUSED_IN_A_ROW} proposals of the search space, the last one because: {last.message}"
    )


def _all_failed(trials: Sequence[Trial]) -> str:
    last = trials[-1].outcome
    assert isinstance(last, Failed)
    return f"the first {len(trials)} trials all failed, the last one as {last.kind.value}: {last.message}"
