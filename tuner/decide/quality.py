"""What two servers answered to the same questions in; how far they differ, with what chance alone would show, out. Pure.

Three comparisons, all paired. Greedy answers: the share of the questions whose answers are the same, token by token. Text:
the loss in mean negative log-likelihood (NLL), by Student's t over the pieces of the text. The user's task: McNemar's exact
test over what was right with one and wrong with the other.

Student's t keeps its level where the pieces' differences are symmetric, heavy tails included; those of two launches of the same
settings are, for nothing tells the two apart. A loss that falls on few pieces (skewed to the right) is refused less often than
the level allows; where a few pieces gain much it is refused, at the limit itself, in 7 % instead of 2.5 % of the cases
(tests/decide/test_quality.py shows all of this).

It does not know what a setting is, nor how much loss is too much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, isfinite, sqrt
from statistics import fmean, stdev

from tuner.decide.student import value_at
from tuner.types.quality import Quality

#: One-sided: the ends of a 95 % interval.
LEVEL = 0.025
#: How often a difference as large as the least visible one is seen.
POWER = 0.8
#: Of fewer pieces or questions nothing is said.
LEAST_PIECES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Of so many `questions` that both answered, how many answers are the `same` to the end. `first_difference` is where the
    others part, on average, as a share of the answer's length; None where none does."""

    questions: int
    same: int
    first_difference: float | None

    @property
    def share(self) -> float:
        return self.same / self.questions


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """How much worse a text is foretold than with the defaults, relative to their NLL: 0.02 is 2 % more nats a token. `low` to
    `high` is the 95 % interval over the `pieces`; a loss of `least_seen` would be told from none in 80 % of the cases."""

    loss: float
    low: float
    high: float
    least_seen: float
    pieces: int
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """Of the answers that both gave: those right before and after, and those that were `lost` and `won`. `p_value` is the
    chance of at least as many lost ones if neither is better (McNemar's exact test, one-sided)."""

    answers: int
    before: int
    after: int
    lost: int
    won: int
    p_value: float

    @property
    def loss(self) -> float:
        """Relative to those that were right before."""
        return (self.before - self.after) / self.before if self.before else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Of `asked` questions that all launches of the defaults answered, how many were `missing` from a launch of the other, and
    how many of the greedy answers and pieces of text from all of them."""

    asked: int
    missing: int
    always: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The mean score of the launches before and after; `noise` is the standard deviation among launches of the same settings,
    pooled, None where none was repeated."""

    before: float
    after: float
    noise: float | None


def agreement(base: Quality, other: Quality) -> Agreement | None:
    """None where the two cannot be compared: other questions, or one told tokens and the other characters."""
    pairs = _pairs(base, other)
    if len(pairs) < LEAST_PIECES:
        return None
    parted = [_first_difference(a, b) for a, b in pairs if a != b]
    return Agreement(
        questions=len(pairs), same=len(pairs) - len(parted), first_difference=fmean(parted) if parted else None
    )


def more_apart(base: Quality, again: Quality, other: Quality) -> float | None:
    """The chance that the `other` agrees with the defaults (`base`) in so few questions more, if it differs no more from them
    than they do from themselves when launched `again`: McNemar's exact test over the questions."""
    if len({(one.data, one.are_tokens, len(one.answers)) for one in (base, again, other)}) > 1:
        return None
    of_all = [(a, b, c) for a, b, c in zip(base.answers, again.answers, other.answers, strict=True) if a and b and c]
    if len(of_all) < LEAST_PIECES:
        return None
    lost = sum(a == b != c for a, b, c in of_all)
    won = sum(a != b and a == c for a, b, c in of_all)
    return at_least_lost(lost, won)


