"""The time of a study that launches nothing: it passes only as it is told."""

from datetime import UTC, datetime, timedelta


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
