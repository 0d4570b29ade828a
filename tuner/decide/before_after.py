"""The launches of the defaults, of the user's own settings and of another trial in; what they are compared by, side by side,
out. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.decide.objective import COST, PER_GPU, Objective, metrics_of, without_the_one_gpu
from tuner.decide.rank import rank
from tuner.decide.verdict import Decision
from tuner.types import Measured, Outcome, Trial

_COMPARED = (
    "gpus",
    "output_throughput",
    PER_GPU["output_throughput"],
    "request_throughput",
    PER_GPU["request_throughput"],
    "goodput",
    "ttft_mean_s",
    "ttft_p50_s",
    "ttft_p99_s",
    "tpot_p50_s",
    "tpot_p99_s",
    "e2el_mean_s",
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
    """One metric, by its name: the value of each launch of the defaults, of each of the user's own settings, and of the other
    trial."""

    metric: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    hand: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """The user's own settings: their trial, their flags, how many launches are compared, and whether those are new ones."""

    trial: int
    flags: str
    launches: int
    is_again: bool

    @property
    def title(self) -> str:
        if not self.is_again:
            return f"hand settings (trial {self.trial}) as the search measured them, in one launch"
        return f"hand settings (trial {self.trial}), {self.launches} new launch{'es' if self.launches > 1 else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BeforeAfter:
    """vLLM's defaults against another trial, by their numbers. `launches` of each are those of the verification if `is_again`,
    else the search's. `hand` are the user's own settings, but where the other trial has them."""

    defaults: int
    other: int
    is_again: bool
    launches: tuple[int, int]
    metrics: tuple[Compared, ...]
    hand: tuple[Hand, ...] = ()
    is_hand: bool = False

    @property
    def after(self) -> str:
        """How the other trial is called."""
        return f"trial {self.other}{' (hand settings)' if self.is_hand else ''}"

    @property
    def title(self) -> str:
        again, other = "as the search measured them, in one launch each", self.after
        if self.is_again:
            again = f"mean of {self.launches[0]} and {self.launches[1]} new launches"
        beside = "".join(f"; {one.title}" for one in self.hand)
        return f"Before and after: vLLM's defaults (trial {self.defaults}) against {other}, {again}{beside}"


def before_after(
    defaults: Trial,
    other: Trial,
    again: Sequence[tuple[int, Outcome]] = (),
    objectives: Sequence[Objective] = (),
    hand: Sequence[Trial] = (),
) -> BeforeAfter:
    """Of two that were measured, and the user's own settings, `hand`, which were, too. `again` are the launches of the
    verification, each with its trial's number: they count if both were launched again."""
    assert isinstance(defaults.outcome, Measured)
    assert isinstance(other.outcome, Measured)
    old, new = _later(defaults, again, objectives), _later(other, again, objectives)
    is_again = bool(old and new)
    if not is_again:
        old, new = [metrics_of(defaults.outcome, objectives)], [metrics_of(other.outcome, objectives)]
    told = [_told(trial, again, objectives) for trial in hand if trial.number not in (defaults.number, other.number)]
    of_hand = [one for _, launches in told for one in launches]
    shown = without_the_one_gpu([*old, *new, *of_hand], objectives)
    names = {name for numbers in shown for name in numbers}
    every = [
        Compared(
            metric=name,
            before=_values(old, name),
            after=_values(new, name),
            hand=tuple(_values(values, name) for _, values in told),
        )
        for name in _COMPARED
    ]
    return BeforeAfter(
        defaults=defaults.number,
        other=other.number,
        is_again=is_again,
        launches=(len(old), len(new)),
        metrics=tuple(one for one in every if one.metric in names),
        hand=tuple(one for one, _ in told),
        is_hand=other.number in {trial.number for trial in hand},
    )


def _told(
    trial: Trial, again: Sequence[tuple[int, Outcome]], objectives: Sequence[Objective]
) -> tuple[Hand, list[dict[str, float]]]:
    assert isinstance(trial.outcome, Measured)
    later = _later(trial, again, objectives)
    found = later or [metrics_of(trial.outcome, objectives)]
    return Hand(trial=trial.number, flags=trial.baseline or "", launches=len(found), is_again=bool(later)), found


def _values(launches: Sequence[dict[str, float]], name: str) -> tuple[float, ...]:
    return tuple(one[name] for one in launches if name in one)


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
