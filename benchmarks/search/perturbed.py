"""Simulated surfaces whose truth is not what tuner predicts: another host, other kernels, or one term that is wrong.

    python benchmarks/search/perturbed.py [NAME ...]

The points are drawn from the spaces that tuner ships; each is launched twice, and launches differ by chance. It is
deterministic: the files in benchmarks/data/search are what it makes.
"""

import json
import random
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp
from pathlib import Path
from typing import Any

import yaml

from tuner.decide.objective import parse_objective
from tuner.predict.advise.case import Case
from tuner.predict.advise.region import draw
from tuner.predict.prediction import Calibration
from tuner.predict.shape import read_shape
from tuner.predict.step import Rates
from tuner.space.files import load_space
from tuner.space.search_space import SearchSpace
from tuner.types import Distribution, Failed, Lengths, LoadMetrics, Params, Workload

DATA = Path(__file__).parents[1] / "data"
FOLDER = DATA / "search"
#: Points of a surface beside the defaults, out of so many draws at the most; launches of each.
POINTS, _DRAWS, LAUNCHES = 200, 4000, 2
#: What is told of a launch: the metrics that objectives and SLOs of the catalogue name.
_TOLD = ("output_throughput", "ttft_mean_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s", "e2el_mean_s")
#: How much more latencies differ between launches than throughput does.
_LATENCY_NOISE = 2.0

