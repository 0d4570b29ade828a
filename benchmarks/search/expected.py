"""A pool, its model's folder and its workload in; what tuner's model of a server expects of its points, out, or why it cannot.

The rates are those that tuner ships, and stay: in a study they are calibrated by its launches. Predictions are kept, so that
searches of one surface do not predict the same point again.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from compiled import compile_key
from pool import Pool, key

from tuner.decide.objective import metric_value
from tuner.errors import TunerError, UsageError
from tuner.predict.advise.case import Case
from tuner.predict.margin import Verdict
from tuner.predict.prediction import Prediction
from tuner.predict.settings import LATEST, Version
from tuner.predict.shape import read_shape
from tuner.propose.prior import Expected
from tuner.replay.file import Header
from tuner.types import Lengths, Params, Workload
from tuner.workload.presets import PRESETS, load_workload

MODELS = Path(__file__).parents[1] / "data" / "models"
#: Requests that are simulated of a closed loop and of an open one: points have the order of ten times as many.
_CLOSED, _OPEN = 256, 120
#: The chance that a server starts whose memory is enough, may be, or is not.
_STARTS = {Verdict.STARTS: 0.98, Verdict.MAYBE: 0.5, Verdict.FAILS: 0.02}
_NUMBER = r"(\d+(?:\.\d+)?)"
_RANGE = r"([\d,]+)(?:\s*-\s*([\d,]+))?"
_LOAD = re.compile(rf"{_NUMBER} (users|requests/s), {_RANGE} tokens in, {_RANGE}(?: tokens)? out")


class CasePrior:
    """A tuner.propose.prior.Prior."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._known: dict[object, Expected] = {}

    def expect(self, points: Sequence[Params]) -> list[Expected]:
        for point in points:
            if key(point) not in self._known:
                self._known[key(point)] = self._expected(point)
        return [self._known[key(point)] for point in points]

    def _expected(self, point: Params) -> Expected:
        code = compile_key(point)
        try:
            starts = _STARTS[self._case.verdict(point)]
            found = self._case.predict(point, _OPEN if self._case.workload.users is None else _CLOSED)
        except (TunerError, ArithmeticError, AssertionError, LookupError, TypeError, ValueError):
            return Expected(compile_key=code)
        if not isinstance(found, Prediction):
            return Expected(starts=starts, compile_key=code)
        value = self._case.value(found)
        slos = {slo.name: metric_value(found.load, slo.metric) for slo in self._case.constraints}
        limits = {slo.name: slo.limit_s for slo in self._case.constraints}
        shares = {name: seen / limits[name] for name, seen in slos.items() if seen}
        return Expected(values=(value,) if value > 0 else (), slos=shares, starts=starts, compile_key=code)


def prior_of(pool: Pool, surface: Path, model: Path | None, workload: str | None) -> CasePrior:
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
    return CasePrior(case)


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
