"""What a load did, tick after tick, in; when its warm-up is over out. Pure: `benchmarks/truth` asks it about simulated loads.

The steady state is of the load and not of the clock: what has to be past is what the start has put into the load.

- Closed loop: each user is in the middle of a request from the start (tuner/workload/under_way.py), so requests in flight and
  their contexts are those of the stationary state. What is left of the start is that all prompts are read at once, and it is
  past at the first tick at which every user has had a token and none waits for its first. Where users queue there is no such
  tick; those who waited began too far in their answers. So it is, too, where users think between requests or answers end by
  themselves. Then each user must have ended the request that it began with.
- Open loop: it begins empty, and fills until the first requests leave. All that arrived in the first fifth of the time must
  have ended.

From then on, output throughput and the requests in flight must be stationary by MSER (tuner/decide/confidence.py).
"""

from dataclasses import dataclass
from itertools import pairwise

from tuner.decide.confidence import LEAST_VALUES, truncation
from tuner.types import Workload

#: The warm-up may last so many times warmup_s, or so many times the longest request that has ended, if that is more, and in an
#: open loop until some have. There it is the longest that had ended by then: where a server cannot keep up, it grows on.
MAX_WARMUP_FACTOR = 5
MAX_REQUEST_FACTOR = 4
#: So small a share of the open requests may wait for their first token when it is said that none does.
WAITING_SHARE = 0.02
#: Of an open loop: the share of the time whose arrivals must have ended, and how many must have.
FIRST_SHARE = 0.2
FIRST_ENDED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """The state of a load `time_s` after its start: chunks received and requests ended so far; the open requests, and those of
    them that have no output yet; the users without a first token and without a first end; when the oldest open request was
    due (inf without one), and the longest time that an ended one took."""

    time_s: float
    events: int
    ended: int
    open: int
    waiting: int
    unanswered: int
    unended: int
    oldest_due_s: float
    longest_s: float


class WarmUp:
    """Tell it each tick, `tick_s` apart; then ask whether it `is_over`, and whether the load is `stationary`."""

    def __init__(self, workload: Workload, *, ramp_s: float, begins_steady: bool) -> None:
        """`ramp_s` is how long users, or a growing rate, take to begin; `begins_steady` whether answers have the lengths that
        are asked for."""
        self._ramp_s = ramp_s
        self._is_closed, self._has_end = workload.users is not None, workload.trace is not None
        self._begins_steady = begins_steady and not workload.think_time_s
        self._least_s = workload.ramp_up_s + workload.warmup_s
        self._longest_s = ramp_s + MAX_WARMUP_FACTOR * workload.warmup_s
        self._most_s: float | None = None
        self._since: list[Tick] = []  # the ticks from that on at which the start was past
        self.is_over = self.stationary = False

    def tell(self, tick: Tick) -> None:
        if self._since or self._is_past(tick):
            self._since.append(tick)
        if tick.unanswered or tick.time_s < self._least_s:
            return
        self.stationary = self._has_end or self._is_stationary()
        if not self._is_closed and tick.ended < FIRST_ENDED:
            self.is_over = self.stationary
            return
        if self._is_closed or self._most_s is None or tick.time_s <= self._longest_s:
            self._most_s = max(self._longest_s, self._ramp_s + MAX_REQUEST_FACTOR * tick.longest_s)
        self.is_over = self.stationary or tick.time_s >= self._most_s

    def _is_past(self, tick: Tick) -> bool:
        """Whether nothing of the start is left in the load."""
        if self._is_closed:
            is_full = self._begins_steady and tick.waiting <= WAITING_SHARE * tick.open
            return not tick.unanswered and (is_full or not tick.unended)
        first_s = self._ramp_s + FIRST_SHARE * (tick.time_s - self._ramp_s)
        return tick.time_s > self._ramp_s and tick.ended >= FIRST_ENDED and tick.oldest_due_s >= first_s

    def _is_stationary(self) -> bool:
        if len(self._since) <= LEAST_VALUES:
            return False
        events = [tick.events for tick in self._since]
        rates = [float(after - before) for before, after in pairwise(events)]
        opened = [float(tick.open) for tick in self._since]
        return all(truncation(series) <= len(series) / 2 for series in (rates, opened))
