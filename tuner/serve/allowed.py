"""What a request may name: the file of `tuner serve --allow` in, and from what was asked the options of a study out.

Paths, hub names and limits stand here alone; whoever asks says names. Raises Refused, in one sentence, for what is not allowed.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tuner.decide.objective import OBJECTIVES
from tuner.errors import UsageError, choose
from tuner.export.formats import EXPORTERS
from tuner.serve.asked import StudyAsked
from tuner.serve.refused import Refused
from tuner.serve.shown import GpuShown, Limits, OptionsShown
from tuner.space.files import load_space, shipped_spaces
from tuner.space.words import TUNERS_OWN
from tuner.space.yaml_file import read_yaml
from tuner.study.checks import check, model_named
from tuner.study.options import DEFAULT_MODEL, SAMPLERS, Options
from tuner.workload.presets import PRESETS, load_workload

_DEFAULT_NAME = DEFAULT_MODEL.rpartition("/")[2]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Limits(_Closed):
    trials: Annotated[int, Field(ge=1, le=100_000)] = 1000
    hours: Annotated[float | None, Field(gt=0, lt=10_000)] = None
    users: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    verify: Annotated[int, Field(ge=0, le=1000)] = 50
    queued: Annotated[int, Field(ge=1, le=100_000)] = 100


class AllowFile(_Closed):
    """`--allow FILE`. Files are looked for beside it."""

    models: Annotated[Mapping[str, str], Field(min_length=1)] = {_DEFAULT_NAME: DEFAULT_MODEL}
    gpus: Sequence[str] | None = None
    spaces: Mapping[str, Path] = {}
    workloads: Mapping[str, Path] = {}
    engines: Annotated[Sequence[Literal["vllm", "sim"]], Field(min_length=1)] = ("vllm", "sim")
    engine_args: Sequence[str] = ()
    secrets: Sequence[str] = ()
    limits: _Limits = _Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a study is run with: its options, the name of the variable that holds its token of the hub, and its card."""

    options: Options
    hf_token: str | None
    card: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """The names that a request may say, each with what it stands for. Of `spaces` the shipped ones have no path."""

    models: Mapping[str, str] = field(default_factory=lambda: {_DEFAULT_NAME: DEFAULT_MODEL})
    spaces: Mapping[str, Path | None] = field(default_factory=lambda: dict.fromkeys(shipped_spaces()))
    workloads: Mapping[str, Path | None] = field(default_factory=lambda: dict.fromkeys(PRESETS))
    engines: tuple[str, ...] = ("vllm", "sim")
    engine_args: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    def shown(self) -> OptionsShown:
        """The names alone."""
        cards = {name: _cards_of(path or name) for name, path in self.spaces.items()}
        return OptionsShown(
            models=tuple(self.models),
            gpus=tuple(GpuShown(name=name, gpu=found[0] if found else None) for name, found in cards.items()),
            workloads=tuple(self.workloads),
            objectives=tuple(OBJECTIVES),
            samplers=SAMPLERS,
            engines=self.engines,
            engine_args=self.engine_args,
            secrets=self.secrets,
            formats=tuple(EXPORTERS),
            limits=self.limits,
        )

    def complete(self, asked: StudyAsked) -> StudyAsked:
        """With the model and the engine that are used where none is said."""
        model, engine = asked.model or next(iter(self.models)), asked.engine or self.engines[0]
        return asked.model_copy(update={"model": model, "engine": engine})

    def study_name(self, asked: StudyAsked) -> str:
        """As `tuner optimize` calls a study that nobody named."""
        engine, model = asked.engine or self.engines[0], asked.model or next(iter(self.models))
        kind = "" if engine == "vllm" else f"{engine}-"
        return f"{kind}{asked.gpu}-{model.rpartition('/')[2]}-{asked.workload}".replace(":", "-")[:90]

    def options(self, asked: StudyAsked) -> Asked:
        """What is run for it, whose name is known by now."""
        assert asked.study is not None
        engine = asked.engine or self.engines[0]
        model = self.models[_one_of("model", asked.model or next(iter(self.models)), self.models)]
        space = self.spaces[_one_of("gpu", asked.gpu, self.spaces)]
        workload = self.workloads[_one_of("workload", asked.workload, self.workloads)] or asked.workload
        _one_of("engine", engine, self.engines)
        self._within(asked)
        self._arguments(asked.engine_arg)
        if asked.hf_token is not None:
            _one_of("hf_token", asked.hf_token, self.secrets)
            if asked.hf_token not in os.environ:
                raise Refused(f"hf_token: the service has no variable {asked.hf_token} in its environment")
        said = asked.model_dump(exclude={"model", "gpu", "workload", "engine", "groups", "hf_token"})
        options = Options(
            **said,
            model=model,
            gpu="auto" if space else asked.gpu,
            space=space,
            workload=str(workload),
            engine=engine,
            groups=None if asked.groups is None else ",".join(asked.groups),
        )
        if engine == "sim" and space is None and not load_space(asked.gpu).gpu.names:
            raise Refused(f"gpu: {asked.gpu} is no card, and engine sim simulates one: name another")
        self._checked(options, asked)
        return Asked(
            options=options, hf_token=asked.hf_token, card=f"{engine} {asked.gpu}" if engine == "sim" else asked.gpu
        )

    def _within(self, asked: StudyAsked) -> None:
        for name, value, most in (
            ("trials", asked.trials, self.limits.trials),
            ("users", asked.users, self.limits.users),
            ("verify", asked.verify, self.limits.verify),
            ("max_hours", asked.max_hours, self.limits.hours),
        ):
            if most is not None and value is not None and value > most:
                raise Refused(f"{name} is {value:g}, and {most:g} are the most here")
        if self.limits.hours is not None and asked.max_hours is None:
            raise Refused(f"max_hours: say how many hours it may take, {self.limits.hours:g} at the most here")

    def _arguments(self, given: Sequence[str]) -> None:
        for text in given:
            name = text.partition("=")[0]
            if name not in self.engine_args:
                allowed = f": {', '.join(self.engine_args)} are" if self.engine_args else ""
                raise Refused(f"engine_arg: {name} is not allowed here{allowed}")

    def _checked(self, options: Options, asked: StudyAsked) -> None:
        """As the command would find it wrong, without the words that only this machine knows."""
        try:
            model_named(options.model)
        except UsageError:
            raise Refused(
                f"model: what {asked.model or next(iter(self.models))} stands for is not there any more"
            ) from None
        try:
            check(options)
        except UsageError as error:
            text = str(error)
            for path, name in ((options.workload, asked.workload), (str(options.space), asked.gpu)):
                text = text.replace(path, name)
            raise Refused(text) from None


