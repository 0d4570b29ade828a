"""A preset's name or a YAML file in; a validated `Workload` out, and its hash. Knows nothing of servers or tokenizers."""

import hashlib
import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, model_validator

from tuner.errors import UsageError
from tuner.types import Lengths, Workload
from tuner.yamlfile import read_yaml

PRESETS = {
    preset.name: preset
    for preset in (
        Workload(
            name="chat",
            api="chat",
            users=64,
            input_tokens=Lengths(low=64, high=448),
            output_tokens=Lengths(low=32, high=224),
        ),
        Workload(
            name="long-prompt",
            api="completions",
            users=16,
            input_tokens=Lengths(low=1024, high=3072),
            output_tokens=Lengths(low=64, high=192),
        ),
        # Temperature, top_p, the absent system prompt and the forced start are DeepSeek-R1's own usage recommendations.
        Workload(
            name="reasoning-r1",
            api="chat",
            users=32,
            input_tokens=Lengths(low=64, high=192),
            output_tokens=Lengths(low=512, high=1536),
            temperature=0.6,
            top_p=0.95,
            response_prefix="<think>\n",
            stop=("<｜end▁of▁sentence｜>", "<｜User｜>"),
        ),
        Workload(
            name="newton-32",
            api="chat",
            users=32,
            input_tokens=Lengths(low=64, high=96),
            output_tokens=Lengths(low=128, high=128),
        ),
    )
}


def load_workload(name_or_path: str) -> Workload:
    """A preset by its name, or a YAML file by its path. Raises UsageError (for a file: with the line)."""
    if name_or_path in PRESETS:
        return PRESETS[name_or_path]
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        raise UsageError(
            f"there is no workload {name_or_path!r}: choose {', '.join(PRESETS)}, or give the path of a YAML file"
        )
    return _workload(read_yaml(path, _File), default_name=path.stem)


def with_overrides(
    workload: Workload,
    *,
    users: int | None = None,
    warmup_s: float | None = None,
    window_s: float | None = None,
    seed: int | None = None,
) -> Workload:
    """The workload with what is not None replaced. Raises UsageError on a value that no file could have."""
    given = {"users": users, "warmup_s": warmup_s, "window_s": window_s, "seed": seed}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for name, value in changes.items():
        if value < 0 or (value == 0 and name in ("users", "window_s")):
            raise UsageError(f"{name} is {value}: it must be above 0" if value == 0 else f"{name} is {value}: below 0")
    return replace(workload, **changes)


def workload_hash(workload: Workload) -> str:
    """16 hexadecimal digits that differ as soon as any field differs; the same on every machine and Python."""
    text = json.dumps(asdict(workload), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def max_tokens(workload: Workload) -> int:
    """The longest sequence, prompt and answer together, in tokens: max_model_len must be at least this."""
    return workload.input_tokens.high + workload.output_tokens.high


class _Lengths(BaseModel):
    model_config = ConfigDict(extra="forbid")
    low: int = Field(ge=1)
    high: int = Field(ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "_Lengths":
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


def _exact(value: object) -> object:
    return {"low": value, "high": value} if isinstance(value, int) and not isinstance(value, bool) else value


_Range = Annotated[_Lengths, BeforeValidator(_exact)]


class _File(BaseModel):
    """The YAML's keys: those of `Workload`; a range of lengths is {low, high} or one whole number."""

    model_config = ConfigDict(extra="forbid")
    name: str | None = Field(default=None, min_length=1)
    api: Literal["chat", "completions"]
    users: int = Field(ge=1)
    input_tokens: _Range
    output_tokens: _Range
    temperature: FiniteFloat = Field(default=0.0, ge=0)
    top_p: FiniteFloat = Field(default=1.0, gt=0, le=1)
    system_prompt: str | None = Field(default=None, min_length=1)
    response_prefix: str | None = Field(default=None, min_length=1)
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    warmup_s: FiniteFloat = Field(default=8.0, ge=0)
    window_s: FiniteFloat = Field(default=20.0, gt=0)
    stall_s: FiniteFloat = Field(default=60.0, gt=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _chat_only(self) -> "_File":
        if self.api == "completions" and (self.system_prompt or self.response_prefix):
            raise ValueError("system_prompt and response_prefix are for `api: chat`")
        return self


def _workload(file: _File, default_name: str) -> Workload:
    values: dict[str, Any] = {field.name: getattr(file, field.name) for field in fields(Workload)}
    for key in ("input_tokens", "output_tokens"):
        values[key] = Lengths(low=values[key].low, high=values[key].high)
    return Workload(**(values | {"name": file.name or default_name}))
