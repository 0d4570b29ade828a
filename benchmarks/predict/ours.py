"""What tuner's model says of a point: as it is, or calibrated on other launches of the same machine and model."""

import random
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, median

from cards import card
from points import Load, Point, model_folder
from score import Predicted

from tuner.predict.calibrate import Observation, calibrate
from tuner.predict.copies import make_server
from tuner.predict.memory import Observed, calibrate_memory, predict_memory
from tuner.predict.prediction import Calibration, run_load
from tuner.predict.serve import Server
from tuner.predict.settings import Settings, resolve
from tuner.predict.shape import Shape, read_shape
from tuner.types import Distribution, Failed, LoadMetrics, Workload

#: Launches that a calibration sees, one measurement of each, and the seed that draws them.
LAUNCHES, SEED = 3, 0
#: Draws of arrivals whose latencies are averaged.
DRAWS = 3


class Predictor:
    """Predictions for the points of one set. Equal launches under equal loads are simulated once."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = points
        self._shapes = {name: read_shape(str(model_folder(name))) for name in {point.model for point in points}}
        self._known: dict[object, Predicted] = {}
        self._calibrations: dict[object, tuple[Calibration, set[str]] | None] = {}

    def shape(self, point: Point) -> Shape:
        return self._shapes[point.model]

    def plain(self, point: Point) -> Predicted:
        return self._predicted(point, None, Calibration())

    def calibrated(self, point: Point) -> Predicted | None:
        """Learned of launches that are not the point's own, under loads of the same name. None for those launches
        themselves, and where there are too few of them."""
        group = (point.gpu, point.host, point.model, point.load and point.load.name)
        if group not in self._calibrations:
            self._calibrations[group] = self._learned(point)
        learned = self._calibrations[group]
        if learned is None or point.launch in learned[1]:
            return None
        return self._predicted(point, group, learned[0])

    def _predicted(self, point: Point, group: object, calibration: Calibration) -> Predicted:
        key = (group, point.launch, point.load)
        if key not in self._known:
            self._known[key] = predicted(point, self.shape(point), calibration)
        return self._known[key]

    def _learned(self, point: Point) -> tuple[Calibration, set[str]] | None:
        """From train launches. Memory of the first one that tells it, of the machine's starts without load if need be."""
        like = [p for p in self._points if (p.gpu, p.host, p.model) == (point.gpu, point.host, point.model)]
        like = [p for p in like if not p.is_test and not p.failure]
        same = {p.launch: p for p in like if p.load and point.load and p.load.name == point.load.name}
        drawn = random.Random(SEED).sample(sorted(same), min(LAUNCHES, len(same)))
        observed = [same[launch] for launch in drawn]
        if point.load and len(observed) < LAUNCHES:
            return None
        told = [p for p in [*observed, *sorted(like, key=lambda p: p.launch)] if p.memory]
        shape, found = self.shape(point), Calibration()
        if told and (seen := _observed(told[0], shape)):
            found = replace(found, memory=calibrate_memory(shape, card(point.gpu), [seen], point.version))
        elif not observed:
            return None
        if seen_loads := [one for p in observed if (one := _observation(p, shape))]:
            found = calibrate(shape, card(point.gpu), seen_loads, found)
        elif observed:
            return None
        return found, {p.launch for p in [*observed, *told[:1]]}


def predicted(point: Point, shape: Shape, calibration: Calibration) -> Predicted:
    gpu = card(point.gpu)
    settings = settings_of(point, shape)
    if isinstance(settings, Failed):
        return Predicted(failure=settings.kind.value)
    cold = bool(point.memory.get("compiled", True))  # the state of vLLM's compile cache is known before a launch
    memory = predict_memory(shape, gpu, settings, calibration.memory, point.version, cold=cold)
    if memory.failed:
        return Predicted(failure=memory.failed.kind.value)
    metrics: dict[str, float] = {"kv_cache_tokens": memory.kv_cache_tokens, "kv_cache_bytes": memory.kv_cache_bytes}
    if point.load is None:
        return Predicted(metrics)
    server = make_server(shape, gpu, settings, memory, calibration.rates)
    if point.load.phases:
        servers = (make_server(shape, gpu, settings, memory, calibration.rates) for _ in range(DRAWS))
        drawn = [replayed(one, arrivals(point.load, seed)) for seed, one in enumerate(servers)]
        metrics |= {name: fmean(one[name] for one in drawn) for name in drawn[0]}
    elif point.load.requests:
        metrics |= replayed(server, point.load.requests)
    else:
        found = run_load(server, settings, workload_of(point.load)).load
        metrics["output_throughput"] = found.output_throughput
        for name in ("ttft", "tpot", "e2el"):
            if values := getattr(found, f"{name}_s"):
                metrics |= {f"{name}_mean_s": values.mean, f"{name}_p50_s": values.p50}
    return Predicted(metrics)


