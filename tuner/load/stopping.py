"""What the workers tell of a window in; whether it may end, and the series that said so, out. Knows no server.

It may end when what decides is known, and when it is known that it cannot outdo what it has to (tuner/decide/early.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tuner.decide.confidence import half_width
from tuner.decide.deciding import Deciding, latencies_s
from tuner.decide.early import FIRST_LOOK, GROWTH, Outdo, SoFar, latency_so_far, throughput_so_far
from tuner.load.progress import Heard
from tuner.types import Workload
from tuner.workload.lengths import mean

if TYPE_CHECKING:
    from tuner.decide.deciding import Latencies

#: After a look that did not see enough, the window has to grow by this share before the next: looks are few and not alike.
_BETWEEN_LOOKS = 0.04


class Stopping:
    """One window's rule. `rates`, `mix`, `intervals`, `undecided` and `at_best` are a LoadResult's, as the last look saw."""

    def __init__(
        self, rule: Deciding, workload: Workload, heard: Heard, tick_s: float, outdo: Outdo | None = None
    ) -> None:
        self._rule, self._heard, self._tick_s = rule, heard, tick_s
        self._outdo, self._looks, self._next_early_s = outdo, 0, FIRST_LOOK * workload.window_s
        self._is_closed = workload.users is not None
        self._prompt_per_output = _prompt_per_output(workload)
        self._next_s = 0.0
        self.rates: Sequence[float] = ()
        self.mix: Sequence[float] | None = None
        self.intervals: Mapping[str, tuple[float, float]] | None = None
        self.undecided: tuple[str, ...] = ()
        self.at_best: float | None = None

    def is_known(self, start_s: float, now_s: float) -> bool:
        """Whether the window has told what the rule names; it is asked again and again, and looks now and then."""
        if now_s < self._next_s:
            return False
        self._next_s = now_s + _BETWEEN_LOOKS * (now_s - start_s)
        self.look(start_s, now_s)
        half = relative_half_width(self.rates, self.mix)
        return not self._rule.unknown(half, self.intervals or {}, self.undecided)

    def is_outdone(self, start_s: float, now_s: float) -> bool:
        """Whether the window cannot become as good as it has to; it is asked again and again, and looks now and then."""
        past_s = now_s - start_s
        if self._outdo is None or past_s < self._next_early_s:
            return False
        self._next_early_s, self._looks = past_s * (1 + GROWTH), self._looks + 1
        self.look(start_s, now_s)
        seen = self._so_far(self._outdo, start_s, past_s)
        is_outdone = seen is not None and self._outdo.is_beyond(seen.at_best)
        self.at_best = seen.at_best / seen.value if seen is not None and is_outdone else None
        return is_outdone

    def _so_far(self, outdo: Outdo, start_s: float, past_s: float) -> SoFar | None:
        if outdo.maximize:
            return throughput_so_far(self.rates, self.mix, past_s, outdo.noise, self._looks)
        return latency_so_far(outdo.metric, self._latencies(start_s), self._looks)

    def look(self, start_s: float, now_s: float) -> None:
        """Take what the window has told from its start to now."""
        if self._rule.named:
            latencies = self._latencies(start_s)
            self.intervals, self.undecided = self._rule.intervals(latencies), self._rule.undecided(latencies)
        if self._is_closed:
            self._take_rates(start_s, now_s)

    def _latencies(self, start_s: float) -> Latencies:
        requests = np.array(self._heard.answered(start_s)).reshape(-1, 4)
        return latencies_s(
            requests[np.argsort(requests[:, 0])]
        )  # what they waited for is what was there when they came

    def _take_rates(self, start_s: float, now_s: float) -> None:
        events = self._heard.rates(start_s, now_s)
        told = sum(self._heard.rates(start_s, now_s, "answered_events"))
        tokens = sum(self._heard.rates(start_s, now_s, "answered_tokens"))
        # an event is not a token: the role and the usage have their own, and several tokens can share one
        scale = tokens / told / self._tick_s if told else 1 / self._tick_s
        self.rates, self.mix = [scale * count for count in events], None
        prompts = self._heard.rates(start_s, now_s, "prompt_tokens")
        if self._prompt_per_output is not None and told and any(prompts):
            pairs = zip(prompts, self.rates, strict=True)
            self.mix = [count / self._tick_s - self._prompt_per_output * rate for count, rate in pairs]


def relative_half_width(rates: Sequence[float], mix: Sequence[float] | None) -> float | None:
    """Half the 95 % interval of the mean rate, as a share of it."""
    half, total = half_width(rates, mix), sum(rates)
    return half * len(rates) / total if half is not None and total else None


def _prompt_per_output(workload: Workload) -> float | None:
    """Prompt tokens for each output token, in the long run; None where requests are not drawn one by one from the lengths."""
    if workload.users is None or workload.dataset is not None or workload.turns is not None:
        return None
    return mean(workload.input_tokens) / mean(workload.output_tokens)
