"""What the launches of a search promised and brought in; whether another is worth it, and the sentence why not, out. Pure.

A launch is worth what a user pays for one: who gives a number of launches for a gain that is useful (10 %) gives its share for
each. The search ends when the last launches promised less than that, and brought less. It does not know who promises: a sampler
that says nothing never ends a search.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from tuner.decide.gain import LEAST_GAIN, USEFUL_GAINS
from tuner.decide.objective import Objective
from tuner.decide.rank import score
from tuner.types import Trial

#: Of fewer launches nothing is concluded, and one alone may have been an odd proposal.
LEAST_LAUNCHES, IN_A_ROW = 5, 2
#: However many launches are allowed, one is worth at least so much: less could not be told from none.
LEAST_PRICE = LEAST_GAIN / 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One launch: the relative gain over the best so far that was expected of it (None: nobody said), and what it brought."""

    promise: float | None
    gain: float


def step(promise: float | None, before: Trial | None, after: Trial | None, objective: Objective) -> Step:
    """Of the launch that lies between the two, the best trials of the search before and after it."""
    if after is None or (before is not None and before.number == after.number):
        return Step(promise=promise, gain=0.0)
    value, base = score(after, objective), None if before is None else score(before, objective)
    return Step(promise=promise, gain=inf if value is None or base is None else objective.gain(value, base))


def price(trials: int) -> float:
    """The relative gain that one of so many launches has to bring."""
    return min(max(USEFUL_GAINS[0] / trials, LEAST_PRICE), LEAST_GAIN)


def why_stop(steps: Sequence[Step], best: Trial | None, *, launches: int, trials: int, launch_s: float) -> str | None:
    """Why another launch, which takes `launch_s`, is not worth it; None where it is. `best` is that of the search, None where
    nothing meets the SLOs; there were so many `launches`, and `trials` were allowed."""
    last, least = steps[-IN_A_ROW:], price(trials)
    promises = [one.promise for one in last if one.promise is not None]
    if best is None or launches < LEAST_LAUNCHES or len(promises) < IN_A_ROW:
        return None
    if max(promises) >= least or max(one.gain for one in last) >= least:
        return None
    return (
        f"the search ends here: the last {IN_A_ROW} launches were expected to gain {_percent(max(promises))} at the most, and"
        f" another of {launch_s:.0f} s has to bring {_percent(least)} to be worth it (--stop never goes on)"
    )


def _percent(share: float) -> str:
    return f"{share * 100:.2g} %" if share >= 0.0001 else "less than 0.01 %"
