"""A strategy's name in, the Optuna sampler that it is out.

`ours` is what `--sampler model` is, `gp` the same without a model of the server. An ablation is `ours` less one part, such as
`ours-prior`. None of them enqueues a point: after the defaults every launch is the strategy's own.
"""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from tuner.errors import UsageError, choose
from tuner.propose.candidates import Candidates, key_of
from tuner.propose.prior import Prior
from tuner.propose.sampler import ModelSampler

#: Parts of `ours` that can be left out; `early` and `order` say how launches end, and in which order. Groups are
#: none: no pool has one that waits to be opened.
PARTS = ("prior", "residual", "contrast", "early", "feasibility", "order")
NAMES = ("ours", "tpe", "gp", "random", *(f"ours-{part}" for part in PARTS), "optuna-gp")
#: Random points before TPE models anything: what `--sampler tpe` takes.
_TPE_STARTUP = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """`stops_early` tells whether its launches end as soon as they cannot be the best any more."""

    name: str
    sampler: BaseSampler
    stops_early: bool = False


def check(names: Collection[str]) -> None:
    """Raises UsageError for a name that is none, or empty."""
    for name in names:
        if not name:
            raise UsageError(f"--strategies {','.join(names)}: one of the names is empty: leave its comma out")
        if name not in NAMES:
            raise UsageError(f"there is no strategy {name}{choose(name, NAMES)}")


def make(
    name: str,
    candidates: Candidates,
    prior: Prior | None,
    seed: int,
    tell: Callable[[str], None] = lambda text: None,
) -> Strategy:
    """Raises UsageError where it cannot be had here."""
    family, _, part = name.partition("-")
    if family == "ours":
        without = {part} if part else set()
        sampler = ModelSampler(candidates, prior, seed=seed, tell=tell, without=without)
        return Strategy(name=name, sampler=sampler, stops_early=part != "early")
    if name == "gp":
        return Strategy(name=name, sampler=ModelSampler(candidates, None, seed=seed), stops_early=True)
    if name == "tpe":
        return Strategy(name=name, sampler=TPESampler(n_startup_trials=_TPE_STARTUP, seed=seed))
    if name == "optuna-gp":
        return Strategy(name=name, sampler=_optuna_gp(seed))
    return Strategy(name=name, sampler=Evenly(candidates, seed) if candidates.finite else RandomSampler(seed=seed))


def _optuna_gp(seed: int) -> BaseSampler:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise UsageError("optuna-gp needs torch, which is not installed: leave it out") from error
    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=_TPE_STARTUP)


class Evenly(BaseSampler):
    """Any of the candidates that were not launched yet, each as likely as the others."""

    def __init__(self, candidates: Candidates, seed: int) -> None:
        self._candidates, self._draw = candidates, random.Random(seed)
        self._elsewhere = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return ModelSampler(self._candidates).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        tried = {key_of(one.params) for one in study.get_trials(deepcopy=False) if one.params}
        left = [point for point in self._candidates.points if key_of(point) not in tried]
        return dict(self._draw.choice(left)) if left else {}

    def sample_independent(self, *arguments: Any) -> Any:
        return self._elsewhere.sample_independent(*arguments)
