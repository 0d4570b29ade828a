"""Two sides in; their measurements in turn out, and what the test says of them. It does not know what a side is.

Measurements of one server a minute apart differ by more than their own intervals say: the machine drifts, and a launch has its
luck. So A and B are measured in pairs, each pair in the other order, each time on prompts that no cache has seen, and only
the differences within pairs count.
"""

import itertools
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tuner import interrupts
from tuner.decide.confidence import Paired, compare_paired
from tuner.decide.objective import Objective
from tuner.errors import LaunchError, RunError
from tuner.types import Measured

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two. `name` is what the user calls it, `model` what it serves. `measure` takes a salt, a number that is never
    used twice, and who is told of each step; it measures once, leaves nothing behind, and raises LaunchError."""

    name: str
    model: str
    measure: Callable[[int, Tell], Coroutine[Any, Any, Measured]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was measured so far, in the order of the pairs; the last pair may lack one."""

    a: tuple[Measured, ...] = ()
    b: tuple[Measured, ...] = ()

    @property
    def pairs(self) -> int:
        return min(len(self.a), len(self.b))

    def paired(self, objective: Objective) -> Paired | None:
        """The test over all whole pairs; None without any, or where a value is missing or 0 and so has no ratio."""
        a, b = ([objective.value(m) for m in side[: self.pairs]] for side in (self.a, self.b))
        known_a, known_b = ([value for value in values if value] for values in (a, b))
        if not a or len(known_a) < len(a) or len(known_b) < len(b):
            return None
        return compare_paired(known_a, known_b)


def interleaved(a: Side, b: Side, repeats: int, salt: int, tell: Tell) -> Iterator[Comparison]:
    """Measure A B, B A, A B, ... and yield what is known after each measurement, so that an interruption loses none of it.

    Salts are `salt` and up. A measurement that fails is tried once more; then RunError says which, and why.
    """
    found = Comparison()
    salts = itertools.count(salt)
    for pair in range(repeats):
        for role in "AB" if pair % 2 == 0 else "BA":
            what = f"pair {pair + 1} of {repeats}, {role}"
            measured = _measure(a if role == "A" else b, salts, what, tell)
            found = replace(found, a=(*found.a, measured)) if role == "A" else replace(found, b=(*found.b, measured))
            yield found


def _measure(side: Side, salts: Iterator[int], what: str, tell: Tell) -> Measured:
    def phase(text: str) -> None:
        tell(f"{what}: {text}")

    try:
        return interrupts.run(side.measure(next(salts), phase))
    except LaunchError as error:
        phase(f"once more, as it failed: {_why(error)}")
    try:
        return interrupts.run(side.measure(next(salts), phase))
    except LaunchError as error:
        raise RunError(f"{what} ({side.name}) failed twice, the last time for: {_why(error)}") from error


def _why(error: LaunchError) -> str:
    return f"{error.failed.kind.value}: {error.failed.message}"
