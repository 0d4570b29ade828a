"""What time it is, for everything that is stored or budgeted."""

import time
from datetime import UTC, datetime
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
