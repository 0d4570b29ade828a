"""What time it is, for everything that is stored or budgeted. Where nothing is launched, time passes only as it is told."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Seconds that only grow, and the date."""

    def monotonic(self) -> float: ...
    def now(self) -> datetime: ...


class SystemClock:
    """The machine's."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)


class VirtualClock:
    """Stands still until it is advanced."""

    def __init__(self) -> None:
        self._began, self._past_s = datetime.now(UTC), 0.0

    def monotonic(self) -> float:
        return self._past_s

    def now(self) -> datetime:
        return self._began + timedelta(seconds=self._past_s)

    def advance(self, seconds: float) -> None:
        self._past_s += seconds
