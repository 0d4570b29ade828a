"""Measured points: a line of JSON in, a `Point` out, and the other way round. benchmarks/data/README.md tells the fields."""

import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tuner.errors import UsageError
from tuner.types import Lengths, Params

DATA = Path(__file__).parents[1] / "data"
#: The sets, and the folder of each. Those in public/ are made by convert.py and do not come with the repository.
SETS = {
    "h200": DATA,
    "h200-tables": DATA,
    "slo-guard": DATA,
    "starts": DATA,
    "starts-others": DATA / "public",
    "aiconfigurator": DATA / "public",
    "llmservingsim": DATA / "public",
}
#: Failures that the settings decide at the start. Others (a crash without a cause, a stalled load) say nothing of them.
_REFUSALS = {"rejected", "out of memory", "KV cache too small", "unsupported quantization"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A closed loop of `users`, or `requests` of (arrival in seconds, input tokens, output tokens): exactly one of both."""

    name: str
    users: int | None = None
    input_tokens: Lengths | None = None
    output_tokens: Lengths | None = None
    requests: Sequence[tuple[float, int, int]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One launch under one load. `params` is what was set, `resolved` what vLLM made of it where that is known. `load` is
    None where the server was only started. `metrics` has tuner's names; `memory` holds bytes and tokens from vLLM's log."""

    gpu: str
    host: str
    engine_version: str
    model: str
    params: Params
    resolved: Params = field(default_factory=dict)
    start: str = "plain"
    load: Load | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None
    note: str = ""

    @property
    def version(self) -> tuple[int, int]:
        major, minor = self.engine_version.split(".")[:2]
        return int(major), int(minor)

    @property
    def launch(self) -> str:
        """What tells this launch from others: points with the same one differ by their load only."""
        return json.dumps([self.gpu, self.host, self.model, dict(self.params)], sort_keys=True)

    @property
    def refused(self) -> bool:
        """Whether the server did not start because of its settings."""
        return self.failure in _REFUSALS

    @property
    def is_test(self) -> bool:
        """Half of the (model, params), by a hash that stays: these have no part in any constant."""
        text = self.model + json.dumps(dict(self.params), sort_keys=True)
        return hashlib.sha256(text.encode()).digest()[-1] % 2 == 1


def model_folder(name: str) -> Path:
    """Where the config.json of a model is: in the repository, or beside the sets that are not."""
    own = DATA / "models" / name
    return own if own.is_dir() else DATA / "public" / "models" / name


def read(name: str) -> list[Point]:
    """The points of a set. Raises UsageError, with what to do, where they are not."""
    files = [SETS[name] / f"{name}.jsonl", SETS[name] / f"{name}.jsonl.gz"]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        how = "is in the repository: check it out anew"
        if SETS[name] != DATA:
            how = f"does not come with the repository: make it with python benchmarks/predict/convert.py {name} CLONE"
        raise UsageError(f"there is no {files[0]}: the set {how}")
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    points = []
    for number, line in enumerate(data.decode().splitlines(), 1):
        try:
            points.append(_point(json.loads(line)))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{path}:{number}: this is no measured point ({error}): make the file anew") from error
    return points


def write(points: Iterable[Point], path: Path) -> None:
    """One line a point, compressed if that is more than a megabyte."""
    lines = "".join(json.dumps(_plain(point), separators=(",", ":")) + "\n" for point in points).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    if len(lines) > 1_000_000:
        path.with_suffix(".jsonl.gz").write_bytes(gzip.compress(lines, 9, mtime=0))
    else:
        path.write_bytes(lines)


def _point(values: dict[str, object]) -> Point:
    load = values.pop("load", None)
    values.setdefault("params", {})
    values.pop("half", None)  # told for the reader of the file; it follows from the rest
    return Point(**values, load=_load(load) if load else None)  # type: ignore[arg-type]


def _load(values: object) -> Load:
    assert isinstance(values, dict)
    lengths = {
        name: Lengths(low=values[name][0], high=values[name][1])
        for name in ("input_tokens", "output_tokens")
        if name in values
    }
    requests = tuple((at_s, prompt, answer) for at_s, prompt, answer in values.get("requests", ()))
    return Load(**{**values, **lengths, "requests": requests})


def _plain(point: Point) -> dict[str, object]:
    """Without what is empty; numbers with six digits; lengths as [low, high]."""
    values = {name: value for name, value in asdict(point).items() if value not in (None, "", {})}
    if point.load:
        load = {name: value for name, value in values["load"].items() if value not in (None, ())}
        for name in ("input_tokens", "output_tokens"):
            if name in load:
                load[name] = [load[name]["low"], load[name]["high"]]
        values["load"] = load
    for name in ("metrics", "memory"):
        if name in values:
            values[name] = {key: _short(value) for key, value in values[name].items()}
    return {**values, "half": "test" if point.is_test else "train"}


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.6g}")
