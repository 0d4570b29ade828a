"""`tuner export`: the launch config to deploy, or all that a study measured."""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import typer

from tuner.cli.console import check_address, errors, say, write_file
from tuner.cli.history import open_store, trial_of
from tuner.cli.recommendation import shown_value
from tuner.cli.tables import prose
from tuner.errors import UsageError, choose
from tuner.export.caution import cautions, environment_words, verdict_sentence
from tuner.export.chosen import Chosen
from tuner.export.formats import EXPORTERS
from tuner.export.serving import environment
from tuner.export.surface import surface_of
from tuner.record.store import Store
from tuner.study.decided import launched_again, objectives_of
from tuner.study.exporting import chosen_of

#: The export of a study, not of a trial.
_SURFACE = "surface"


def run(study: str, format: str, trial: int | None, host: str, port: int, output: Path | None, storage: str) -> None:
    """The launch config to deploy, of one trial or of what the study decided; or all trials, to be replayed."""
    if format not in (*EXPORTERS, _SURFACE):
        raise UsageError(f"unknown --format {format!r}{choose(format, (*EXPORTERS, _SURFACE))}")
    check_address(host, port)
    store = open_store(storage)
    if format == _SURFACE:
        _export_surface(store, study, output)
        return
    wanted = None if trial is None else trial_of(store, study, trial)
    chosen = chosen_of(store, study, wanted, host, port)
    text = EXPORTERS[format](chosen)
    if output is None:
        typer.echo(text, nl=False)
        return
    write_file("--output", output, text)
    _say_what(store, chosen, output)
    if starts := _STARTS.get(format):
        say(errors, starts(chosen, output))


def _say_what(store: Store, chosen: Chosen, output: Path) -> None:
    """What was written, and what keeps it from being relied on."""
    study, unreal = chosen.study, chosen.fingerprint.unreal
    again = launched_again(store, study)
    value = ", ".join(shown_value(objective, chosen.trial, again) for objective in objectives_of(store.study(study)))
    say(errors, f"{output}: {f'{unreal} ' if unreal else ''}trial {chosen.trial.number}, {value}")
    said = (verdict_sentence(chosen.trial, chosen.verdict), *cautions(chosen.trial, chosen.defaults, chosen.quality))
    for sentence in filter(None, said):
        prose(errors, sentence)


def _run(chosen: Chosen, file: Path) -> str:
    words = environment_words(environment(chosen.trial.command))
    return f"Run it: {' '.join((*words, shlex.join(('vllm', 'serve', '--config', str(file)))))}"


def _compose(_: Chosen, file: Path) -> str:
    return f"Run it: {shlex.join(('docker', 'compose', '--file', str(file), 'up', '--detach', '--wait'))}"


def _apply(_: Chosen, file: Path) -> str:
    return f"Run it: {shlex.join(('kubectl', 'apply', '-f', str(file)))}"


#: How a file is used, where one line says it; the first lines of the others do.
_STARTS: Mapping[str, Callable[[Chosen, Path], str]] = {
    "yaml": _run,
    "compose": _compose,
    "kubernetes": _apply,
    "kserve": _apply,
}


def _export_surface(store: Store, study: str, output: Path | None) -> None:
    """All that was measured in a study, for `--engine replay`."""
    record, found = store.study(study), store.trials(study)
    text = surface_of(found, record.fingerprint)
    if output is None:
        typer.echo(text, nl=False)
        return
    write_file("--output", output, text)
    kind = f"{record.fingerprint.unreal} " if record.fingerprint.unreal else ""
    errors.print(f"{output}: {kind}{len(found)} trials", highlight=False)