def allowed(file: Path | None, models: Sequence[str]) -> Allowed:
    """What may be named: what stands in the file, and the NAME=PATH of the command line. Raises UsageError."""
    found = Allowed() if file is None else _of_file(file)
    more = dict(_named_model(text) for text in models)
    if more:
        found = replace(found, models={**more, **found.models})
    for name, model in found.models.items():
        model_named(model, f"model {name}:")
    return found


@cache
def _cards_of(space: Path | str) -> Sequence[str]:
    """What the GPUs of a search space are called. Read once: each reads a file."""
    return load_space(space).gpu.names


def _of_file(file: Path) -> Allowed:
    if not file.is_file():
        raise UsageError(f"--allow {file}: there is no such file")
    said = read_yaml(file, AllowFile)
    here = file.absolute().parent
    shipped = shipped_spaces()
    for name in said.gpus or ():
        if name not in shipped:
            raise UsageError(f"{file}: gpus: unknown {name!r}{choose(name, shipped)}")
    spaces: dict[str, Path | None] = dict.fromkeys(shipped if said.gpus is None else said.gpus)
    spaces |= {name: here / path for name, path in said.spaces.items()}
    workloads: dict[str, Path | None] = {**dict.fromkeys(PRESETS), **{n: here / p for n, p in said.workloads.items()}}
    for name in (*said.models, *said.spaces, *said.workloads):
        _check_name(file, name)
    for path in said.spaces.values():
        load_space(here / path)
    for path in said.workloads.values():
        load_workload(str(here / path))
    if own := TUNERS_OWN.intersection(said.engine_args):
        raise UsageError(
            f"{file}: engine_args: tuner itself gives {', '.join(sorted(own))} to each server: leave it out"
        )
    return Allowed(
        models=said.models,
        spaces=spaces,
        workloads=workloads,
        engines=tuple(said.engines),
        engine_args=tuple(said.engine_args),
        secrets=tuple(said.secrets),
        limits=Limits(**said.limits.model_dump()),
    )


def _check_name(file: Path, name: str) -> None:
    try:
        StudyAsked(gpu=name)
    except ValueError:
        raise UsageError(f"{file}: {name!r} is no name: letters, digits and . _ - : / after the first") from None


def _named_model(text: str) -> tuple[str, str]:
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise UsageError(f"--model {text!r}: expected NAME=PATH_OR_REPO, for example mine=/models/mine")
    _check_name(Path("--model"), name)
    return name, path


def _one_of(what: str, name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    if name not in known:
        told = choose(name, known) if known else ": none is allowed here"
        raise Refused(f"{what}: {name} is not allowed here{told}")
    return name
