"""A proposal in; what is known of it before a launch, and the trial that it became, out. It launches and stores nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tuner.decide.rank import defaults_of
from tuner.decide.slo import violations
from tuner.decide.twins import twin_of
from tuner.launch.engine import Engine
from tuner.study.baselines import passed_by, point_of, refusal, unknown_to
from tuner.study.launches import started_with
from tuner.study.setup import Setup, too_short
from tuner.types import (
    Command,
    Failed,
    FailureKind,
    Measured,
    Outcome,
    Params,
    Place,
    Predicted,
    Proposal,
    Resolved,
    Trial,
    Twin,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A proposal that vLLM was asked about. `passed` is what its `command` has beside what is fixed; `promise` is the gain that
    was expected of it, `predicted` what the model of the server says, None where nobody says anything. One that `is_check` is
    no trial: the defaults again, beside others."""

    proposal: Proposal
    passed: Params
    command: Command
    answer: Resolved | Failed
    started_at: datetime
    promise: float | None = None
    predicted: Predicted | None = None
    is_check: bool = False

    @property
    def number(self) -> int:
        return self.proposal.number


def asked(setup: Setup, engine: Engine, proposal: Proposal, finished: Sequence[Trial]) -> Attempt:
    """What vLLM makes of a proposal. Raises EngineError if it cannot be asked."""
    passed = passed_by(proposal)
    answer = _resolved(engine, setup.launcher.arguments(passed))
    if proposal.baseline is not None:
        answer = _taken(setup, engine, proposal.baseline, passed, answer)
        if isinstance(answer, Resolved):
            usual = defaults_of(finished)
            point = point_of(setup, passed, answer, usual.params if usual else {})
            proposal = replace(proposal, params=point)
    return Attempt(
        proposal=proposal,
        passed=passed,
        command=setup.launcher.command(passed),
        answer=answer,
        started_at=setup.clock.now(),
    )


def known_outcome(attempt: Attempt, finished: Sequence[Trial]) -> Failed | Twin | None:
    """What needs no launch: vLLM's refusal, or that its server ran before."""
    if isinstance(attempt.answer, Failed):
        return attempt.answer
    return twin_of(attempt.answer, attempt.command, finished)


def equals(one: Attempt, other: Attempt) -> bool:
    """Whether both would launch the same server."""
    if isinstance(one.answer, Failed) or isinstance(other.answer, Failed):
        return False
    is_alike = one.answer.digest == other.answer.digest and one.answer.settings == other.answer.settings
    return is_alike or one.command == other.command


def trial_of(setup: Setup, attempt: Attempt, outcome: Outcome | Twin, place: Place | None = None) -> Trial:
    """`place` is where it was launched. What vLLM has refused, and a twin, was not."""
    known = attempt.answer if isinstance(attempt.answer, Resolved) else None
    is_launched = outcome is not attempt.answer and not isinstance(outcome, Twin)
    return Trial(
        number=attempt.number,
        params=attempt.proposal.params,
        is_default=attempt.proposal.is_default,
        resolved=known.settings if known else {},
        command=attempt.command,
        outcome=outcome,
        violations=violations(outcome.load, setup.constraints) if isinstance(outcome, Measured) else {},
        started_at=attempt.started_at,
        ended_at=setup.clock.now(),
        attempts=1 if is_launched else 0,
        digest=known.digest if known else None,
        compile_key=known.compile_key if known else None,
        effective=started_with(setup, attempt.number, known.settings) if known and is_launched else {},
        predicted=attempt.predicted,
        baseline=attempt.proposal.baseline,
        explains=attempt.proposal.explains,
        place=place,
    )


def _taken(setup: Setup, engine: Engine, flags: str, hand: Params, answer: Resolved | Failed) -> Resolved | Failed:
    """The answer to hand settings; a refusal says whose they are."""
    why = unknown_to(engine.info, hand)
    if why is None and isinstance(answer, Resolved):
        why = too_short(setup, answer.settings)
    if why is not None:
        return Failed(kind=FailureKind.REJECTED, message=refusal(flags, why))
    return replace(answer, message=refusal(flags, answer.message)) if isinstance(answer, Failed) else answer


def _resolved(engine: Engine, arguments: tuple[str, ...]) -> Resolved | Failed:
    """vLLM's answer; the second one where the first may have been a hiccup of the hub."""
    answer = engine.resolve(arguments)
    return engine.resolve(arguments) if isinstance(answer, Failed) and answer.kind.is_transient else answer
