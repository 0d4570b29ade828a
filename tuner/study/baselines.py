"""The user's own settings as trials of a study: which are due, what they pass, and which trials a sampler may be told of.

In: a setup with its hand settings, and the finished trials. Out: proposals and points. It launches nothing.
"""

from collections.abc import Iterable, Mapping, Sequence

from tuner.errors import did_you_mean
from tuner.launch.engine import EngineInfo
from tuner.propose.distributions import is_inside
from tuner.space.parameters import Parameter
from tuner.study.hand_settings import HandSettings, params_of
from tuner.study.setup import Setup
from tuner.types import Params, Proposal, Resolved, Trial


def due(
    hands: Sequence[HandSettings], finished: Sequence[Trial], begun: Sequence[Proposal] = ()
) -> HandSettings | None:
    """The next of the hand settings that the study has no trial of yet, also none that has `begun`: after the defaults, which
    all are compared with."""
    if not finished:
        return None
    every: list[Trial | Proposal] = [*finished, *begun]
    known = {one.baseline for one in every}
    return next((hand for hand in hands if hand.flags not in known), None)


def passed_by(proposal: Proposal) -> Params:
    """What its command has beside what is fixed: of hand settings these alone, however the rest of the point was resolved."""
    if proposal.is_default:
        return {}
    return params_of(proposal.baseline) if proposal.baseline is not None else proposal.params


def point_of(setup: Setup, hand: Params, resolved: Resolved, defaults: Params) -> Params:
    """Hand settings as a point of the space: what they do not say is as the engine resolved it."""
    known = {**defaults, **resolved.settings}
    return {**{name: known[name] for name in setup.space.parameters if name in known}, **hand}


def refusal(flags: str, why: str) -> str:
    """A sentence for hand settings that the engine does not take."""
    return f"--baseline {flags!r} is refused: {why}"


def unknown_to(info: EngineInfo, hand: Params) -> str | None:
    """What the engine has no argument of, as a sentence's end."""
    if not (unknown := info.lacks(hand)):
        return None
    return f"there is no argument {', '.join(unknown)}{did_you_mean(unknown[0], info.arguments)}"


def not_heeded(hands: Sequence[HandSettings]) -> list[str]:
    """A sentence for each of the hand settings that says more than can be heeded."""
    return [
        f"--baseline {hand.flags!r}: not heeded, for tuner itself gives these to each server: {', '.join(hand.passed_over)}"
        for hand in hands
        if hand.passed_over
    ]


def for_the_sampler(trials: Iterable[Trial], parameters: Mapping[str, Parameter]) -> list[Trial]:
    """Without what is no point of the space: it would have settings credited with what others did."""
    return [
        trial
        for trial in trials
        if trial.is_searched or (trial.params.keys() <= parameters.keys() and is_inside(trial.params, parameters))
    ]
