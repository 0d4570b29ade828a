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
from tuner.replay.file import Header
from tuner.study.prior import StudyPrior
from tuner.types import Failed, Lengths, Params, Workload
from tuner.workload.presets import PRESETS, load_workload

MODELS = Path(__file__).parents[1] / "data" / "models"
_NUMBER = r"(\d+(?:\.\d+)?)"
_RANGE = r"([\d,]+)(?:\s*-\s*([\d,]+))?"
_LOAD = re.compile(rf"{_NUMBER} (users|requests/s), {_RANGE} tokens in, {_RANGE}(?: tokens)? out")


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


def server_of(pool: Pool, surface: Path, model: Path | None, workload: str | None) -> Server:
    """Raises UsageError where the model of a server cannot be used."""
    folder = model or _model_of(pool.header, surface)
    case = Case(
        space=pool.space,
        shape=read_shape(str(folder)),
        workload=load_workload(workload) if workload else workload_of(pool.header),
        objective=pool.objective,
        slos=pool.slos,
        version=version_of(pool.header),
    )
    case.check()
    return Server(case)


def workload_of(header: Header) -> Workload:
    """A preset, a text such as "256 users, 64-448 tokens in, 32-224 out", or what the header's keys say. Raises UsageError."""
    if header.input_tokens and header.output_tokens and (header.users or header.request_rate):
        return _workload(header.users, header.request_rate, header.input_tokens, header.output_tokens)
    if header.workload in PRESETS:
        return PRESETS[header.workload]
    if header.workload and (found := _LOAD.match(header.workload)):
        number, kind, *ends = found.groups()
        low, high, least, most = (int(end.replace(",", "")) if end else None for end in ends)
        assert low is not None
        assert least is not None
        users, rate = (int(float(number)), None) if kind == "users" else (None, float(number))
        return _workload(users, rate, (low, high or low), (least, most or least))
    raise UsageError("its header does not say under which load it was measured: give --workload")


def _workload(
    users: int | None, rate: float | None, input_tokens: tuple[int, int], output_tokens: tuple[int, int]
) -> Workload:
    return Workload(
        name="recorded",
        api="completions",
        users=users,
        request_rate=None if users else rate,
        input_tokens=Lengths(low=input_tokens[0], high=input_tokens[1]),
        output_tokens=Lengths(low=output_tokens[0], high=output_tokens[1]),
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
