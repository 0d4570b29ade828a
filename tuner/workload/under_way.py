"""A workload in; the request that each user of a closed loop is in the middle of when the load begins, out. Pure.

Whoever looks at a closed loop in its stationary state finds a user at a request with a probability that grows with the time it
takes, so with the length of its answer, and anywhere in it (the inspection paradox; Feller, An Introduction to Probability
Theory and Its Applications, vol. 2, 1971, I.4). A load that begins so has the contexts, and the rest of the answers, of one
that has run for ever. How long a prompt takes to read is left out: it is little beside the answer, or the answers are short.

The users' places are not drawn one by one: they are the points of a low-discrepancy sequence, each for two users, of whom one
has said as much as the other has still to say. A few users then have together what many would have on the mean (quasi-Monte
Carlo and antithetic variates; Owen, Monte Carlo Theory, Methods and Examples, 2013, 8.2 and 15), and a window shorter than
their answers sees no accident of the start.
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
#: The steps of the sequence, which request and how far in it: the golden ratio's fraction, whose multiples are the most even
#: (Niederreiter, Random Number Generation and Quasi-Monte Carlo Methods, 1992, 3.1), and that of the square root of 2. Its
#: start is drawn (Cranley and Patterson, SIAM Journal on Numerical Analysis, 1976).
_STEPS = (0.6180339887498949, 0.4142135623730951)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A request as its user asks it: the tokens of its prompt, all that was said before among them, those of its answer, and
    how many requests of the conversation come after it. `number` is its prompt's in a dataset."""

    input_tokens: int
    output_tokens: int
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
        point = user // 2
        place, share = ((shift + point * step) % 1.0 for shift, step in zip(self._shifts, _STEPS, strict=True))
        whole = self._among[min(bisect_right(self._ends, place * self._ends[-1]), len(self._among) - 1)]
        said_tokens = int(share * whole.output_tokens)
        return Begun(whole=whole, said_tokens=whole.output_tokens - 1 - said_tokens if user % 2 else said_tokens)


def requests(workload: Workload, rng: random.Random) -> list[Whole]:
    """Requests of whole conversations (of one request each without `turns`), as users ask them one after another."""
    found: list[Whole] = []
    while len(found) < _CHOICE:
        said, turns = 0, draw(workload.turns, rng) if workload.turns else 1
        for turn in range(turns):
            new, output = draw(workload.input_tokens, rng), draw(workload.output_tokens, rng)
            found.append(Whole(input_tokens=said + new, output_tokens=output, turns_left=turns - turn - 1))
            said += new + output
    return found
