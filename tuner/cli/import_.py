"""`tuner import`: what `vllm bench sweep` or an Optuna study has measured becomes a surface to replay, and its search space."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tuner.cli.console import check_writable, errors, say, write_file
from tuner.cli.tables import prose
from tuner.errors import TunerError, UsageError
from tuner.replay.launches import Imported, base_of, summary, surface_text
from tuner.replay.sweep_run import argument_name, settings
from tuner.space.files import load_space
from tuner.space.gpus import UNSET
from tuner.space.parameters import Parameter, shown
from tuner.space.search_space import Gpu
from tuner.space.spanning import space_yaml, spanned
from tuner.space.yaml_file import parse_scalar
from tuner.types import Params, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is imported: a sweep's files, or a study of an Optuna database; and what is to be known of them."""

    path: Path | None
    load: Sequence[str]
    optuna: str | None
    study: str | None
    objective_names: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is written. The space is that of the card `gpu`; `defaults` are vLLM's, as NAME=VALUE."""

    output: Path
    space_output: Path | None
    gpu: str | None
    defaults: Sequence[str]


def run(source: Source, wanted: Wanted) -> None:
    """Nothing is written unless all of it can be."""
    card = _card(wanted)
    _check_files(source, wanted)
    found, searched = _read(source)
    surface_text(found)  # whether there is anything to replay
    given = _settings("--default", wanted.defaults)
    usual, note = _usual(found, given)
    header = found.header.model_copy(update={"defaults": usual})
    space_text = ""
    if card is not None and wanted.space_output is not None:
        space = spanned(wanted.space_output.stem, card, found.points, usual, searched)
        space_text = space_yaml(space, f"What varies in {header.source}.\nWritten by `tuner import`.")
        own = {name: value for name, value in usual.items() if name in space.parameters}
        header = header.model_copy(update={"gpu": card.names[0] if card.names else "cpu", "defaults": own})
    write_file("--output", wanted.output, surface_text(replace(found, header=header)))
    if space_text and wanted.space_output is not None:
        write_file("--space-output", wanted.space_output, space_text)
    _tell(found, [*found.notes, *note], wanted)


def _read(source: Source) -> tuple[Imported, Mapping[str, Parameter]]:
    if (source.path is None) == (source.optuna is None):
        raise UsageError("give a folder of `vllm bench sweep serve`, or --optuna with a database: one of the two")
    if source.path is not None:
        if source.study is not None or source.objective_names:
            flag = "--study" if source.study is not None else "--objective-name"
            raise UsageError(f"{flag} is of an Optuna study: give --optuna, or leave it out")
        from tuner.replay.sweep import read_sweep

        return read_sweep(source.path, _pairs("--load", source.load)), {}
    if source.load:
        raise UsageError("--load is of a sweep: leave it out")
    return _of_optuna(str(source.optuna), source)


def _of_optuna(database: str, source: Source) -> tuple[Imported, Mapping[str, Parameter]]:
    from tuner.propose.foreign import read_study
    from tuner.record.connect import connect, display_name, parse_url, postgresql_arguments, storage_errors
    from tuner.replay.optuna_study import launches_of

    with _worded():
        url = parse_url(database)
        if url.get_backend_name() == "sqlite":
            if not Path(str(url.database)).exists():
                raise UsageError(f"{display_name(url)} does not exist: give the database of the study with --optuna")
            engine, opener = connect(url, read_only=True)
            engine.dispose()
            where = "sqlite://"
            arguments: dict[str, object] = {"creator": opener}
        else:
            told = postgresql_arguments(url)
            told["options"] = f"{told.get('options', '')} -c default_transaction_read_only=on".strip()
            where = url.render_as_string(hide_password=False)
            arguments = {"connect_args": told, "hide_parameters": True}
        with storage_errors(url):
            study = read_study(where, arguments, source.study)
    return launches_of(study, source.objective_names), {argument_name(n): p for n, p in study.searched.items()}


@contextmanager
def _worded() -> Iterator[None]:
    """What is said of tuner's own database holds for Optuna's, by its flag."""
    try:
        yield
    except TunerError as error:
        raise type(error)(str(error).replace("--storage", "--optuna")) from error


def _usual(found: Imported, given: Params) -> tuple[dict[str, Value], list[str]]:
    """The values of the default point, and what is to be known of it."""
    named = dict.fromkeys(name for point in found.points for name in point)
    for name in given:
        if name not in named:
            raise UsageError(f"--default {name}: no launch sets it: they set {', '.join(named) or 'nothing'}")
    base = base_of(found.launches).params
    usual: dict[str, Value] = {name: given.get(name, base.get(name, UNSET)) for name in named}
    if all(name in given for name in named):
        return usual, []
    own = " ".join(f"{name}={shown(value)}" for name, value in base.items())
    what = own or "the launches without any settings"
    return usual, [
        f"nothing says what vLLM's defaults are: {what} stands for them, as trial 0, which others are compared with;"
        " give --default NAME=VALUE for each setting if they are others"
    ]


def _card(wanted: Wanted) -> Gpu | None:
    if wanted.space_output is None:
        if wanted.gpu is not None:
            raise UsageError("--gpu is that of the search space: give --space-output, or leave it out")
        return None
    if wanted.gpu is None:
        raise UsageError(
            "--space-output needs the card that was measured: give --gpu (t4, l4, cpu, ...; see `tuner spaces`)"
        )
    return load_space(wanted.gpu).gpu


def _check_files(source: Source, wanted: Wanted) -> None:
    check_writable("--output", wanted.output)
    if wanted.space_output is not None:
        check_writable("--space-output", wanted.space_output)
        if wanted.space_output.resolve() == wanted.output.resolve():
            raise UsageError("--output and --space-output are the same file: name two")
        if wanted.space_output.suffix not in (".yaml", ".yml"):
            raise UsageError(f"--space-output {wanted.space_output}: a search space is a .yaml file")
    if source.path is not None and source.path.resolve() in {
        file.resolve() for file in (wanted.output, wanted.space_output) if file is not None
    }:
        raise UsageError(f"{source.path} is what is imported, and would be overwritten: write to another file")


def _pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UsageError(f"{flag} {text!r}: expected NAME=VALUE")
        if (name := argument_name(name)) in found:
            raise UsageError(f"{flag} {name} is given twice: leave one of them out")
        found[name] = value
    return found


def _settings(flag: str, texts: Sequence[str]) -> Params:
    """Values are read as in YAML, so that 2 is a number and true a switch."""
    try:
        return settings({name: parse_scalar(value) for name, value in _pairs(flag, texts).items()})[0]
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from error


def _tell(found: Imported, notes: Sequence[str], wanted: Wanted) -> None:
    say(errors, f"{wanted.output}: {summary(found)}")
    for note in notes:
        prose(errors, f"{note[0].upper()}{note[1:]}.")
    if wanted.space_output is not None:
        words = ["tuner", "optimize", "--engine", "replay", "--surface", str(wanted.output)]
        words += ["--space", str(wanted.space_output)]
        if found.objectives not in ((), ("throughput",)):
            words += [word for name in found.objectives for word in ("--objective", name)]
        say(errors, f"Replay it: {shlex.join(words)}")
