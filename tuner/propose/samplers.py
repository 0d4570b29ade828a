"""The name of a sampler in, Optuna's sampler of it out. It does not know studies."""

from collections.abc import Callable, Sequence

from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from tuner.propose.candidates import Candidates
from tuner.propose.prior import Earlier, Prior
from tuner.propose.sampler import ModelSampler

#: Those that choose from candidates, learn of trials beside the domain, and say what they expect.
OURS = ("model", "gp")
#: Those that draw each point alike, whatever was tried.
HEEDLESS = ("random",)
#: Random trials before TPE models anything; with good points enqueued fewer are needed than Optuna's 10.
_STARTUP_TRIALS = 6
#: A study's seeds for different trials are so far apart, so that two studies share none of them.
_APART = 100_003


def ours(
    name: str,
    candidates: Candidates,
    *,
    prior: Prior | None,
    earlier: Sequence[Earlier],
    seed: int,
    tell: Callable[[str], None],
) -> ModelSampler | None:
    """The one that lasts for a whole study: "model", or "gp", which is the same without a prior; None for others."""
    if name == "model":
        return ModelSampler(candidates, prior, seed=seed, earlier=earlier, tell=tell)
    return ModelSampler(candidates, None, seed=seed, tell=tell) if name == "gp" else None


def drawing(name: str, seed: int, number: int) -> BaseSampler | None:
    """The one that proposes trial `number` and knows nothing but the study, so that a study that was interrupted goes on as if
    it had not been: "tpe" or "random". None for "grid", which draws nothing."""
    mixed = (seed * _APART + number) % 2**32
    if name == "tpe":
        return TPESampler(n_startup_trials=_STARTUP_TRIALS, seed=mixed)
    return RandomSampler(seed=mixed) if name == "random" else None
