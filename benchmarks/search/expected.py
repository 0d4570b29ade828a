"""A pool, its model's folder and its workload in; what tuner's model of a server expects of its points, out, or why it cannot.

The rates are those that tuner ships, and stay: in a study they are calibrated by its launches. What is expected is kept, so
that searches of one surface simulate no point again.
"""

import re
from pathlib import Path

from pool import Key, Pool, key

from tuner.errors import UsageError
from tuner.predict.advise.case import Case
from tuner.predict.likeness import compiled_alike
from tuner.predict.settings import LATEST, Version
from tuner.predict.shape import read_shape
from tuner.replay.file import Header, header_of
from tuner.study.prior import StudyPrior
from tuner.types import Failed, Lengths, Params, Workload
from tuner.workload.presets import PRESETS, load_workload

MODELS = Path(__file__).parents[1] / "data" / "models"
_NUMBER = r"(\d+(?:\.\d+)?)"
_COUNT = r"(\d[\d,]*)"
_RANGE = rf"{_COUNT}(?:\s*-\s*{_COUNT})?"
_LOAD = re.compile(rf"{_NUMBER} (users|requests/s), {_RANGE} tokens in, {_RANGE}(?: tokens)? out")
#: Each point is simulated, and every user of it: more take hours.
_MOST_USERS = 10_000


class Server:
    """The model of it: `prior` is what is expected of points, as in a study whose questions take as long as they take."""

    def __init__(self, case: Case) -> None:
        self.workload, self.prior = case.workload, StudyPrior(case, whole=True)
        self._case, self._codes = case, dict[Key, str]()

    def code(self, params: Params) -> str:
        """Equal for settings whose compiled code is the same; what vLLM refuses has none in common with others."""
        if key(params) not in self._codes:
            self._codes[key(params)] = self._code(params)
        return self._codes[key(params)]

    def _code(self, params: Params) -> str:
        try:
            settings = self._case.settings(params)
        except UsageError:
            return repr(key(params))
        if isinstance(settings, Failed):
            return repr(key(params))
        return compiled_alike(settings, {**self._case.space.fixed, **params}, self._case.version)


def check_said(header: Header, surface: Path, model: Path | None, workload: str | None) -> None:
    """Raises UsageError for a model or a workload that was given and is none, and for a load that the header says and that
    cannot be; not for what it does not say."""
    if model is not None:
        read_shape(str(model))
    if workload is not None:
        load_workload(workload)
    elif header.workload is not None and header.workload not in PRESETS:
        _read(header.workload, surface)


def server_of(pool: Pool, surface: Path, model: Path | None, workload: str | None) -> Server:
    """Raises UsageError where the model of a server cannot be used."""
    folder = model or _model_of(pool.header, surface)
    load = load_workload(workload) if workload is not None else workload_of(pool.header, surface)
    if (load.users or 0) > _MOST_USERS:
        raise UsageError(f"its load has {load.users:,} users, and {_MOST_USERS:,} are the most that are simulated")
    case = Case(
        space=pool.space,
        shape=read_shape(str(folder)),
        workload=load,
        objective=pool.objective,
        slos=pool.slos,
        version=version_of(pool.header),
    )
    case.check()
    return Server(case)


def workload_of(header: Header, surface: Path) -> Workload:
    """A preset, a text such as "256 users, 64-448 tokens in, 32-224 out", or what the header's keys say. Raises UsageError."""
    if (load := _workload(header)) is not None:
        return load
    if header.workload in PRESETS:
        return PRESETS[header.workload]
    read = _read(header.workload, surface) if header.workload is not None else None
    if read is None or (load := _workload(read)) is None:
        raise UsageError("its header does not say under which load it was measured: give --workload")
    return load


def _read(text: str, surface: Path) -> Header | None:
    """The keys that say what this text does; None where it says no load. Raises UsageError for a load that cannot be."""
    if not (found := _LOAD.match(text)):
        return None
    number, kind, *ends = found.groups()
    low, high, least, most = (end.replace(",", "") if end else None for end in ends)
    values = {
        "users" if kind == "users" else "request_rate": number,
        "input_tokens": (low, high or low),
        "output_tokens": (least, most or least),
    }
    return header_of(values, f"{surface}: surface.workload {text[:60]!r}")


def _workload(header: Header) -> Workload | None:
    """None where the keys of the header do not say it."""
    if not (header.input_tokens and header.output_tokens and (header.users or header.request_rate)):
        return None
    return Workload(
        name="recorded",
        api="completions",
        users=header.users,
        request_rate=None if header.users else header.request_rate,
        input_tokens=Lengths(low=header.input_tokens[0], high=header.input_tokens[1]),
        output_tokens=Lengths(low=header.output_tokens[0], high=header.output_tokens[1]),
    )


def version_of(header: Header) -> Version:
    found = re.search(r"(\d+)\.(\d+)", header.engine_version or "")
    return (int(found[1]), int(found[2])) if found else LATEST


def _model_of(header: Header, surface: Path) -> Path:
    """The folder of its config.json, of that name here or beside the surface."""
    if header.model is None:
        raise UsageError("its header does not name its model: give --model")
    name = header.model.rstrip("/").rpartition("/")[2]
    for folder in (MODELS / name, surface.parent / "models" / name, surface.parent / name, Path(header.model)):
        if (folder / "config.json").is_file():
            return folder
    raise UsageError(f"there is no config.json of {header.model} here: give --model FOLDER")
