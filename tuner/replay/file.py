"""A file of recorded measurements in, JSON lines; its records out, or one sentence with file and line (docs/replay.md).

It does not know the search space: whether the parameters are those of one is seen where the records are used.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tuner.decide.objective import Objective, metric_value
from tuner.decide.slo import Slo
from tuner.errors import UsageError
from tuner.replay.metrics import measured_of
from tuner.space.json_text import read_json_text
from tuner.space.parameters import Scalar
from tuner.types import Failed, FailureKind, Mark, Measured, Outcome, Params
from tuner.workload.lengths import MAX_RATE, MAX_TOKENS, MAX_USERS, MIN_RATE
from tuner.workload.textlines import open_data, read_lines

#: Each answer looks at every line.
MAX_LINES = 20_000
MAX_BYTES = 128 << 20
#: What a launch took that does not say it: a minute to start, and `chat` measured as briefly as it can be (4 s of warm-up, a
#: window of 12 s, the last requests). No measurement stands behind these.
STARTUP_S = 60.0
DURATION_S = 22.0
MAX_NUMBER = 1e18
#: Eleven days: what takes longer is taken to be wrong, and the time of a study is the sum of its launches' seconds.
MAX_SECONDS = 1e6


def most(metric: str) -> float:
    """The largest number that a metric of this name can have."""
    return MAX_SECONDS if metric.endswith("_s") else MAX_NUMBER


def _number(value: object, info: ValidationInfo) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number, found {json.dumps(value)[:60]}")
    highest = most(info.field_name or "")
    if not 0 <= value <= highest:  # nan is not
        raise ValueError(f"expected a number from 0 to {highest:g}, found {str(value)[:30]}")
    return float(value)


def _rises(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] > value[1]:
        raise ValueError(f"{value[0]} is above {value[1]}: it is [least, most]")
    return value


def _moderate(value: object) -> object:
    if isinstance(value, int | float) and not abs(value) <= MAX_NUMBER:
        raise ValueError(f"expected a number of at most {MAX_NUMBER:g}, found {str(value)[:30]}")
    return value


_Number = Annotated[float, BeforeValidator(_number)]
_Count = Annotated[int, Field(gt=0, le=MAX_TOKENS)]
_Range = Annotated[tuple[_Count, _Count], AfterValidator(_rises)]
_Params = Mapping[str, Annotated[Scalar, BeforeValidator(_moderate)]]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One line: what a launch with these params came to, and the seconds that it took, its start included; of these `startup_s`
    and `duration_s` are those that were recorded."""

    line: int
    params: Params
    is_default: bool
    outcome: Outcome
    took_s: float
    startup_s: float | None = None
    duration_s: float | None = None