def loss(base: Sequence[Quality], others: Sequence[Quality]) -> Loss | None:
    """Over the pieces that all launches told, each the mean of its launches. None where these are too few."""
    of_all = [*base, *others]
    if not base or not others or len({(one.data, len(one.nll)) for one in of_all}) > 1:
        return None
    told = [at for at in range(len(base[0].nll)) if all(_is_known(one.nll[at]) for one in of_all)]
    if len(told) < LEAST_PIECES:
        return None
    before, after = ([fmean(one.nll[at] or 0.0 for one in side) for at in told] for side in (base, others))
    return paired_loss(before, after)


def missing(base: Sequence[Quality], others: Sequence[Quality]) -> Missing:
    """Of the greedy answers, the pieces of text and the answers of the user's command, which may draw other ones each time. A
    kind that a launch has none of was not checked there: some servers have no log-probabilities."""
    asked = some = always = 0
    for kind in (_answered, _told, _of_task):
        usual, found = [kind(one) for one in base], [kind(one) for one in others]
        if not (usual and found and all((*usual, *found))) or len({one.data for one in (*base, *others)}) > 1:
            continue
        known = set.intersection(*usual)
        asked += len(known)
        some += len(known - set.intersection(*found))
        always += len(known.difference(*found)) if kind is not _of_task else 0
    return Missing(asked=asked, missing=some, always=always)


def _answered(one: Quality) -> set[object]:
    return {at for at, answer in enumerate(one.answers) if answer is not None}


def _told(one: Quality) -> set[object]:
    return {at for at, value in enumerate(one.nll) if _is_known(value)}


def _of_task(one: Quality) -> set[object]:
    return {*(one.task.right or {})} if one.task else set()


def paired_loss(before: Sequence[float], after: Sequence[float]) -> Loss | None:
    """Of two lists of NLLs, piece by piece. None where the text is foretold without fail: nothing can be relative to that."""
    if (usual := fmean(before)) <= 0:
        return None
    differences = [b - a for a, b in zip(before, after, strict=True)]
    error, freedom = stdev(differences) / sqrt(len(differences)), len(differences) - 1
    mean, half = fmean(differences), value_at(1 - LEVEL, freedom) * error
    return Loss(
        loss=mean / usual,
        low=(mean - half) / usual,
        high=(mean + half) / usual,
        least_seen=(half + value_at(POWER, freedom) * error) / usual,
        pieces=len(differences),
        before=usual,
        after=fmean(after),
    )


def rights(base: Mapping[str, bool], other: Mapping[str, bool]) -> Rights | None:
    """Over the names that both have; None where there are none."""
    names = base.keys() & other.keys()
    if not names:
        return None
    lost, won = (sum(one[name] and not two[name] for name in names) for one, two in ((base, other), (other, base)))
    return Rights(
        answers=len(names),
        before=sum(base[name] for name in names),
        after=sum(other[name] for name in names),
        lost=lost,
        won=won,
        p_value=at_least_lost(lost, won),
    )


def at_least_lost(lost: int, won: int) -> float:
    """The chance of so many lost or more among those that changed, if each is as likely lost as won."""
    changed = lost + won
    return float(sum(comb(changed, k) for k in range(lost, changed + 1)) / 2**changed)


def scores(base: Sequence[float], other: Sequence[float]) -> Scores | None:
    if not base or not other:
        return None
    freedom = len(base) + len(other) - 2
    squares = sum((value - fmean(side)) ** 2 for side in (base, other) for value in side)
    return Scores(before=fmean(base), after=fmean(other), noise=sqrt(squares / freedom) if freedom else None)


def _pairs(base: Quality, other: Quality) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    if (base.data, base.are_tokens, len(base.answers)) != (other.data, other.are_tokens, len(other.answers)):
        return []
    return [(a, b) for a, b in zip(base.answers, other.answers, strict=True) if a is not None and b is not None]


def _first_difference(one: Sequence[int], other: Sequence[int]) -> float:
    """As a share of the longer one."""
    alike = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return alike / max(len(one), len(other), 1)


def _is_known(value: float | None) -> bool:
    return value is not None and isfinite(value)
