"""The paced server's own account of its requests in; true latencies and rates out. Pure."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FIELDS = ("received_s", "first_send_s", "last_send_s", "tokens")


@dataclass(frozen=True, slots=True)
class Truth:
    """One element a request, in the order of their ends. Seconds on the clock of perf_counter. `late_p99_s` is by how much the
    server missed its own schedule."""

    received_s: Floats
    first_s: Floats
    last_s: Floats
    tokens: Floats
    late_p99_s: float

    @property
    def requests(self) -> int:
        return len(self.tokens)

    @property
    def chunks(self) -> int:
        return int(self.tokens.sum())

    def between(self, start_s: float, end_s: float) -> "Truth":
        """The requests that were received in the time."""
        inside = (start_s <= self.received_s) & (self.received_s < end_s)
        received, first, last, tokens = (v[inside] for v in (self.received_s, self.first_s, self.last_s, self.tokens))
        return Truth(received, first, last, tokens, self.late_p99_s)

    def latencies_s(self) -> dict[str, Floats]:
        """TTFT, TPOT (of requests with two tokens or more) and E2EL of each request."""
        several = self.tokens > 1
        tpot = (self.last_s - self.first_s)[several] / (self.tokens[several] - 1)
        return {"ttft": self.first_s - self.received_s, "tpot": tpot, "e2el": self.last_s - self.received_s}

    def rate(self, start_s: float, end_s: float) -> float:
        """Tokens a second in the time; each request's were sent evenly."""
        gaps_s = (self.last_s - self.first_s) / np.maximum(self.tokens - 1, 1)
        sent = [np.ceil((time_s - self.first_s) / np.where(gaps_s > 0, gaps_s, 1)) for time_s in (start_s, end_s)]
        before, after = (np.clip(count, 0, self.tokens) for count in sent)
        return float((after - before).sum()) / (end_s - start_s)

    def steady_rate(self, users: int, ttft_s: float, itl_s: float) -> float:
        """Tokens a second of a closed loop of `users` that never pause, by the server's schedule: the users' mean tokens over
        the mean time that these take (renewal reward)."""
        return users * float(self.tokens.mean()) / float((ttft_s + (self.tokens - 1) * itl_s).mean())


def read_truth(stats: dict[str, Any]) -> Truth:
    """From the answer of GET /stats."""
    rows = np.array([[request[field] for field in FIELDS] for request in stats["requests"]], dtype=np.float64)
    received, first, last, tokens = rows.reshape(-1, len(FIELDS)).T
    return Truth(received, first, last, tokens, stats["late_s"]["p99"])
