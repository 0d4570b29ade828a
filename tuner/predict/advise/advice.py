"""A case in; what `tuner plan` answers out: what starts, the defaults, the best settings, what limits both, their price."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tuner.decide.gain import LEAST_GAIN
from tuner.decide.slo import violations
from tuner.errors import RunError
from tuner.predict.advise.assumed import assumptions
from tuner.predict.advise.case import Case, Tell
from tuner.predict.advise.limits import Limit, limit_of, limit_of_start
from tuner.predict.advise.region import Region, draw, region
from tuner.predict.advise.remedies import why_nothing_starts
from tuner.predict.advise.search import Change, Search
from tuner.predict.error import ERROR, ModelError
from tuner.predict.evidence import Basis, basis
from tuner.predict.memory import Memory
from tuner.predict.prediction import Prediction
from tuner.predict.uncertainty import Known, known_of
from tuner.predict.unpredicted import unpredicted
from tuner.space.search_space import SearchSpace
from tuner.types import Failed, Params, present

#: Points that are drawn from the space.
DRAWN = 400


class Answer(StrEnum):
    """What to begin with."""

    DEFAULTS = "defaults"
    BEST = "best"
    NOTHING = "nothing"  # that meets the SLOs


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Settings, and what is known of them: `params` are the searched ones. Either `prediction` or `failed` is None; `memory` is
    None where vLLM refuses the arguments. `violations` are by how much each SLO is missed (<= 0: met)."""

    params: Params
    memory: Memory | None
    prediction: Prediction | None
    failed: Failed | None
    violations: Mapping[str, float]
    limit: Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Of a million tokens, in the currency of the price of a GPU-hour: of output tokens, and of all, prompts too."""

    per_million_output_tokens: float
    per_million_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """`best` is None where nothing is better than the defaults. `gain` is its relative gain over the defaults in the
    objective, None without one of both; `least_gain` is what a gain must exceed to be recommended. `changes` are those of the
    best settings, and `bases` by their names what each prediction of their effect rests on; `known` is what was measured of the
    card."""

    answer: Answer
    defaults: Candidate
    best: Candidate | None
    gain: float | None
    least_gain: float
    changes: tuple[Change, ...]
    bases: Mapping[str, Basis]
    known: Known
    region: Region
    assumed: tuple[str, ...]
    error: ModelError


def advise(
    case: Case,
    others: Sequence[SearchSpace] = (),
    tell: Tell = lambda what, done, total: None,
    error: ModelError = ERROR,
) -> Advice:
    """Deterministic: the workload has the seed. `others` are the spaces of other cards, for a model too big for this one.

    Raises UsageError for what cannot be predicted, RunError where no settings start."""
    case.check()
    asked, case = case, replace(case, space=case.space.without(unpredicted(case.space.parameters)))
    default_params = case.default_params()
    drawn = draw(case.space, case.workload.seed, DRAWN)
    search = Search(case, default_params, tell)
    best_params = search.best(drawn)
    if best_params is None:
        raise RunError(why_nothing_starts(case, others))
    defaults = _candidate(case, search, default_params)
    best = None if best_params == default_params else _candidate(case, search, best_params)
    gain, changes, known = _gain(case, defaults, best), search.changes(best_params), known_of(case.space.gpu)
    least_gain = max(LEAST_GAIN, _error_of(case, error) or 0.0)
    return Advice(
        answer=_answer(defaults, best, gain, least_gain),
        defaults=defaults,
        best=best,
        gain=gain,
        least_gain=least_gain,
        changes=changes,
        bases=_bases(case, changes, known),
        known=known,
        region=_region(case, default_params, best_params, drawn),
        assumed=tuple(assumptions(asked, {change.name: change.value for change in changes})),
        error=error,
    )


def price(prediction: Prediction, per_gpu_hour: float) -> Price | None:
    """What serving costs on as many GPUs as the server takes; None where nothing is served."""
    per_s = per_gpu_hour * prediction.settings.gpus / 3600
    load = prediction.load
    if not load.output_throughput:
        return None
    return Price(
        per_million_output_tokens=per_s / load.output_throughput * 1e6,
        per_million_tokens=per_s / present(load.total_token_throughput) * 1e6,
    )


def _region(case: Case, defaults: Params, best: Params, drawn: Sequence[Params]) -> Region:
    """Around the defaults, even if they do not start: one change may do. Where none does, around the best settings."""
    found = region(case, defaults, drawn)
    return found if any(span.starts for span in found.spans) else region(case, best, drawn)


def _candidate(case: Case, search: Search, params: Params) -> Candidate:
    memory, found = case.memory(params), search.predict(params)
    known = memory if isinstance(memory, Memory) else None
    if isinstance(found, Failed):
        limit = limit_of_start(case, params, known, found)
        return Candidate(params=params, memory=known, prediction=None, failed=found, violations={}, limit=limit)
    return Candidate(
        params=params,
        memory=known,
        prediction=found,
        failed=None,
        violations=violations(found.load, case.constraints),
        limit=limit_of(case, params, found, search.predict),
    )


def _bases(case: Case, changes: Sequence[Change], known: Known) -> dict[str, Basis]:
    workload = case.workload
    given = bool(workload.acceptance_rates) or workload.acceptance_length is not None
    return {
        change.name: basis(change.name, change.default, change.value, case.space.gpu, known, has_acceptance=given)
        for change in changes
    }


def _error_of(case: Case, error: ModelError) -> float | None:
    """Of the objective: that of gains in throughput if it was measured, else that of the number itself."""
    latency = case.objective.metric.split("_")[0]
    if latency in ("ttft", "tpot", "e2el"):
        found: float | None = getattr(error, latency)
        return found
    return error.output_throughput if error.gain is None else error.gain


def _gain(case: Case, defaults: Candidate, best: Candidate | None) -> float | None:
    if best is None or best.prediction is None or defaults.prediction is None:
        return None
    return case.objective.gain(case.value(best.prediction), case.value(defaults.prediction))


def _answer(defaults: Candidate, best: Candidate | None, gain: float | None, least_gain: float) -> Answer:
    if not meets(best or defaults):
        return Answer.NOTHING
    if best is None:
        return Answer.DEFAULTS
    if not meets(defaults) or gain is None or gain > least_gain:
        return Answer.BEST
    return Answer.DEFAULTS


def meets(candidate: Candidate) -> bool:
    """Whether it starts and meets every SLO."""
    return candidate.prediction is not None and all(by <= 0 for by in candidate.violations.values())