def settings_of(point: Point, shape: Shape) -> Settings | Failed:
    return resolve(point.params, shape, card(point.gpu), point.version)


def workload_of(load: Load) -> Workload:
    assert load.input_tokens
    assert load.output_tokens
    return Workload(
        name=load.name,
        api="completions",
        users=load.users,
        input_tokens=load.input_tokens,
        output_tokens=load.output_tokens,
    )


def arrivals(load: Load, seed: int) -> Sequence[tuple[float, int, int]]:
    """A draw of Poisson arrivals in phases, as (seconds, input tokens, output tokens)."""
    assert load.input_tokens
    assert load.output_tokens
    draw, begin_s, found = random.Random(seed), 0.0, []
    for seconds, rate in load.phases:
        at_s = begin_s
        while (at_s := at_s + draw.expovariate(rate)) < begin_s + seconds:
            found.append((at_s, load.input_tokens.high, load.output_tokens.high))
        begin_s += seconds
    return found


def replayed(server: Server, requests: Sequence[tuple[float, int, int]]) -> dict[str, float]:
    """The list of requests from the first arrival to the last token: throughput over all of it, as it was measured."""
    for number, (at_s, input_tokens, output_tokens) in enumerate(requests):
        server.submit(number, input_tokens, output_tokens, at_s)
    first, last = dict[int, float](), dict[int, float]()
    while event := server.next_event():
        first.setdefault(event.number, event.time_s)
        last[event.number] = event.time_s
    whole_s = max(last.values()) - requests[0][0]
    found = {"output_throughput": sum(output for _, _, output in requests) / whole_s}
    latencies = {
        "ttft": [first[number] - at_s for number, (at_s, _, _) in enumerate(requests)],
        "e2el": [last[number] - at_s for number, (at_s, _, _) in enumerate(requests)],
        "tpot": [(last[n] - first[n]) / max(1, output - 1) for n, (_, _, output) in enumerate(requests)],
    }
    for name, values in latencies.items():
        found |= {f"{name}_mean_s": fmean(values), f"{name}_p50_s": median(values)}
    return found


def _observed(point: Point, shape: Shape) -> Observed | None:
    settings = settings_of(point, shape)
    names = ("weights_bytes", "graphs_bytes", "kv_cache_bytes", "kv_cache_tokens", "activations_bytes", "other_bytes")
    known = {name: int(point.memory[name]) if name in point.memory else None for name in names}
    compiled = bool(point.memory["compiled"]) if "compiled" in point.memory else None
    return None if isinstance(settings, Failed) else Observed(settings=settings, compiled=compiled, **known)


def _observation(point: Point, shape: Shape) -> Observation | None:
    settings, told = settings_of(point, shape), point.metrics
    assert point.load
    if isinstance(settings, Failed) or not point.load.users:
        return None

    def distribution(name: str) -> Distribution | None:
        middle = told.get(f"{name}_p50_s", told.get(f"{name}_mean_s"))
        return None if middle is None else Distribution(count=1, mean=middle, p50=middle, p90=middle, p99=middle)

    ttft, e2el = distribution("ttft"), distribution("e2el")
    load = LoadMetrics(
        window_s=1.0,
        completed=1,
        failed=0,
        request_throughput=told.get("request_throughput", 0.0),
        output_throughput=told["output_throughput"],
        output_throughput_ci95=None,
        total_token_throughput=told["output_throughput"],
        ttft_s=ttft or Distribution(count=1, mean=0.0, p50=0.0, p90=0.0, p99=0.0),
        tpot_s=distribution("tpot"),
        itl_s=None,
        e2el_s=e2el or Distribution(count=1, mean=0.0, p50=0.0, p90=0.0, p99=0.0),
    )
    return Observation(params=settings.params, workload=workload_of(point.load), load=load)
