"""The probes of the defaults and of another setting in; whether it loses more quality than is allowed out. Pure.

A setting is refused only for what is shown: of a loss the lower end of its 95 % interval must lie above the limit, of a task
of the user's own McNemar's test must say so, too. It is called unharmed only where the upper end lies below. Between, it is
neither; nor is it where an answer that the defaults gave is missing, and one that is missing from each of several launches is
lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tuner.decide.quality import (
    LEVEL,
    Agreement,
    Loss,
    Missing,
    Rights,
    Scores,
    agreement,
    loss,
    missing,
    more_apart,
    rights,
    scores,
)
from tuner.types.quality import Quality

#: Relative, of the NLL: what is allowed where the user says nothing. Published 8-bit quantizations lose less, 4-bit ones about
#: as much.
MAX_LOSS = 0.02


class Harm(StrEnum):
    """What the probes say of a setting."""

    UNHARMED = "within the limit"
    OPEN = "not shown to be within the limit"
    LOSES = "loses quality"
    UNCHECKED = "not checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the probes of `launches` launches say against the defaults, at a `limit`. `usual` is how far the defaults agree with
    themselves, `apart` the chance that the setting agrees less with them by luck; `is_wrong` says that the user's command was
    right with the defaults and is not any more. None is what could not be compared; `untold` says why."""

    harm: Harm
    limit: float
    launches: int = 0
    loss: Loss | None = None
    agreement: Agreement | None = None
    usual: Agreement | None = None
    apart: float | None = None
    rights: Rights | None = None
    scores: Scores | None = None
    is_wrong: bool = False
    missing: Missing | None = None
    untold: tuple[str, ...] = ()


def judged(base: Sequence[Quality], others: Sequence[Quality], limit: float = MAX_LOSS) -> Judged | None:
    """`base` are the probes of the defaults' launches, the first one first; None where the other was not probed."""
    if not others:
        return None
    untold = tuple(dict.fromkeys(text for one in (*base, *others) for text in one.untold))
    if not base:
        untold += ("the defaults were not probed",)
        return Judged(harm=Harm.UNCHECKED, limit=limit, launches=len(others), untold=untold)
    lost, of_tasks = loss(base, others), _rights(base, others)
    is_wrong, gone = _is_wrong(base, others), missing(base, others)
    return Judged(
        harm=_harm(lost, of_tasks, gone, limit, is_lost=is_wrong or (len(others) > 1 and gone.always > 0)),
        limit=limit,
        launches=len(others),
        loss=lost,
        agreement=agreement(base[0], others[0]),
        usual=agreement(base[0], base[1]) if len(base) > 1 else None,
        apart=more_apart(base[0], base[1], others[0]) if len(base) > 1 else None,
        rights=of_tasks,
        scores=scores(_scores(base), _scores(others)),
        is_wrong=is_wrong,
        missing=gone if gone.missing else None,
        untold=untold,
    )


def _harm(lost: Loss | None, of_tasks: Rights | None, gone: Missing, limit: float, *, is_lost: bool) -> Harm:
    if is_lost or (lost is not None and lost.low > limit):
        return Harm.LOSES
    if of_tasks is not None and of_tasks.p_value <= LEVEL and of_tasks.loss > limit:
        return Harm.LOSES
    if lost is None:
        return Harm.UNCHECKED
    return Harm.UNHARMED if lost.high <= limit and not gone.missing else Harm.OPEN


def _rights(base: Sequence[Quality], others: Sequence[Quality]) -> Rights | None:
    """Of the first launch of each that has any: those after it repeat it, and are no further evidence."""
    first = [next((one.task.right for one in side if one.task and one.task.right), None) for side in (base, others)]
    return rights(first[0], first[1]) if first[0] and first[1] else None


def _scores(side: Sequence[Quality]) -> list[float]:
    return [one.task.score for one in side if one.task is not None and one.task.score is not None]


def _is_wrong(base: Sequence[Quality], others: Sequence[Quality]) -> bool:
    """Whether the command ended as right in all launches of the defaults, and as wrong in all of the other."""
    codes = [[one.task.exit_code for one in side if one.task is not None] for side in (base, others)]
    return bool(codes[0] and codes[1]) and not any(codes[0]) and all(codes[1])
