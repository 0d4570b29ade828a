"""Measured points: a line of JSON in, a `Point` out, and the other way round. benchmarks/data/README.md tells the fields."""

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from tuner.errors import UsageError
from tuner.predict.memory import read_log
from tuner.types import Lengths, Params

DATA = Path(__file__).parents[1] / "data"
#: The sets, and the folder of each. Those in public/ are made by convert.py and do not come with the repository.
SETS = {
    "h200": DATA,
    "surfaces": DATA / "surfaces",
    "h200-tables": DATA,
    "slo-guard": DATA,
    "ppas": DATA,
    "ml-energy": DATA,
    "starts": DATA,
    "starts-others": DATA / "public",
    "aiconfigurator": DATA / "public",
    "llmservingsim": DATA / "public",
}
#: Hosts of `surfaces` that no constant has seen: (set, host).
UNSEEN = {("surfaces", "h100")}
#: Failures that the settings decide at the start. Others (a crash without a cause, a stalled load) say nothing of them.
_REFUSALS = {"rejected", "out of memory", "KV cache too small", "unsupported quantization"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A closed loop of `users`, or `requests` of (arrival in seconds, input tokens, output tokens), or `phases` of Poisson
    arrivals, each of (seconds, requests a second): exactly one of them."""

    name: str
    users: int | None = None
    phases: Sequence[tuple[float, float]] = ()
    input_tokens: Lengths | None = None
    output_tokens: Lengths | None = None
    requests: Sequence[tuple[float, int, int]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One launch under one load. `params` is what was set, `resolved` what vLLM made of it where that is known. `load` is
    None where the server was only started. `metrics` has tuner's names; `memory` holds bytes and tokens from vLLM's log.
    `curve` tells points that are compared although the users differ: as many as max_num_seqs."""

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
    half: str | None = None
    curve: str | None = None

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

    def score(self, metrics: Mapping[str, float]) -> float | None:
        """What settings are ranked by, measured or predicted, more is better: throughput, where it is known that of the
        defaults on the same host being 1; the mean TTFT with its sign turned where the load sets the throughput."""
        if self.load and self.load.phases:
            return -metrics["ttft_mean_s"] if "ttft_mean_s" in metrics else None
        return metrics.get("gain", metrics.get("output_throughput"))

    @property
    def group(self) -> object:
        """Of the points whose settings are compared: one card, host, model and load. Gains over the defaults of their own host
        are compared between hosts, too."""
        return self.gpu, "gain" not in self.metrics and self.host, self.model, self.curve or self.load

    @property
    def is_test(self) -> bool:
        """Half of the (model, params), by a hash that stays: these have no part in any constant."""
        if self.half:
            return self.half == "test"
        text = self.model + json.dumps(dict(self.params), sort_keys=True)
        return hashlib.sha256(text.encode()).digest()[-1] % 2 == 1


def fixed(tokens: int) -> Lengths:
    return Lengths(low=tokens, high=tokens)


def memory_of(log: Iterable[str]) -> dict[str, float]:
    """The bytes and tokens that lines of vLLM's log tell."""
    told = asdict(read_log("\n".join(log)))
    return {name: value for name, value in told.items() if isinstance(value, int | float)}


def model_folder(name: str) -> Path:
    """Where the config.json of a model is: in the repository, or beside the sets that are not."""
    own = DATA / "models" / name
    return own if own.is_dir() else DATA / "public" / "models" / name


def read(name: str) -> list[Point]:
    """The points of a set. Raises UsageError, with what to do, where they are not."""
    if name == "surfaces":
        return [point for path in sorted(SETS[name].glob("*.jsonl")) for point in read_surface(path)]
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


#: Arguments of a launch of collect.py: those that are none of the prediction's are left out.
_TOLD = ("max_model_len", "gpu_memory_utilization")
_LOADS = re.compile(r"(\d+) users, (\d+)-(\d+) tokens in, (\d+)-(\d+) out")


def read_surface(path: Path) -> Iterator[Point]:
    """The launches of a file of surfaces/. Its gain over the defaults is by the median of these on the same host."""
    head, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    surface, found = head["surface"], _LOADS.fullmatch(head["surface"]["workload"])
    assert found, path
    users, *lengths = map(int, found.groups())
    low, high, least, most = lengths
    load = Load(
        name=path.stem,
        users=users,
        input_tokens=Lengths(low=low, high=high),
        output_tokens=Lengths(low=least, high=most),
    )
    defaults: dict[str, list[float]] = {}
    for line in lines:
        if line.get("is_default"):
            defaults.setdefault(line["about"]["host"], []).append(line["metrics"]["output_throughput"])
    for line in lines:
        about, metrics = line["about"], dict(line.get("metrics", {}))
        if metrics:
            metrics["gain"] = metrics["output_throughput"] / median(defaults[about["host"]])
        yield Point(
            gpu=surface["gpu"],
            host=about["host"],
            engine_version=surface["engine_version"],
            model=surface["model"],
            params={name: about["resolved"][name] for name in _TOLD}
            | ({} if line.get("is_default") else line["params"]),
            resolved=about["resolved"],
            start=about["start"],
            load=load,
            metrics=metrics,
            memory=memory_of(about["log"]),
            failure=line.get("failure", {}).get("kind"),
            half=about["half"],
        )


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
    return Point(**values, load=_load(load) if load else None)  # type: ignore[arg-type]


def _load(values: object) -> Load:
    assert isinstance(values, dict)
    lengths = {
        name: Lengths(low=values[name][0], high=values[name][1])
        for name in ("input_tokens", "output_tokens")
        if name in values
    }
    phases = tuple((seconds, rate) for seconds, rate in values.get("phases", ()))
    requests = tuple((at_s, prompt, answer) for at_s, prompt, answer in values.get("requests", ()))
    return Load(**{**values, **lengths, "requests": requests, "phases": phases})


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