#: What a launch would show with these settings, from what the perturbed model of them and of the defaults shows.
Twist = Callable[[Params, LoadMetrics, LoadMetrics], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """`processor` and `kernels` scale the shipped rates, `memory` the card's; `as_if` says under which settings a point runs in
    truth, and `twist` by how much its speed is another one; what `turned` parameters bring has the other sign. `noise` is the
    standard deviation between launches."""

    name: str
    what: str
    space: str
    model: str
    users: int | None = None
    request_rate: float | None = None
    input_tokens: tuple[int, int] = (64, 448)
    output_tokens: tuple[int, int] = (32, 224)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    processor: float = 1.0
    kernels: float = 1.0
    memory: float = 1.0
    noise: float = 0.03
    as_if: Callable[[Params], Params] = dict
    twist: Twist = lambda params, found, usual: 1.0
    turned: Collection[str] = ()


def main() -> None:
    wanted = set(sys.argv[1:]) or {truth.name for truth in TRUTHS}
    for truth in TRUTHS:
        if truth.name in wanted:
            failures = write(truth)
            sys.stdout.write(f"{truth.name}: {failures} of {POINTS + 1} points fail\n")


def write(truth: Truth, points: int = POINTS, folder: Path = FOLDER) -> int:
    """Returns how many points fail."""
    case = _case(truth)
    usual = case.default_params()
    base = _truth(case, truth, usual)
    assert not isinstance(base, Failed), truth.name
    drawn = draw(case.space, seed=1, attempts=_DRAWS)[:points]
    rng, lines, failures = random.Random(truth.name), list[Mapping[str, Any]](), 0
    for params in (usual, *drawn):
        told = {name: value for name, value in params.items() if params is usual or value != usual.get(name)}
        found = _truth(case, truth, params)
        first: Mapping[str, Any] = {"params": told, **({"is_default": True} if params is usual else {})}
        if isinstance(found, Failed):
            failures += 1
            lines.append({**first, "failure": {"kind": found.kind.value, "message": found.message.split(";")[0][:120]}})
            continue
        faster = truth.twist(params, found, base) * _turned(case, truth, params, usual, found)
        lines += [{**first, "metrics": _launched(found, faster, truth.noise, rng)} for _ in range(LAUNCHES)]
    _write(truth, case.space, usual, lines, folder)
    return failures


def _case(truth: Truth) -> Case:
    """The perturbed model, on the space that is searched."""
    space = load_space(truth.space).with_groups(None).with_quantized_models({}).with_fixed(dict(truth.fixed))
    memory_gib = space.gpu.memory_gib
    assert memory_gib is not None
    worse = space.model_copy(update={"gpu": space.gpu.model_copy(update={"memory_gib": memory_gib * truth.memory})})
    shipped, p = Rates(), truth.processor
    rates = replace(shipped, kernels=shipped.kernels * truth.kernels, host=p, launch=p, front=p)
    return Case(
        space=worse,
        shape=read_shape(str(DATA / "models" / truth.model)),
        workload=Workload(
            name="simulated",
            api="completions",
            users=truth.users,
            request_rate=truth.request_rate,
            input_tokens=Lengths(low=truth.input_tokens[0], high=truth.input_tokens[1]),
            output_tokens=Lengths(low=truth.output_tokens[0], high=truth.output_tokens[1]),
        ),
        objective=parse_objective("throughput"),
        calibration=Calibration(rates=rates),
    )


def _truth(case: Case, truth: Truth, params: Params) -> LoadMetrics | Failed:
    """The memory is that of the settings themselves."""
    own = case.memory(params)
    if (failed := own if isinstance(own, Failed) else own.failed) is not None:
        return failed
    found = case.predict(truth.as_if(params))
    return found if isinstance(found, Failed) else found.load


def _turned(case: Case, truth: Truth, params: Params, usual: Params, found: LoadMetrics) -> float:
    """By how much the speed is another one where what these parameters bring is as much, and of the other sign."""
    if not truth.turned:
        return 1.0
    without = case.active({**params, **{name: usual[name] for name in truth.turned if name in usual}})
    beside = _truth(case, truth, without)
    return 1.0 if isinstance(beside, Failed) else _ratio(found, beside) ** -2


def _launched(found: LoadMetrics, faster: float, noise: float, rng: random.Random) -> Mapping[str, float]:
    """Throughput and latencies of one launch: where one is better, so are the others."""
    speed = faster * exp(noise * rng.gauss(0, 1))
    told: dict[str, float] = {}
    for name in _TOLD:
        latency, _, statistic = name.removesuffix("_s").rpartition("_")
        if name == "output_throughput":
            assert found.output_throughput is not None
            told[name] = float(f"{found.output_throughput * speed:.5g}")
            continue
        of: Distribution | None = getattr(found, f"{latency}_s")
        value = getattr(of, statistic) if of is not None else None
        if value:
            own = exp(_LATENCY_NOISE * noise * rng.gauss(0, 1))
            told[name] = float(f"{value / speed * own:.5g}")
    return told


def _write(truth: Truth, space: SearchSpace, usual: Params, lines: Sequence[Mapping[str, Any]], folder: Path) -> None:
    load: dict[str, Any] = {"users": truth.users} if truth.users else {"request_rate": truth.request_rate}
    load |= {"input_tokens": list(truth.input_tokens), "output_tokens": list(truth.output_tokens)}
    header = {
        "gpu": f"SIMULATED {space.gpu.names[0]}",
        "model": truth.model,
        "source": f"simulated by benchmarks/search/perturbed.py: {truth.what}",
        **load,
    }
    text = "".join(json.dumps(line) + "\n" for line in ({"surface": header}, *lines))
    (folder / f"{truth.name}.jsonl").write_text(text)
    shipped = load_space(truth.space)
    told = space.model_copy(update={"gpu": shipped.gpu, "enqueue": (), "name": ""})
    content = told.model_dump(mode="json", exclude_defaults=True)
    (folder / f"{truth.name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False, width=120))


_GRAPHS = ("enforce_eager", "max_cudagraph_capture_size", "compilation_config.cudagraph_mode")
_FRONT_END = ("stream_interval", "api_server_count")


def _without_graphs(params: Params) -> Params:
    """As if CUDA graphs were what they are without being set."""
    return {name: value for name, value in params.items() if name not in _GRAPHS}


def _slow_fp8(params: Params, found: LoadMetrics, usual: LoadMetrics) -> float:
    return 0.65 if str(params.get("quantization")).startswith("fp8") else 1.0


def _never_better(params: Params, found: LoadMetrics, usual: LoadMetrics) -> float:
    """What is predicted to be better than the defaults is as good, less 3 %; what is worse is worse."""
    ratio = _ratio(found, usual)
    return 1.0 if ratio == 1.0 else min(1.0, ratio) * 0.97 / ratio


def _reversed(params: Params, found: LoadMetrics, usual: LoadMetrics) -> float:
    return _ratio(found, usual) ** -2


def _ratio(found: LoadMetrics, usual: LoadMetrics) -> float:
    assert found.output_throughput is not None
    assert usual.output_throughput is not None
    return found.output_throughput / usual.output_throughput


_SMALL = {"space": "h100-80gb", "model": "qwen2-1.5b", "users": 256}
TRUTHS: Sequence[Truth] = (
    Truth(
        name="h100-slow-host",
        what="the host takes twice as long, kernels 20 % longer",
        processor=2.0,
        kernels=0.83,
        **_SMALL,
    ),
    Truth(
        name="h100-fast-host",
        what="the host takes half as long, kernels are 20 % faster",
        **{**_SMALL, "model": "qwen2-7b"},
        processor=0.5,
        kernels=1.2,
        noise=0.02,
    ),
    Truth(
        name="l4-no-graphs",
        what="CUDA graphs and eager mode change nothing but memory",
        space="l4",
        model="Qwen2.5-3B-Instruct",
        users=64,
        as_if=_without_graphs,
    ),
    Truth(
        name="h100-slow-fp8",
        what="8-bit weights are 35 % slower than predicted, kernels 10 % faster",
        **{**_SMALL, "model": "qwen2-7b"},
        kernels=1.1,
        twist=_slow_fp8,
    ),
    Truth(
        name="l4-less-memory",
        what="the card has 10 % less memory, the host takes 1.3 times as long",
        space="l4",
        model="qwen2-7b",
        users=48,
        input_tokens=(512, 1536),
        memory=0.9,
        processor=1.3,
        noise=0.02,
    ),
    Truth(
        name="t4-slow-kernels",
        what="kernels are 20 % slower, the host takes 1.5 times as long, launches differ by 5 %",
        space="t4",
        model="Qwen2.5-3B-Instruct",
        users=32,
        kernels=0.8,
        processor=1.5,
        noise=0.05,
    ),
    Truth(
        name="h100-open-loop",
        what="the host takes 1.5 times as long, kernels are 10 % slower",
        **{**_SMALL, "users": None},
        request_rate=60.0,
        processor=1.5,
        kernels=0.9,
    ),
    Truth(name="h100-defaults-best", what="nothing is better than the defaults", twist=_never_better, **_SMALL),
    Truth(
        name="h100-reversed",
        what="the logarithms of all predicted gains have the other sign",
        twist=_reversed,
        **_SMALL,
    ),
    Truth(
        name="h100-partly-reversed",
        what="what graphs and the front end bring has the other sign, the host takes 1.3 times as long",
        turned=(*_GRAPHS, *_FRONT_END),
        processor=1.3,
        **_SMALL,
    ),
)


if __name__ == "__main__":
    main()
