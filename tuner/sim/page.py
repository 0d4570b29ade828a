"""What a server has counted in; vLLM's /metrics page out, under its names, with the same buckets (vllm/v1/metrics). Pure.

Seconds are simulated ones. What the simulation does not know is not on the page.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

_TTFT_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
_LATENCY_S = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0),
    *(40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
_TOKEN_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
_REASONS = ("stop", "length", "abort", "error", "repetition")


class Histogram:
    """Values by bucket, each bound included in its own."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = (*bounds, math.inf)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, labels: str) -> Iterator[str]:
        for bound, count in zip(self._bounds, accumulate(self._counts), strict=True):
            yield f'{name}_bucket{{{labels},le="{_bound(bound)}"}} {float(count)}'
        yield f"{name}_count{{{labels}}} {float(sum(self._counts))}"
        yield f"{name}_sum{{{labels}}} {self._sum}"


def _token_bounds(max_model_len: int) -> list[float]:
    """1, 2, 5, 10, ... up to the model's length (buckets.py, build_1_2_5_buckets)."""
    powers = range(len(str(max_model_len)))
    return [float(d * 10**power) for power in powers for d in (1, 2, 5) if d * 10**power <= max_model_len]


@dataclass(slots=True)
class Counts:
    """What has happened since the start. Tokens are those that were sent."""

    max_model_len: int
    generation_tokens: int = 0
    finished: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_REASONS, 0))
    prompts: Histogram = field(init=False)
    generations: Histogram = field(init=False)
    ttft: Histogram = field(default_factory=lambda: Histogram(_TTFT_S))
    tpot: Histogram = field(default_factory=lambda: Histogram(_TOKEN_S))
    e2el: Histogram = field(default_factory=lambda: Histogram(_LATENCY_S))

    def __post_init__(self) -> None:
        self.prompts, self.generations = (Histogram(_token_bounds(self.max_model_len)) for _ in range(2))

    def finish(self, reason: str, prompt_tokens: int, told: int, ttft_s: float, e2el_s: float) -> None:
        """A request has ended, by its last token or (reason "abort") because its client has left."""
        self.finished[reason] += 1
        if reason == "abort":
            return
        self.prompts.observe(prompt_tokens)
        self.generations.observe(told)
        self.ttft.observe(ttft_s)
        self.e2el.observe(e2el_s)
        if told > 1:
            self.tpot.observe((e2el_s - ttft_s) / (told - 1))


def page(
    counts: Counts, gauges: Mapping[str, float], counters: Mapping[str, float], info: Mapping[str, object], model: str
) -> str:
    """`gauges` and `counters` by their names without "vllm:" and "_total"; `info` are the labels of cache_config_info."""
    labels = f'engine="0",model_name="{_escaped(model)}"'
    lines = []
    for name, value in gauges.items():
        lines += [f"# TYPE vllm:{name} gauge", f"vllm:{name}{{{labels}}} {float(value)}"]
    for name, value in {**counters, "generation_tokens": counts.generation_tokens}.items():
        lines += [f"# TYPE vllm:{name}_total counter", f"vllm:{name}_total{{{labels}}} {float(value)}"]
    lines.append("# TYPE vllm:request_success_total counter")
    for reason, count in counts.finished.items():
        lines.append(f'vllm:request_success_total{{{labels},finished_reason="{reason}"}} {float(count)}')
    histograms = {
        "request_prompt_tokens": counts.prompts,
        "request_generation_tokens": counts.generations,
        "time_to_first_token_seconds": counts.ttft,
        "request_time_per_output_token_seconds": counts.tpot,
        "e2e_request_latency_seconds": counts.e2el,
    }
    for name, histogram in histograms.items():
        lines += [f"# TYPE vllm:{name} histogram", *histogram.lines(f"vllm:{name}", labels)]
    told = ",".join(f'{name}="{_escaped(str(value))}"' for name, value in info.items())
    lines += ["# TYPE vllm:cache_config_info gauge", f'vllm:cache_config_info{{engine="0",{told}}} 1.0']
    return "\n".join(lines) + "\n"


def _bound(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else str(float(bound))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
