"""How an option is written, those of every command that measures a load, and the workload that these make."""

from dataclasses import replace
from typing import Annotated, Optional

import typer

from tuner.errors import UsageError
from tuner.types import Workload
from tuner.workload.presets import load_workload, with_overrides


def option(name: str, help: str) -> typer.models.OptionInfo:
    """`--name`, which is also TUNER_NAME in the environment."""
    found: typer.models.OptionInfo = typer.Option(
        f"--{name}", help=help, envvar=f"TUNER_{name.upper().replace('-', '_')}"
    )
    return found


# Typer reads the annotations, hence Optional.
WorkloadName = Annotated[str, option("workload", "A preset (chat, long-prompt, ...) or a YAML file.")]
Users = Annotated[Optional[int], option("users", "Concurrent users; default: the workload's.")]  # noqa: UP045
RequestRate = Annotated[
    Optional[float],  # noqa: UP045
    option("request-rate", "Requests a second whatever the server does, instead of users."),
]
FindRate = Annotated[bool, option("find-rate", "Look for the highest request rate that meets every --slo.")]
Slos = Annotated[Optional[list[str]], option("slo", "A limit, e.g. ttft_p99=500ms. Repeatable.")]  # noqa: UP045
Warmup = Annotated[Optional[float], option("warmup", "Least warm-up in seconds; default: the workload's.")]  # noqa: UP045
Window = Annotated[Optional[float], option("window", "Least measured seconds; default: the workload's.")]  # noqa: UP045
MaxWindow = Annotated[Optional[float], option("max-window", "Most measured seconds; default: 4 times --window.")]  # noqa: UP045
Precision = Annotated[
    Optional[float],  # noqa: UP045
    option("precision", "Measure until throughput is known to this share; default: the workload's, 0.02."),
]
Seed = Annotated[Optional[int], option("seed", "Of the prompts; default: the workload's.")]  # noqa: UP045
GpuIndex = Annotated[
    Optional[list[int]],  # noqa: UP045
    option("gpu-index", "A GPU of this machine to sample. Repeatable; default: all if the URL is on this machine."),
]
Json = Annotated[Optional[str], option("json", "File for the result as JSON; - for stdout, with the table on stderr.")]  # noqa: UP045


def workload_of(
    name: str,
    *,
    find_rate: bool,
    slo: list[str] | None,
    users: int | None,
    request_rate: float | None,
    warmup: float | None,
    window: float | None,
    max_window: float | None,
    precision: float | None,
    seed: int | None,
) -> Workload:
    """The named workload with what was given instead. Raises UsageError."""
    workload = with_overrides(
        load_workload(name),
        users=users,
        request_rate=request_rate,
        warmup_s=warmup,
        window_s=window,
        max_window_s=max_window,
        precision=precision,
        seed=seed,
    )
    if find_rate and workload.request_rate is None:
        raise UsageError("--find-rate needs a rate to begin with: give --request-rate, or a workload that has one")
    workload = replace(workload, find_rate=workload.find_rate or find_rate)
    if workload.find_rate and not slo:
        raise UsageError("--find-rate looks for the highest rate that meets the SLOs: give at least one --slo")
    return workload
