"""A workload in; the request that each user of a closed loop is in the middle of when the load begins, out. Pure.

Whoever looks at a closed loop in its stationary state finds a user at a request with a probability that grows with the time it
takes, so with the length of its answer, and anywhere in it (the inspection paradox; Feller, An Introduction to Probability Theory
and Its Applications, vol. 2, 1971, I.4). A load that begins so has the contexts, and the rest of the answers, of one that has
run for ever. How long a prompt takes to read is left out: it is little beside the answer, or the answers are short.

The users' places are the points of a low-discrepancy sequence and not drawn one by one: a few users then have together what
many would have on the mean (quasi-Monte Carlo; Niederreiter, Random Number Generation and Quasi-Monte Carlo Methods, 1992),
and a window shorter than their answers sees no accident of the start.
"""

import random
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from tuner.types import Workload
from tuner.workload.lengths import draw

#: Requests from which those under way are chosen: their mean lengths are within 1 % of the workload's.
_CHOICE = 2048
#: The steps of the sequence in its two dimensions: 1/g and 1/g**2 of g**3 = g + 1 (Roberts, "The unreasonable effectiveness of
#: quasirandom sequences", 2018), shifted at random (Cranley and Patterson, SIAM Journal on Numerical Analysis, 1976).
_STEPS = (0.7548776662466927, 0.5698402909980532)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A request as its user asks it: the tokens of its prompt, of that what was said before in the conversation, the tokens of
    its answer, and how many requests of the conversation come after it. `number` is its prompt's in a dataset."""

    input_tokens: int
    output_tokens: int
    before_tokens: int = 0
    turns_left: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A request of whose answer `said_tokens` have been said already, and `left_tokens` (1 or more) have not."""

    whole: Whole
    said_tokens: int

    @property
    def left_tokens(self) -> int:
        return self.whole.output_tokens - self.said_tokens

    @property
    def input_tokens(self) -> int:
        """Of a prompt that ends with what has been said."""
        return self.whole.input_tokens + self.said_tokens


class UnderWay:
    """What each user is in the middle of; the same for the same workload and seed."""

    def __init__(self, workload: Workload, among: Iterable[Whole] | None = None) -> None:
        """`among` are the requests of a workload whose lengths are those of given prompts."""
        rng = random.Random(f"{workload.seed}:under way")
        self._among = sorted(among or requests(workload, rng), key=lambda whole: whole.output_tokens)
        self._ends = list(accumulate(whole.output_tokens for whole in self._among))
        self._shifts = (rng.random(), rng.random())

    def of(self, user: int) -> Begun:
        place, share = ((shift + (user + 1) * step) % 1.0 for shift, step in zip(self._shifts, _STEPS, strict=True))
        whole = self._among[min(bisect_right(self._ends, place * self._ends[-1]), len(self._among) - 1)]
        return Begun(whole=whole, said_tokens=int(share * whole.output_tokens))


def requests(workload: Workload, rng: random.Random) -> list[Whole]:
    """Requests of whole conversations (of one request each without `turns`), as users ask them one after another."""
    found: list[Whole] = []
    while len(found) < _CHOICE:
        said, turns = 0, draw(workload.turns, rng) if workload.turns else 1
        for turn in range(turns):
            new, output = draw(workload.input_tokens, rng), draw(workload.output_tokens, rng)
            found.append(
                Whole(
                    input_tokens=said + new, output_tokens=output, before_tokens=said, turns_left=turns - turn - 1
                )
            )
            said += new + output
    return found
