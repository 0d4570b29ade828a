"""What the launches of a search promised and brought in; whether another is worth it, and the sentence why not, out. Pure.

A launch is worth what a user pays for one: who gives a number of launches for a gain that is useful (10 %) gives its share for
each. The search ends when the last launches promised less than that, and brought less; and when so many failed that what they
promise can no longer be believed. It does not know who promises: one who says nothing, and knows no failures, never ends a
search.
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
#: So many failures one after another: where one in four of what is left did start, 94 of 100 searches would have seen it.
FAILED_IN_A_ROW = 10
#: However many launches are allowed, one is worth at least so much: less could not be told from none.
LEAST_PRICE = LEAST_GAIN / 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One launch: the relative gain over the best so far that was expected of it (None: nobody said), and what it brought.
    `failed`: it did, though its settings were chosen to start."""

    promise: float | None
    gain: float
    failed: bool = False


def step(
    promise: float | None, before: Trial | None, after: Trial | None, objective: Objective, *, failed: bool = False
) -> Step:
    """Of the launch that lies between the two, the best trials of the search before and after it."""
    if after is None or (before is not None and before.number == after.number):
        return Step(promise=promise, gain=0.0, failed=failed)
    value, base = score(after, objective), None if before is None else score(before, objective)
    return Step(promise=promise, gain=inf if value is None or base is None else objective.gain(value, base))


def price(trials: int) -> float:
    """The relative gain that one of so many launches has to bring."""
    return min(max(USEFUL_GAINS[0] / trials, LEAST_PRICE), LEAST_GAIN)


def why_stop(steps: Sequence[Step], best: Trial | None, *, launches: int, trials: int, launch_s: float) -> str | None:
    """Why another launch, which takes `launch_s`, is not worth it; None where it is. `best` is that of the search, None where
    nothing meets the SLOs; there were so many `launches`, and `trials` were allowed."""
    failures = steps[-FAILED_IN_A_ROW:]
    if best and len(failures) == FAILED_IN_A_ROW and all(one.failed for one in failures):
        return (
            f"the search ends here: each of the last {FAILED_IN_A_ROW} launches failed, and another of {launch_s:.0f} s is not"
            " likely to do better (--stop never goes on)"
        )
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
