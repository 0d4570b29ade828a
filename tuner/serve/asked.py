"""What a request may say, as closed records: a field that is not here is refused by its name.

Names stand for things of the service (a model, a space, a workload): no path and no command can be said. What the names mean,
and which of them are allowed, is not known here.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

#: The name of a study: it becomes that of a folder, and stands in URLs.
STUDY = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}$"
_WORD = r"^[a-z0-9_]{1,40}$"
_SLO = r"^[A-Za-z0-9_.+=-]{1,60}$"
_ARGUMENT = r"^[a-z][A-Za-z0-9_.-]{0,79}=[ -~]{0,200}$"
#: What a client may ask for in one page, and gets without asking.
MOST, USUAL = 200, 50

StudyName = Annotated[str, Field(pattern=STUDY)]
Name = Annotated[str, Field(pattern=_NAME)]
Variable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class StudyAsked(_Closed):
    """A study to run. What is not said is as `tuner optimize` has it."""

    model: Annotated[
        Name | None, Field(description="A model by its name here; default: the first of GET /options.")
    ] = None
    gpu: Annotated[Name, Field(description="A search space by its name.")]
    workload: Annotated[Name, Field(description="A workload by its name.")] = "chat"
    trials: Annotated[int, Field(ge=1, le=100_000, description="Launches to measure, the defaults included.")] = 20
    study: Annotated[StudyName | None, Field(description="Its name; default: made of card, model and workload.")] = None
    engine: Annotated[Literal["vllm", "sim"] | None, Field(description="Default: the first of GET /options.")] = None
    users: Annotated[int | None, Field(ge=1, le=100_000)] = None
    request_rate: Annotated[float | None, Field(gt=0, le=100_000)] = None
    objective: Annotated[
        tuple[Annotated[str, Field(pattern=_WORD)], ...], Field(min_length=1, max_length=8, strict=False)
    ] = ("throughput",)
    slo: Annotated[tuple[Annotated[str, Field(pattern=_SLO)], ...], Field(max_length=16, strict=False)] = ()
    price: Annotated[float | None, Field(gt=0, le=1e9)] = None
    verify: Annotated[int, Field(ge=0, le=1000)] = 5
    max_hours: Annotated[float | None, Field(gt=0, lt=10_000)] = None
    trial_timeout: Annotated[float | None, Field(gt=0, lt=86_400)] = None
    warmup: Annotated[float | None, Field(gt=0, lt=86_400)] = None
    window: Annotated[float | None, Field(gt=0, lt=86_400)] = None
    max_window: Annotated[float | None, Field(gt=0, lt=86_400)] = None
    precision: Annotated[float | None, Field(gt=0, lt=1)] = None
    max_model_len: Annotated[int | None, Field(ge=1, le=10_000_000)] = None
    groups: Annotated[tuple[Annotated[str, Field(pattern=_WORD)], ...] | None, Field(max_length=32, strict=False)] = (
        None
    )
    sampler: Annotated[str, Field(pattern=_WORD)] = "model"
    stop: Literal["auto", "never"] = "auto"
    start: Literal["warm", "plain"] = "warm"
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    engine_arg: Annotated[tuple[Annotated[str, Field(pattern=_ARGUMENT)], ...], Field(max_length=32, strict=False)] = ()
    hf_token: Annotated[
        Variable | None,
        Field(description="The name of the variable of the service's environment that holds the hub's token for it."),
    ] = None


class Decided(_Closed):
    """Who approves or rejects a proposal, and why."""

    by: Annotated[str, Field(min_length=1, max_length=200)]
    why: Annotated[str, Field(min_length=1, max_length=2000)]


class Nothing(_Closed):
    """A body that says nothing: `{}`."""


class Page(_Closed):
    """Which part of a list: so many, after the token that the part before ended with."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    limit: Annotated[int, Field(ge=1, le=MOST)] = USUAL
    after: Annotated[str | None, Field(max_length=400, pattern=r"^[A-Za-z0-9_-]+$")] = None


class ExportAsked(_Closed):
    """Which export: of one trial, or of what the study decided."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    format: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,40}$")] = "command"
    trial: Annotated[int | None, Field(ge=0, le=2**31 - 1)] = None
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,253}$")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000


class ReportAsked(_Closed):
    """In which format a report is wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    format: Literal["html", "markdown", "json"] = "html"


class NothingAsked(_Closed):
    """No parameter."""
