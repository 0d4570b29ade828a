"""Our trials in; the same in Optuna's words out, and nothing that is not so. Pure.

What was measured is COMPLETE, with its value and by how much it misses each SLO. What failed is PRUNED without any value, and
a constraint outweighs all that a measurement can miss. A twin is FAIL, which samplers leave out: the value of the trial that it
equals would count one measurement twice, and PRUNED would say that it is bad. So is a server that came to be otherwise than
most: its numbers are not comparable.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.decide.objective import Objective
from tuner.decide.rank import score, stopped_early, usual_start
from tuner.decide.repeats import LEAST_ERROR
from tuner.decide.slo import Slo
from tuner.propose.distributions import Distributions
from tuner.propose.prior import BOUND, CAUSE, ERROR, LAUNCH, STARTUP, TOOK
from tuner.space.parameters import Parameter
from tuner.space.redaction import redacted
from tuner.types import Failed, Measured, Params, Proposal, Trial, Twin

#: Of an SLO on what a trial has no value of, which meets it.
_MET = -1.0
#: A user attribute of the trial of vLLM's defaults.
DEFAULTS = "defaults"
#: What is kept of a failure's message, and of what is known as its cause.
_MESSAGE, _CAUSE = 500, 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a study is about: each trial is told by it."""

    parameters: Mapping[str, Parameter]
    objectives: tuple[Objective, ...]
    slos: tuple[Slo, ...]


def directions(words: Words) -> list[StudyDirection]:
    return [StudyDirection.MAXIMIZE if o.maximize else StudyDirection.MINIMIZE for o in words.objectives]


class Made:
    """What was made of the trials that have ended: the same again, while nothing that it depends on has changed."""

    def __init__(self) -> None:
        self._of: tuple[str, Distributions] | None = None
        self._made: dict[int, tuple[Trial, FrozenTrial]] = {}

    def of(self, usual: str, distributions: Distributions) -> dict[int, tuple[Trial, FrozenTrial]]:
        """Each with what it was made of, by its number, to be added to."""
        if self._of != (usual, distributions):
            self._of, self._made = (usual, distributions), {}
        return self._made


def told(
    trials: Sequence[Trial], running: Iterable[Proposal], words: Words, before: Made | None = None
) -> list[FrozenTrial]:
    """All trials of a study, each at the place of its number; a FAIL without settings where a number has none. `before` is what
    was made of them in the same words."""
    usual, begun = usual_start(trials), {proposal.number: proposal for proposal in running}
    finished = {trial.number: trial for trial in trials}
    tried = [*(trial.params for trial in trials), *(proposal.params for proposal in begun.values())]
    distributions = Distributions(words.parameters, tried)
    made, found = (before or Made()).of(usual, distributions), []
    for number in range(max((*finished, *begun), default=-1) + 1):
        if number in finished:
            trial = finished[number]
            if number not in made or made[number][0] is not trial:
                made[number] = trial, _finished(trial, words, distributions, usual)
            found.append(made[number][1])
        elif number in begun:
            params, is_default = begun[number].params, begun[number].is_default
            found.append(_create(TrialState.RUNNING, params, distributions, _of_default(is_default)))
        else:
            found.append(create_trial(state=TrialState.FAIL))
    return found


def missed(violation: float) -> float:
    """By how much an SLO is missed, as 1 - limit / value: below 1 however slow a server is, so that all SLOs together weigh
    less than a failure. `violation` is value / limit - 1."""
    return 1 - 1 / (1 + violation) if violation > -1 else _MET


def cause_of(failed: Failed) -> str:
    """The same for failures that are the same but for numbers: sizes, addresses, process ids."""
    first = next((line.strip() for line in redacted(failed.message).splitlines() if line.strip()), "")
    return f"{failed.kind.value}: {' '.join(re.sub('[0-9]+', '', first).split())[:_CAUSE]}"


def _finished(trial: Trial, words: Words, distributions: Distributions, usual: str) -> FrozenTrial:
    values = [score(trial, objective) for objective in words.objectives]
    known = [value for value in values if value is not None]
    attributes = _of_default(trial.is_default) | _attributes(trial, words)
    constraints: dict[str, float] | None = None
    if isinstance(trial.outcome, Twin) or (isinstance(trial.outcome, Measured) and trial.outcome.start != usual):
        state, known = TrialState.FAIL, []
    elif len(known) < len(values):  # failed, or has nothing of what is optimized
        state, known = TrialState.PRUNED, []
        constraints = {LAUNCH: len(words.slos) + 1.0} | {slo.name: 0.0 for slo in words.slos}
    else:
        state = TrialState.COMPLETE
        constraints = {LAUNCH: -1.0} | {slo.name: missed(trial.violations.get(slo.name, -1.0)) for slo in words.slos}
    made = _create(state, trial.params, distributions, attributes, known, constraints)
    made.datetime_start, made.datetime_complete = _local(trial.started_at), _local(trial.ended_at)
    return made


def _create(
    state: TrialState,
    params: Params,
    distributions: Distributions,
    attributes: Mapping[str, Any],
    values: Sequence[float] = (),
    constraints: dict[str, float] | None = None,
) -> FrozenTrial:
    own = distributions.of(params)
    return create_trial(
        state=state,
        params={name: params[name] for name in own},
        distributions=own,
        user_attrs={**attributes, **{name: params[name] for name in params if name not in own}},
        values=list(values) or None,
        constraints=constraints,
    )


def _of_default(is_default: bool) -> dict[str, Any]:
    return {DEFAULTS: True} if is_default else {}


def _attributes(trial: Trial, words: Words) -> dict[str, float | str | bool]:
    """What a person sees beside the values, and a sampler is told beside them (tuner.propose.prior)."""
    outcome = trial.outcome
    if isinstance(outcome, Twin):
        return {"status": f"equals trial {outcome.equals}", "equals": outcome.equals}
    took = {TOOK: (trial.ended_at - trial.started_at).total_seconds()} if trial.attempts else {}
    if isinstance(outcome, Failed):
        return {
            "status": outcome.kind.value,
            "failure": redacted(outcome.message)[:_MESSAGE],
            CAUSE: cause_of(outcome),
            **took,
        }
    errors = [objective.error(outcome) for objective in words.objectives]
    lacking = [o.metric for o in words.objectives if score(trial, o) is None]
    found: dict[str, float | str | bool] = {"status": _status(trial), **outcome.metrics(), **took}
    found[ERROR] = max(LEAST_ERROR if error is None else error for error in errors)
    if outcome.startup_s is not None:
        found[STARTUP] = outcome.startup_s
    if stopped_early(trial):
        found[BOUND] = outcome.at_best or 1.0
    return found | ({CAUSE: f"no {', '.join(lacking)}"} if lacking else {})


def _status(trial: Trial) -> str:
    beyond = [name for name, violation in trial.violations.items() if violation > 0]
    return f"misses {', '.join(beyond)}" if beyond else "measured"


def _local(moment: datetime) -> datetime:
    """As Optuna keeps it: of the local clock, without its zone."""
    return moment.astimezone().replace(tzinfo=None)
