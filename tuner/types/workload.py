"""What the users do."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """A uniform range of token counts, both ends included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lognormal:
    """Token counts whose logarithm is normal: `median` and `sigma` of it, drawn again until within [low, high]."""

    median: float
    sigma: float
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Token counts by buckets (low, high, weight), both ends included, uniform inside a bucket."""

    buckets: tuple[tuple[int, int, float], ...]

    @property
    def low(self) -> int:
        return min(low for low, _, _ in self.buckets)

    @property
    def high(self) -> int:
        return max(high for _, high, _ in self.buckets)


TokenCounts = Lengths | Lognormal | Histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrefix:
    """What prompts begin with alike: each request has one of `count` prefixes of `tokens` tokens, counted in its input."""

    tokens: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A file that the load is made of. `digest` is the SHA-256 of what is read of it, so that its content is a part of the
    workload's hash. A trace's times are divided by `speedup`; `unit_s` is the length of one of its units of time. `notes` say
    what of it is not used, a phrase each."""

    path: Path
    digest: str
    unit_s: float = 1.0
    speedup: float = 1.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the users do. Exactly one of `users`, `request_rate` and `trace` is set.

    Closed loop: each of `users` sends its next request when the last one ended and it has thought for a while (exponential
    with mean `think_time_s`). Open loop: requests arrive at `request_rate` a second whatever the server does; `burstiness` is
    the shape of the gamma distribution of the gaps as in `vllm bench serve` (1: Poisson, inf: constant), and the rate grows
    linearly from 0 over the first `ramp_up_s`. With `find_rate` that is only the first rate tried, and the highest one that
    meets the SLOs is looked for. Trace: arrivals and lengths from a file.

    `api` is "chat" (/v1/chat/completions) or "completions" (/v1/completions). `response_prefix` is what the assistant's
    answer is forced to start with. `dataset` holds conversations whose first prompts are sent instead of synthetic ones.
    With `turns` each arrival is a conversation of so many requests, each with all that was said before it. Where prompts are
    synthetic, `acceptance_length` (of one number of drafted tokens) or `acceptance_rates` (up to each position) say how often
    the drafts of speculative decoding are accepted on the users' text.

    The warm-up lasts until throughput is stationary, at least `warmup_s`. The window lasts until what decides is known, e.g.
    throughput to `precision` (a fraction), at least `window_s` and at most `max_window_s` (default: 4 times as long).
    """

    name: str
    api: str
    users: int | None = None
    think_time_s: float = 0.0
    request_rate: float | None = None
    burstiness: float = 1.0
    ramp_up_s: float = 0.0
    find_rate: bool = False
    trace: DataFile | None = None
    dataset: DataFile | None = None
    input_tokens: TokenCounts
    output_tokens: TokenCounts
    shared_prefix: SharedPrefix | None = None
    turns: Lengths | None = None
    acceptance_length: float | None = None
    acceptance_rates: tuple[float, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    system_prompt: str | None = None
    response_prefix: str | None = None
    stop: tuple[str, ...] = ()
    warmup_s: float = 4.0
    window_s: float = 12.0
    max_window_s: float | None = None
    precision: float = 0.02
    stall_s: float = 60.0
    seed: int = 0
