"""A YAML file in, a validated `Workload` out, or one sentence with file and line.

The keys are the names of `Workload`'s fields. Paths in a file are relative to its folder. Knows nothing of servers.
"""

from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tuner.errors import UsageError
from tuner.space.speculation import MOST_TOKENS
from tuner.space.words import not_a_name
from tuner.space.yaml_file import key_line, read_yaml
from tuner.types import Histogram, Lengths, Lognormal, SharedPrefix, Workload
from tuner.workload.dataset import inspect_dataset
from tuner.workload.entry import Sample
from tuner.workload.lengths import CHARACTERS_PER_TOKEN, MAX_RATE, MAX_TOKENS, MAX_TURNS, MAX_USERS, MIN_RATE
from tuner.workload.trace import inspect_trace

#: What a dataset's workload has as `input_tokens`: its prompts say how long they are.
UNUSED = Lengths(low=1, high=1)
UNITS_S = {"s": 1.0, "ms": 0.001}

_CHAT_ONLY = ("system_prompt", "response_prefix", "turns", "dataset")
_ONLY_WITH = {
    "think_time_s": "users",
    "burstiness": "request_rate",
    "ramp_up_s": "request_rate",
    "find_rate": "request_rate",
}
_NOT_WITH = {
    "request_rate": ("users",),
    "trace": ("users", "request_rate"),
    "dataset": ("trace",),
    "input_tokens": ("trace", "dataset"),
    "output_tokens": ("trace",),
    "shared_prefix": ("dataset",),
    "turns": ("trace", "dataset"),
    "acceptance_length": ("dataset",),
    "acceptance_rates": ("dataset", "acceptance_length"),
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


_Count = Annotated[int, Field(ge=1, le=MAX_TOKENS)]


class _Lengths(_Part):
    low: _Count
    high: _Count

    @model_validator(mode="after")
    def _ordered(self) -> "_Lengths":
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self

    def record(self) -> Lengths:
        return Lengths(low=self.low, high=self.high)


class _Lognormal(_Part):
    median: FiniteFloat = Field(gt=0)
    sigma: FiniteFloat = Field(gt=0, le=10)
    low: _Count
    high: _Count

    @model_validator(mode="after")
    def _ordered(self) -> "_Lognormal":
        if not self.low <= self.median <= self.high:
            raise ValueError(f"median {self.median:g} is not within low {self.low} and high {self.high}")
        return self

    def record(self) -> Lognormal:
        return Lognormal(median=self.median, sigma=self.sigma, low=self.low, high=self.high)


_Bucket = tuple[_Count, _Count, Annotated[FiniteFloat, Field(gt=0)]]


class _Histogram(_Part):
    histogram: tuple[_Bucket, ...] = Field(min_length=1)

    @field_validator("histogram")
    @classmethod
    def _ordered(cls, buckets: tuple[_Bucket, ...]) -> tuple[_Bucket, ...]:
        for low, high, _ in buckets:
            if low > high:
                raise ValueError(f"low {low} is above high {high}: a bucket is [low, high, weight]")
        return buckets

    def record(self) -> Histogram:
        return Histogram(buckets=self.histogram)


class _SharedPrefix(_Part):
    tokens: int = Field(ge=1, le=MAX_TOKENS)
    count: int = Field(ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _small(self) -> "_SharedPrefix":
        if self.tokens * self.count > 10 * MAX_TOKENS:
            raise ValueError(
                f"{self.count:,} prefixes of {self.tokens:,} tokens are more than {10 * MAX_TOKENS:,} tokens"
            )
        return self

    def record(self) -> SharedPrefix:
        return SharedPrefix(tokens=self.tokens, count=self.count)


class _Trace(_Part):
    path: str = Field(min_length=1)
    unit: Literal["s", "ms"] = "s"
    speedup: FiniteFloat = Field(default=1.0, gt=0, le=1e6)


def _exact(value: object) -> object:
    return {"low": value, "high": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _counts(value: object) -> object:
    value = _exact(value)
    if not isinstance(value, dict):
        raise ValueError("expected a number of tokens, {low, high}, {median, sigma, low, high} or {histogram: [...]}")
    return value


def _kind(value: object) -> str:
    keys = value if isinstance(value, dict) else {}
    return "buckets" if "histogram" in keys else "lognormal" if "median" in keys or "sigma" in keys else "uniform"


_Counts = Annotated[
    Annotated[_Lengths, Tag("uniform")]
    | Annotated[_Lognormal, Tag("lognormal")]
    | Annotated[_Histogram, Tag("buckets")],
    Discriminator(_kind),
    BeforeValidator(_counts),
]
_Text = Annotated[str, Field(min_length=1)]


class _File(_Part):
    """The keys in an order that lets each be checked against those above it, so that an error is said at its own line."""

    name: _Text | None = None
    api: Literal["chat", "completions"]
    users: int | None = Field(default=None, ge=1, le=MAX_USERS)
    think_time_s: FiniteFloat = Field(default=0.0, ge=0)
    request_rate: FiniteFloat | None = Field(default=None, ge=MIN_RATE, le=MAX_RATE)
    burstiness: float = Field(default=1.0, ge=0.01)
    ramp_up_s: FiniteFloat = Field(default=0.0, ge=0)
    find_rate: bool = False
    trace: (
        Annotated[_Trace, BeforeValidator(lambda value: {"path": value} if isinstance(value, str) else value)] | None
    ) = None
    dataset: _Text | None = None
    input_tokens: _Counts | None = None
    output_tokens: _Counts | None = None
    shared_prefix: _SharedPrefix | None = None
    turns: Annotated[_Lengths, BeforeValidator(_exact)] | None = None
    acceptance_length: FiniteFloat | None = Field(default=None, ge=1, le=MOST_TOKENS + 1)
    acceptance_rates: tuple[Annotated[FiniteFloat, Field(ge=0, le=1)], ...] = Field(default=(), max_length=MOST_TOKENS)
    temperature: FiniteFloat = Field(default=0.0, ge=0)
    top_p: FiniteFloat = Field(default=1.0, gt=0, le=1)
    system_prompt: _Text | None = None
    response_prefix: _Text | None = None
    stop: tuple[_Text, ...] = ()
    warmup_s: FiniteFloat = Field(default=4.0, ge=0)
    window_s: FiniteFloat = Field(default=12.0, gt=0)
    max_window_s: FiniteFloat | None = Field(default=None, gt=0)
    precision: FiniteFloat = Field(default=0.02, gt=0, lt=1)
    stall_s: FiniteFloat = Field(default=60.0, gt=0)
    seed: int = Field(default=0, ge=0)

    @field_validator("*")
    @classmethod
    def _goes_with_the_rest(cls, value: object, info: ValidationInfo) -> object:
        key = info.field_name or ""
        if value == cls.model_fields[key].default:
            return value
        if key in _CHAT_ONLY and info.data.get("api") != "chat":
            raise ValueError("only goes with `api: chat`")
        if key in _ONLY_WITH and info.data.get(_ONLY_WITH[key]) is None:
            raise ValueError(f"only goes with `{_ONLY_WITH[key]}`")
        for other in _NOT_WITH.get(key, ()):
            if info.data.get(other) is not None:
                raise ValueError(f"does not go with `{other}`: leave one of them out")
        return value

    @field_validator("shared_prefix")
    @classmethod
    def _leaves_room(cls, value: _SharedPrefix | None, info: ValidationInfo) -> _SharedPrefix | None:
        counts = info.data.get("input_tokens")
        if value is not None and counts is not None and value.tokens >= counts.record().low:
            raise ValueError(f"{value.tokens} tokens must be fewer than the shortest input, {counts.record().low}")
        return value

    @field_validator("turns")
    @classmethod
    def _few(cls, value: _Lengths | None, info: ValidationInfo) -> _Lengths | None:
        if value is not None and value.high > MAX_TURNS:
            raise ValueError(f"{value.high} turns are more than {MAX_TURNS}")
        counts = [found.record().high for key in ("input_tokens", "output_tokens") if (found := info.data.get(key))]
        if value is not None and value.high * sum(counts) > MAX_TOKENS:
            raise ValueError(f"the longest conversation would have more than {MAX_TOKENS:,} tokens")
        return value

    @field_validator("acceptance_rates")
    @classmethod
    def _falls(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        for before, rate in pairwise(value):
            if rate > before:
                raise ValueError(
                    f"{rate:g} is above {before:g} before it: each is the share of the drafts accepted up to there"
                )
        return value

    @field_validator("max_window_s")
    @classmethod
    def _not_below_the_window(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and value < info.data.get("window_s", 0):
            raise ValueError(f"{value:g} is below window_s, {info.data['window_s']:g}")
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> "_File":
        if self.users is None and self.request_rate is None and self.trace is None:
            raise ValueError("one of the keys users, request_rate and trace is required")
        for key in ("input_tokens", "output_tokens"):
            if getattr(self, key) is None and self.trace is None and self.dataset is None:
                raise ValueError(f"the key {key} is required without a trace or a dataset")
        return self


def read_workload(path: Path) -> Workload:
    """Raises UsageError "path:line: ..." (of the YAML, or of the trace or dataset that it names).

    A trace's workload has the range of the trace's lengths as its token counts. A dataset's has `output_tokens` for the
    conversations without an answer, and for servers that cannot be asked how many tokens an answer has.
    """
    file = read_yaml(path, _File)
    values: dict[str, Any] = {field.name: getattr(file, field.name) for field in fields(Workload)}
    values["name"] = file.name or path.stem
    if why := not_a_name(values["name"]):
        where = f"{path}:{key_line(path, 'name')}" if file.name else str(path)
        raise UsageError(f"{where}: name: {values['name']!r} cannot be used: {why}")
    for key in ("input_tokens", "output_tokens", "shared_prefix", "turns"):
        values[key] = values[key].record() if values[key] is not None else None
    if file.trace is not None:
        unit_s, speedup = UNITS_S[file.trace.unit], file.trace.speedup
        values["trace"], summary = inspect_trace(_beside(path, file.trace.path), unit_s, speedup)
        values |= {"input_tokens": summary.input_tokens, "output_tokens": summary.output_tokens}
        if file.shared_prefix is not None and file.shared_prefix.tokens >= summary.input_tokens.low:
            raise UsageError(
                f"{path}: shared_prefix: {file.shared_prefix.tokens} tokens must be fewer than the trace's shortest input, "
                f"{summary.input_tokens.low}"
            )
    if file.dataset is not None:
        values["dataset"], samples = inspect_dataset(_beside(path, file.dataset))
        values |= {"input_tokens": UNUSED, "output_tokens": values["output_tokens"] or _typical_answer(samples, path)}
    return Workload(**values)


def _beside(path: Path, name: str) -> Path:
    return (path.parent / name).absolute()


def _typical_answer(samples: tuple[Sample, ...], path: Path) -> Lengths:
    lengths = [
        sample.output_tokens or round(len(sample.answer or "") / CHARACTERS_PER_TOKEN)
        for sample in samples
        if sample.output_tokens or sample.answer
    ]
    if len(lengths) < len(samples):
        raise UsageError(
            f"{path}: dataset: {len(samples) - len(lengths)} of its {len(samples)} conversations have no answer: "
            "add output_tokens, which says how long those are to be"
        )
    tokens = max(1, round(median(lengths)))
    return Lengths(low=tokens, high=tokens)
