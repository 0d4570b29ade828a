"""Fields of `Options` in, options of Typer out, so that each is declared once."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from tuner.study.options import Options

Function = Callable[..., None]
#: The fields of Options with their types, in order.
FIELDS: Mapping[str, Any] = get_type_hints(Options)
_HELPS = {name: kind.__metadata__[0] for name, kind in get_type_hints(Options, include_extras=True).items()}
_DEFAULT = Options()


#: The headings of the help, and what stands below each.
_PANELS: Mapping[str, Sequence[str]] = {
    "What to tune": (
        "engine",
        "surface",
        "gpu",
        "model",
        "space",
        "groups",
        "quantized-model",
        "draft-model",
        "engine-arg",
        "max-model-len",
    ),
    "Load": ("workload", "users", "request-rate", "find-rate", "seed"),
    "What is best": ("objective", "slo", "price"),
    "Search": (
        "trials",
        "sampler",
        "stop",
        "warm-start",
        "verify",
        "baseline",
        "explain",
        "repeats",
        "max-hours",
        "trial-timeout",
    ),
    "Quality": ("max-quality-loss", "lossless", "quality-data", "quality-cmd", "quality-timeout"),
    "Measurement": ("warmup", "window", "max-window", "precision", "gpu-index"),
    "Where things are": ("study", "storage", "log-dir", "cache-dir", "json"),
    "Launches": (
        "vllm-python",
        "start",
        "startup-timeout",
        "force-gpu",
        "parallel",
        "executor",
        "address",
        "wait-for-gpu",
        "mps",
    ),
}
PANELS = {name: panel for panel, names in _PANELS.items() for name in names}


def option(name: str, help: str) -> typer.models.OptionInfo:
    """`--name`, which is also TUNER_NAME in the environment."""
    found: typer.models.OptionInfo = typer.Option(
        f"--{name}",
        help=help,
        envvar=f"TUNER_{name.upper().replace('-', '_')}",
        show_envvar=False,
        rich_help_panel=PANELS.get(name),
    )
    return found


#: Options of several commands that are no field of Options.
FindRate = Annotated[bool, option("find-rate", "Look for the highest request rate that meets every --slo.")]
Seed = Annotated[int | None, option("seed", "Of the prompts; default: the workload's.")]
GpuIndex = Annotated[
    list[int] | None,
    option("gpu-index", "A GPU of this machine to sample. Repeatable; default: all if the URL is on this machine."),
]
Json = Annotated[str | None, option("json", "File for the result as JSON; - for stdout, with the table on stderr.")]
SendKey = Annotated[bool, option("send-key", "Send OPENAI_API_KEY also in plain text (http) to another machine.")]


def takes(*names: str, helps: Mapping[str, str] | None = None) -> Callable[[Function], Function]:
    """A function that takes `options` becomes a command with these fields of Options, where `options` stands among its own
    parameters; one of these that is named, too, stands where it is named. `helps` has the texts that differ in this command.

    A field that is not named has its default; so has a field that the function has a parameter of its own for.
    """

    def made(function: Function) -> Function:
        own = dict(inspect.signature(function).parameters)
        parameters = []
        for parameter in own.values():
            if parameter.name == "options":
                parameters += [own[name] if name in own else _parameter(name, helps or {}) for name in names]
            elif parameter.name not in names:
                parameters.append(parameter)

        @functools.wraps(function)
        def command(**given: Any) -> None:
            said = {name: _value(name, given.pop(name)) for name in names if name not in own}
            function(options=Options(**said), **given)

        keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        command.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]  # Typer reads both
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in keywords}
        return command

    return made


def _parameter(name: str, helps: Mapping[str, str]) -> inspect.Parameter:
    """Typer gives a list for what is repeatable, and None for what is absent."""
    kind, default = FIELDS[name], getattr(_DEFAULT, name)
    if _is_repeatable(name):
        kind, default = list[get_args(kind)[0]] | None, None  # type: ignore[misc]
    about = option(name.replace("_", "-"), helps.get(name, _HELPS[name]))
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, about])


def _value(name: str, value: Any) -> Any:
    return tuple(value or getattr(_DEFAULT, name)) if _is_repeatable(name) else value


def _is_repeatable(name: str) -> bool:
    return get_origin(FIELDS[name]) is Sequence
