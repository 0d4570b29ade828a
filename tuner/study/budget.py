"""How long one run of a command may take. Pure but for the clock."""

import time
from collections.abc import Callable


class Budget:
    """The hours that were given, counted from now; without a limit everything fits."""

    def __init__(self, hours: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.total_s = None if hours is None else hours * 3600
        self._end_s = None if self.total_s is None else clock() + self.total_s

    def has(self, needed_s: float) -> bool:
        """Whether what takes this long would end in time."""
        return self._end_s is None or self._clock() + needed_s <= self._end_s

    def at_most_half(self, wanted_s: float) -> float:
        """What is kept of it for later: what is wanted, but never more than half of all."""
        return wanted_s if self.total_s is None else min(wanted_s, self.total_s / 2)