class Header(BaseModel):
    """What the file says of itself; `defaults` is the default point where no line is marked as it. `users` or `request_rate`,
    and the tokens, [least, most], say what the load was: the benchmark of searches predicts from them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    gpu: str | None = None
    model: str | None = None
    engine_version: str | None = None
    workload: str | None = None
    source: str | None = None
    users: Annotated[int, Field(gt=0, le=MAX_USERS)] | None = None
    request_rate: Annotated[float, Field(ge=MIN_RATE, le=MAX_RATE)] | None = None
    input_tokens: _Range | None = None
    output_tokens: _Range | None = None
    defaults: _Params | None = None
    answer: Literal["nearest", "interpolate"] = "nearest"


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceFile:
    """What is in a file. `digest` is the SHA-256 of its text."""

    path: Path
    header: Header
    recordings: tuple[Recording, ...]
    digest: str


def read_surface(path: Path) -> SurfaceFile:
    """Raises UsageError "path:line: ..." for what cannot be read, is not in the format, or has no measurement."""
    digest, header, recordings = hashlib.sha256(), None, list[Recording]()
    with open_data(path) as file:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise UsageError(f"{path} has {size >> 20:,} MiB and {MAX_BYTES >> 20} are the most: leave out some lines")
        for number, text in enumerate(read_lines(path, file, MAX_BYTES), 1):
            where = f"{path}:{number}"
            if number > MAX_LINES:
                raise UsageError(f"{where}: {MAX_LINES:,} lines are the most: leave out some")
            digest.update(text.encode())
            if text.isspace():
                continue
            value = _object(text, where)
            if "surface" not in value:
                recordings.append(_recording(value, path, number))
            elif recordings or header:
                raise UsageError(f"{where}: the line with `surface` must be the first one")
            else:
                header = _valid(_FirstLine, value, where).surface
    if not any(isinstance(recording.outcome, Measured) for recording in recordings):
        raise UsageError(f"{path}: no line has `metrics`, so there is nothing to replay")
    return SurfaceFile(path=path, header=header or Header(), recordings=tuple(recordings), digest=digest.hexdigest())


def check_named(file: SurfaceFile, objectives: Sequence[Objective], slos: Sequence[Slo]) -> None:
    """Raises UsageError "path:line: ..." for a measurement that lacks what the study is about."""
    for recording in file.recordings:
        if not isinstance(measured := recording.outcome, Measured):
            continue
        lacking = [(one.metric, f"--objective {one.name}") for one in objectives if one.value(measured) is None]
        lacking += [(s.metric, f"--slo {s.name}") for s in slos if metric_value(measured.load, s.metric) is None]
        if lacking:
            metric, who = lacking[0]
            raise UsageError(f"{file.path}:{recording.line}: metrics: {metric} is missing, which {who} needs")


def header_of(values: Mapping[str, object], where: str) -> Header:
    """Raises UsageError "where: ..." for values that no header can have."""
    return _valid(Header, values, where)


class _FirstLine(BaseModel):
    model_config = ConfigDict(extra="forbid")

    surface: Header


class _Failure(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: FailureKind
    message: str

    @model_validator(mode="after")
    def _is_of_the_settings(self) -> Self:
        if not self.kind.is_of_the_settings:
            raise ValueError(
                f"{self.kind.value!r} is no fault of the settings and says nothing of them: remove the line"
            )
        return self


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    params: _Params
    is_default: StrictBool = False
    metrics: Mapping[str, _Number] | None = None
    failure: _Failure | None = None
    marks: tuple[Mark, ...] = ()
    startup_s: _Number | None = None
    duration_s: _Number | None = None
    kv_cache_tokens: _Number | None = None
    about: Mapping[str, object] = {}
    equals: int | None = None

    @field_validator("metrics")
    @classmethod
    def _are_moderate(cls, metrics: Mapping[str, float] | None) -> Mapping[str, float] | None:
        for name, value in (metrics or {}).items():
            if value > most(name):
                raise ValueError(f"{name}: expected a number from 0 to {most(name):g}, found {value:g}")
        return metrics

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.metrics is None) == (self.failure is None):
            raise ValueError("a line has either `metrics` or `failure`")
        return self


def _object(text: str, where: str) -> dict[str, object]:
    try:
        value = read_json_text(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: this is not valid JSON: {getattr(error, 'msg', error)}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{where}: expected a JSON object, found {text.strip()[:60]}")
    return value


def _valid(model: type[Model], value: object, where: str) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        special = {"extra_forbidden": "unknown key", "missing": "this key is required"}
        why = special.get(first["type"]) or str(first["msg"]).removeprefix("Value error, ")
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{where}: {place + ': ' if place else ''}{why}") from error


def _recording(value: object, path: Path, number: int) -> Recording:
    where = f"{path}:{number}"
    line = _valid(_Line, value, where)
    startup_s, duration_s = line.startup_s, line.duration_s
    outcome: Outcome
    if line.failure is not None:
        outcome = Failed(kind=line.failure.kind, message=line.failure.message)
        if outcome.kind is FailureKind.REJECTED:
            startup_s = duration_s = 0.0
    else:
        own = {"startup_s": startup_s, "kv_cache_tokens": line.kv_cache_tokens}
        numbers = {**(line.metrics or {}), **{name: value for name, value in own.items() if value is not None}}
        startup_s = numbers.get("startup_s")
        try:
            outcome = measured_of(numbers, line.marks)
        except ValueError as error:
            raise UsageError(f"{where}: metrics: {error}") from error
    took_s = (STARTUP_S if startup_s is None else startup_s) + (DURATION_S if duration_s is None else duration_s)
    return Recording(
        line=number,
        params=line.params,
        is_default=line.is_default,
        outcome=outcome,
        took_s=took_s,
        startup_s=startup_s,
        duration_s=duration_s,
    )
