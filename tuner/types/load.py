"""What the load generator saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """What came back. Times are seconds on the client's monotonic clock. `error` is None exactly when the stream was whole
    (it ended with usage and [DONE]; of a server that tuner launched also with the token counts that were asked for), or
    `censored`: when it was given up, bytes were still flowing. Then `output_tokens` are those until then, and its time is
    longer than `ended_s` says.

    `asked_tokens` are those that were asked for, `asked_input_tokens` those that were sent (None where only the server knows).
    With `is_counted` there was no usage, and the tokens were counted by the server's tokenizer. `text_bytes` is about how much
    text came, `first_text_bytes` how much of it in the first chunk; of the tokens, `hidden_tokens` are such that the server
    says it did not send.

    `scheduled_s` is when it was due (open loop, trace) or begun (closed loop): latencies count from it, so that a client that
    sends late does not flatter the server (coordinated omission)."""

    index: int
    scheduled_s: float
    sent_s: float  # just before its first byte, or its connection
    ended_s: float
    chunk_times_s: Sequence[float]  # arrival of each chunk that carries output
    input_tokens: int | None  # from the server's usage
    output_tokens: int | None
    error: str | None
    censored: bool = False
    asked_tokens: int | None = None
    asked_input_tokens: int | None = None
    is_counted: bool = False
    text_bytes: int | None = None
    first_text_bytes: int | None = None
    hidden_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Underway:
    """How far a load is: `past_s` of a window of at least `least_s` and at most `most_s`, and the output tokens a second so
    far; in a warm-up there is no window yet, and these are None."""

    past_s: float
    least_s: float | None
    most_s: float | None
    tokens_per_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientMetrics:
    """How well the load generator itself did in the window. `cpu` is the busiest worker's share of a core. `delay_mean_s` is an
    upper bound of how long a chunk lay unread while its worker was at others, meaned over the chunks; `lag_mean_s` and
    `lag_p99_s` by how much timers were late; `send_delay_mean_s` and `send_delay_p99_s` how much later than scheduled requests
    were sent (None in a closed loop)."""

    workers: int
    cpu: float
    delay_mean_s: float
    lag_mean_s: float
    lag_p99_s: float
    send_delay_mean_s: float | None
    send_delay_p99_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """All requests of one load, and the steady window [window_start_s, window_end_s] on the same clock. `warmup_s` is how
    long the warm-up took, `stationary` whether throughput was stationary then. `shared_tokens` is how many tokens all prompts
    begin with alike (template, system prompt, shared prefix); None where the workload does not say.

    `rates` are a closed loop's output tokens a second in each tick of the window, as they were known when its end was decided;
    none in an open loop, whose throughput is that of its arrivals. `mix` is by how many prompt tokens a second each tick had
    more than its output tokens have on average in the workload, None where that is not known. `intervals` are of the metrics
    that decided, over the requests that had ended: seconds of latencies (ttft_p99_s), of goodput the share of good ones. Of
    `undecided` ones it was not known whether they meet their SLO. `at_best` is of a window that was stopped early: the
    objective is at the best so many times what the window has told of it. `warmup_rates` are the output
    tokens a second in each `tick_s` of the warm-up, whose requests mostly have no record."""

    records: tuple[RequestRecord, ...]
    window_start_s: float
    window_end_s: float
    client: ClientMetrics
    warmup_s: float
    stationary: bool
    shared_tokens: int | None
    rates: Sequence[float] = ()
    mix: Sequence[float] | None = None
    intervals: Mapping[str, tuple[float, float]] | None = None
    undecided: tuple[str, ...] = ()
    at_best: float | None = None
    warmup_rates: Sequence[float] = ()
    tick_s: float = 0.0
