"""What the workers tell of a window in; whether it may end, and the series that said so, out. Knows no server."""

from collections.abc import Mapping, Sequence

import numpy as np

from tuner.decide.confidence import half_width
from tuner.decide.deciding import Deciding, latencies_s
from tuner.load.progress import Heard
from tuner.types import Workload
from tuner.workload.lengths import mean

#: After a look that did not see enough, the window has to grow by this share before the next: looks are few and not alike.
_BETWEEN_LOOKS = 0.04


class Stopping:
    """One window's rule. `rates`, `mix`, `intervals` and `undecided` are a LoadResult's, as the last look saw them."""

    def __init__(self, rule: Deciding, workload: Workload, heard: Heard, tick_s: float) -> None:
        self._rule, self._heard, self._tick_s = rule, heard, tick_s
        self._is_closed = workload.users is not None
        self._prompt_per_output = _prompt_per_output(workload)
        self._next_s = 0.0
        self.rates: Sequence[float] = ()
        self.mix: Sequence[float] | None = None
        self.intervals: Mapping[str, tuple[float, float]] | None = None
        self.undecided: tuple[str, ...] = ()

    def is_known(self, start_s: float, now_s: float) -> bool:
        """Whether the window has told what the rule names; it is asked again and again, and looks now and then."""
        if now_s < self._next_s:
            return False
        self._next_s = now_s + _BETWEEN_LOOKS * (now_s - start_s)
        self.look(start_s, now_s)
        half = relative_half_width(self.rates, self.mix)
        return not self._rule.unknown(half, self.intervals or {}, self.undecided)

    def look(self, start_s: float, now_s: float) -> None:
        """Take what the window has told from its start to now."""
        if self._rule.named:
            requests = np.array(self._heard.answered(start_s)).reshape(-1, 4)
            in_order = requests[np.argsort(requests[:, 0])]  # what they waited for is what was there when they came
            latencies = latencies_s(in_order)
            self.intervals, self.undecided = self._rule.intervals(latencies), self._rule.undecided(latencies)
        if self._is_closed:
            self._take_rates(start_s, now_s)

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
