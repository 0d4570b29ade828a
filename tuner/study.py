"""The loop: propose, run, record, tell; then the winner and the defaults are verified. Resuming is the same loop.

In: a plan, the database, vLLM's resolver. Out: trials in the database, and what to deploy. It does not know how anything is
shown: it reports what happens to a `Watch`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from tuner.decide import Decision, best, violations
from tuner.errors import RunError, UsageError
from tuner.launch.interpreter import Resolver
from tuner.plan import Plan, check_lengths
from tuner.propose.proposer import Proposer
from tuner.record import Store, StudyRecord
from tuner.recorded import run_recorded, sweep_leftovers
from tuner.space import UNSET, Categorical
from tuner.types import Failed, FailureKind, Measured, Params, Proposal, Trial, Value
from tuner.verify import slo_texts, study_decision, verify
from tuner.watch import Watch

#: When this many trials in a row fail from the start, the fault is not in the settings.
_GIVE_UP_AFTER = 5


def run_study(plan: Plan, store: Store, resolver: Resolver, watch: Watch) -> Decision:
    """Run until the plan's number of trials is finished and verified.

    Raises RunError when vLLM refuses its own defaults or every trial fails; KeyboardInterrupt leaves all that is finished.
    """
    sweep_leftovers(store, watch)
    _same_slos(store.create_or_get_study(_record(plan)), plan)
    watch.phase("asking vLLM for its defaults")
    resolved = resolver.resolve(plan.engine.arguments({}))
    if isinstance(resolved, Failed):
        raise RunError(f"vLLM refuses model {plan.engine.model} with its own defaults: {resolved.message}")
    check_lengths(plan, resolved)
    with store.claimed(plan.study):
        proposer = _proposer(plan, store, resolved)
        try:
            search = _Search(plan, store, resolver, watch, proposer)
            search.reconcile()
            search.run()
        finally:
            proposer.close()
        verify(plan, store, watch)
    return study_decision(store, plan.study)


class _Search:
    """The state of one run of the loop."""

    def __init__(self, plan: Plan, store: Store, resolver: Resolver, watch: Watch, proposer: Proposer) -> None:
        self._plan, self._store, self._resolver, self._watch, self._proposer = plan, store, resolver, watch, proposer
        self._answers: dict[tuple[str, ...], Params | Failed] = {}

    def reconcile(self) -> None:
        """Tell Optuna what was finished and stored before a crash kept it from being told."""
        finished = self._store.trials(self._plan.study)
        for trial in finished:
            self._proposer.tell(trial)
        if finished:
            self._watch.study_continues(finished, best(finished, self._plan.objective))

    def run(self) -> None:
        while len(finished := self._store.trials(self._plan.study)) < self._plan.trials:
            if len(finished) >= _GIVE_UP_AFTER and all(isinstance(t.outcome, Failed) for t in finished):
                raise RunError(_all_failed(finished))
            proposal = self._next()
            if proposal is None:
                self._watch.note("every setting of the search space that can run has been tried")
                return
            self._watch.trial_begins(proposal, self._plan.trials)
            trial = self._run(proposal)
            self._store.finish(self._plan.study, trial)
            self._proposer.tell(trial)
            self._watch.trial_ended(trial, best([*finished, trial], self._plan.objective))
            if isinstance(trial.outcome, Failed) and trial.outcome.kind is FailureKind.MODEL_NOT_FOUND:
                raise RunError(f"vLLM cannot find the model: {trial.outcome.message}")

    def _next(self) -> Proposal | None:
        if unfinished := self._proposer.unfinished():
            self._watch.note(f"trial {unfinished[0].number} was interrupted and is run again")
            return unfinished[0]
        return self._proposer.propose(self._refuses)

    def _refuses(self, params: Params) -> bool:
        answer = self._resolve(params)
        if isinstance(answer, Failed):
            shown = ", ".join(f"{name}={value}" for name, value in params.items())
            self._watch.note(f"not launched, vLLM refuses {shown}: {answer.message}")
        return isinstance(answer, Failed)

    def _resolve(self, params: Params) -> Params | Failed:
        """vLLM's answer, asked for once: before the launch, and again for the record."""
        arguments = self._plan.engine.arguments(params)
        if arguments not in self._answers:
            self._answers[arguments] = self._resolver.resolve(arguments)
        return self._answers[arguments]

    def _run(self, proposal: Proposal) -> Trial:
        passed = {} if proposal.is_default else proposal.params
        command = self._plan.engine.command(passed)
        answer = self._resolve(passed)
        resolved: Params = {} if isinstance(answer, Failed) else answer
        started_at = datetime.now(UTC)
        self._store.begin(self._plan.study, proposal, command, resolved, started_at)
        outcome = run_recorded(self._plan, self._store, self._watch, proposal.number, command)
        missed = violations(outcome.load, self._plan.slos) if isinstance(outcome, Measured) else {}
        return Trial(
            number=proposal.number,
            params=proposal.params,
            is_default=proposal.is_default,
            resolved=resolved,
            command=command,
            outcome=outcome,
            violations=missed,
            started_at=started_at,
            ended_at=datetime.now(UTC),
        )


def _proposer(plan: Plan, store: Store, resolved: Params) -> Proposer:
    return Proposer(
        store.url,
        plan.study,
        space=plan.space,
        objective=plan.objective,
        slos=plan.slos,
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
        created_at=datetime.now(UTC),
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


def _all_failed(trials: Sequence[Trial]) -> str:
    last = trials[-1].outcome
    assert isinstance(last, Failed)
    return f"the first {len(trials)} trials all failed, the last one as {last.kind.value}: {last.message}"
