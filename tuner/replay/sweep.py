"""The folder that `vllm bench sweep serve` has written, or a file of it, in; its launches out (docs/import.md).

It reads `run=N.json` and what failed; warm-ups are no measurement, and summaries say the same once more. It does not know what
the sweep's own command was: no file says it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tuner.errors import UsageError
from tuner.replay.file import Header
from tuner.replay.launches import Imported, Launch, counted
from tuner.replay.sweep_run import Run, finished, not_finished, place_of
from tuner.space.json_text import read_json_text
from tuner.types import Failed
from tuner.workload.lengths import MAX_RATE, MAX_USERS, MIN_RATE

Number = TypeVar("Number", int, float)
MAX_FILES = 20_000
MAX_FILE_BYTES = 128 << 20
_RUN = re.compile(r"run=(\d{1,9})\.json")
_FAILURE = re.compile(r"run=\d{1,9}\.failure\.json|SERVE-.*-failure\.json", re.DOTALL)
_SUMMARY = "summary.json"


def read_sweep(path: Path, load: Mapping[str, str]) -> Imported:
    """Of several loads the one that `load` says. Raises UsageError with the file that cannot be used, and where it is not said
    which load is meant."""
    found = list(_runs(path))
    if not found:
        raise UsageError(
            f"{path} holds no result of `vllm bench sweep serve`: neither run=0.json nor summary.json is in it"
        )
    runs = _of_one_load([run for _, run in found], load)
    places = {id(run): place for place, run in found}
    launches = tuple(_launch(run, places[id(run)]) for run in runs)
    left_out = [name for run in runs for name in dict.fromkeys(run.left_out)]
    notes = [f"left out, for tuner has no such metric or setting: {counted(left_out)}"] if left_out else []
    requests = sum(run.outcome.get("failed", 0.0) > 0 for run in runs if not isinstance(run.outcome, Failed))
    notes += [f"in {requests} of the runs some requests failed: their numbers are of the others"] if requests else []
    return Imported(launches=launches, header=_header(runs, path), notes=tuple(notes))


def _runs(path: Path) -> Iterator[tuple[str, Run]]:
    """Each with the place where it stands."""
    if not path.exists():
        raise UsageError(
            f"{path} does not exist: give the folder that `vllm bench sweep serve` has written, or a file of it"
        )
    if path.is_dir():
        for file in _files(path):
            yield from _in(file, str(file.relative_to(path)))
    else:
        yield from _in(path, path.name)


def _files(folder: Path) -> list[Path]:
    """The runs and failures below it; of a folder of which only the summary was kept, that."""
    found: list[Path] = []
    try:
        for number, file in enumerate(sorted(folder.rglob("*.json"))):
            if number >= MAX_FILES:
                raise UsageError(f"{folder} holds more than {MAX_FILES:,} files: give the folder of one sweep")
            has_runs = file.name == _SUMMARY and any(
                _RUN.fullmatch(other.name) for other in file.parent.glob("run=*.json")
            )
            if _RUN.fullmatch(file.name) or _FAILURE.fullmatch(file.name) or (file.name == _SUMMARY and not has_runs):
                found.append(file)
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror}") from error
    return found


def _in(file: Path, place: str) -> Iterator[tuple[str, Run]]:
    value, folder = _json(file), file.absolute().parent.name
    results = value if isinstance(value, list) else [value]
    for number, result in enumerate(results):
        where = f"{place}, entry {number}" if isinstance(value, list) else place
        if not isinstance(result, dict):
            raise UsageError(f"{file}: expected a result of `vllm bench serve`, found {str(result)[:60]}")
        try:
            if _FAILURE.fullmatch(file.name):
                yield where, not_finished(result)
            else:
                yield where, finished(result, folder)
        except ValueError as error:
            raise UsageError(f"{file}: {error}") from error


def _json(file: Path) -> object:
    try:
        if not file.is_file():
            raise UsageError(f"{file} is no regular file")
        if (size := file.stat().st_size) > MAX_FILE_BYTES:
            raise UsageError(f"{file} has {size >> 20:,} MiB, and {MAX_FILE_BYTES >> 20} are the most")
        value = read_json_text(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also what is no UTF-8
        raise UsageError(
            f"{file}: this is not valid JSON: {getattr(error, 'msg', 'it is no UTF-8 text, or nested too deeply')};"
            " if the sweep was stopped while it wrote this, remove the file"
        ) from error
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    return value


def _of_one_load(runs: Sequence[Run], load: Mapping[str, str]) -> list[Run]:
    known = dict.fromkeys(name for run in runs for name in run.load)
    for name in load:
        if name not in known:
            raise UsageError(f"--load {name}: no run says it: they say {', '.join(known) or 'nothing of their load'}")
    kept = [run for run in runs if all(run.load.get(name, value) == value for name, value in load.items())]
    if not any(not isinstance(run.outcome, Failed) for run in kept):
        said = " ".join(f"{name}={value}" for name, value in load.items())
        raise UsageError(f"no run{f' with {said}' if said else ''} has a measurement: there is nothing to replay")
    differing = {name: values for name in known if len(values := list(_said(kept, name))) > 1}
    if differing:
        name, values = next(iter(differing.items()))
        raise UsageError(
            f"the runs have different loads ({', '.join(differing)}), and a surface is of one: choose it with"
            f" --load {name}=VALUE, which is {' or '.join(values[:8])}{' or others' if len(values) > 8 else ''} here"
        )
    return kept


def _said(runs: Sequence[Run], name: str) -> dict[str, None]:
    """The values of a load's option; a run that was measured and says nothing has one of its own."""
    return dict.fromkeys(
        run.load.get(name, "nothing") for run in runs if name in run.load or not isinstance(run.outcome, Failed)
    )


def _launch(run: Run, place: str) -> Launch:
    seconds = None if isinstance(run.outcome, Failed) else run.outcome.get("window_s")
    return Launch(params=run.params, outcome=run.outcome, duration_s=seconds, about={"file": place_of(place)})


def _header(runs: Sequence[Run], path: Path) -> Header:
    load = next(run.load for run in runs if not isinstance(run.outcome, Failed))
    lengths: dict[str, tuple[int, int]] = {}
    for name in ("input_tokens", "output_tokens"):
        each = [run.lengths[name] for run in runs if name in run.lengths]
        if each:
            lengths[name] = (min(low for low, _ in each), max(high for _, high in each))
    users, rate = load.get("max_concurrency", ""), load.get("request_rate", "inf")
    is_open = rate != "inf"
    said = ", ".join(f"{name}={value}" for name, value in load.items() if name not in ("model_id", "ramp_up_strategy"))
    return Header(
        model=load.get("model_id"),
        workload=f"vllm bench serve, {said}",
        source=f"`vllm bench sweep serve`, {path.absolute().name}",
        users=None if is_open else _within(int, users, 1, MAX_USERS),
        request_rate=_within(float, rate, MIN_RATE, MAX_RATE) if is_open else None,
        input_tokens=lengths.get("input_tokens"),
        output_tokens=lengths.get("output_tokens"),
    )


def _within(kind: type[Number], text: str, least: float, highest: float) -> Number | None:
    """None for a text that is no number of these."""
    try:
        number = kind(text)
    except ValueError:
        return None
    return number if least <= number <= highest else None
