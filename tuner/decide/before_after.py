"""The launches of the defaults and of another trial in; what they are compared by, side by side, out. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.decide.objective import COST, Objective, metrics_of
from tuner.decide.rank import rank
from tuner.decide.verdict import Decision
from tuner.types import Measured, Outcome, Trial

_COMPARED = (
    "output_throughput",
    "request_throughput",
    "goodput",
    "ttft_p50_s",
    "ttft_p99_s",
    "tpot_p50_s",
    "tpot_p99_s",
    "e2el_p50_s",
    "e2el_p99_s",
    "quality_nll",
    "gpu_utilization",
    "gpu_sm_activity",
    "gpu_memory_used_bytes",
    "gpu_power_w",
    "gpu_energy_per_1k_tokens_j",
    COST,
    "server_cpu_cores",
    "startup_s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One metric, by its name: the value of each launch of the defaults, and of the other trial."""

    metric: str
    before: tuple[float, ...]
    after: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BeforeAfter:
    """vLLM's defaults against another trial, by their numbers. `launches` of each are those of the verification if `is_again`,
    else the search's."""

    defaults: int
    other: int
    is_again: bool
    launches: tuple[int, int]
    metrics: tuple[Compared, ...]

    @property
    def title(self) -> str:
        again, other = "as the search measured them", f"trial {self.other}"
        if self.is_again:
            again = f"mean of {self.launches[0]} and {self.launches[1]} new launches"
        return f"Before and after: vLLM's defaults (trial {self.defaults}) against {other}, {again}"


def before_after(
    defaults: Trial,
    other: Trial,
    again: Sequence[tuple[int, Outcome]] = (),
    objectives: Sequence[Objective] = (),
) -> BeforeAfter:
    """Of two that were measured. `again` are the launches of the verification, each with its trial's number: they count if both
    were launched again."""
    assert isinstance(defaults.outcome, Measured)
    assert isinstance(other.outcome, Measured)
    old, new = _later(defaults, again, objectives), _later(other, again, objectives)
    is_again = bool(old and new)
    if not is_again:
        old, new = [metrics_of(defaults.outcome, objectives)], [metrics_of(other.outcome, objectives)]
    every = [
        Compared(
            metric=name, before=tuple(v[name] for v in old if name in v), after=tuple(v[name] for v in new if name in v)
        )
        for name in _COMPARED
    ]
    return BeforeAfter(
        defaults=defaults.number,
        other=other.number,
        is_again=is_again,
        launches=(len(old), len(new)),
        metrics=tuple(one for one in every if one.before or one.after),
    )


def beside_the_defaults(trials: Sequence[Trial], found: Decision, objective: Objective) -> Trial | None:
    """What they are compared with: the winner; where that is the defaults, the best of the others."""
    if found.winner is not found.defaults:
        return found.winner
    return next((trial for trial in rank(trials, objective) if not trial.is_default), None)


def _later(
    trial: Trial, again: Sequence[tuple[int, Outcome]], objectives: Sequence[Objective]
) -> list[dict[str, float]]:
    """The metrics of each later launch of a trial that was measured."""
    mine = [outcome for number, outcome in again if number == trial.number]
    return [metrics_of(outcome, objectives) for outcome in mine if isinstance(outcome, Measured)]
