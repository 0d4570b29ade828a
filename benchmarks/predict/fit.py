"""The constants of tuner/predict/step.py, fitted on the training halves of the measurements in benchmarks/data.

    python benchmarks/predict/fit.py [--steps 6] [--processes 2]

Least squares of the logarithms of throughput, TPOT and TTFT, each in units of how well the model can know it, with a
prior that holds every constant near what it was. Each host has a speed of its own beside, that of REFERENCE is 1: the
constants hold for it, and for what the host's ruler says there. Of the curves of `ppas` only the shape counts. Prints the
constants; putting them into `Rates` is left to you. Takes half an hour.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from statistics import fmean, median

import numpy as np
from cards import card
from numpy.typing import NDArray
from ours import arrivals, replayed, settings_of, workload_of
from points import UNSEEN, Point, model_folder, read
from show import console

from tuner.predict import prediction
from tuner.predict.calibrate import corrected, cost, step_of
from tuner.predict.prediction import run_load
from tuner.predict.serve import Server
from tuner.predict.settings import Settings
from tuner.predict.shape import read_shape
from tuner.predict.step import Rates, Steps

Floats = NDArray[np.float64]
#: What is fitted, and how far it is expected from what it is: the standard deviation of its logarithm. What few points tell
#: apart (the front end, sequences, activations) is held closer. TP needs more points.
SPREAD = {
    "kernels": 0.1,
    "kv_bandwidth": 0.25,
    "attention_compute": 0.4,
    "attention_context": 0.7,
    "triton_attention": 0.5,
    "overlap": 0.4,
    **dict.fromkeys(("layer_s", "step_s"), 0.5),
    **dict.fromkeys(("piecewise_layer_s", "compiled_layer_s", "eager_layer_s", "compiled_fp8_layer_s"), 1.0),
    **dict.fromkeys(("schedule_s", "schedule_sequence_s", "admit_s"), 0.6),
    **dict.fromkeys(("request_s", "token_s", "chunk_s"), 0.6),
}
KNOWN = {"output_throughput": 0.08, "tpot_p50_s": 0.10, "ttft_p50_s": 0.40}
#: Of a curve over one setting.
CURVES = {"ttft_mean_s": 0.06}
SETS = ("h200", "surfaces", "ppas")
STEP = 0.06
#: Requests of a simulated window, and of each user at most before it: fewer than a prediction takes, since there are so many.
REQUESTS, A_USER = (60, 150), 0.5
WARM_UP_A_USER = 0.6
#: A step is not longer than so many standard deviations of a constant, and is halved so often.
MOST, HALVINGS = 2.0, 3


#: The host whose speed is 1, whose ruler is the reference of tuner/predict/host.py.
REFERENCE = {("surfaces", "third")}
HOST_SPREAD = 0.25


@dataclass(frozen=True, slots=True)
class Seen:
    """Equal launches of one host under one load: the median of each metric, and how many there were."""

    point: Point
    host: tuple[str, str]
    count: int


def seen(name: str) -> list[Seen]:
    """Of the training half of a set; tensor parallelism, drafts and one-sided loads need more points."""
    groups: dict[object, list[Point]] = {}
    for point in read(name):
        if (name, point.host) in UNSEEN:
            continue
        if point.load and point.metrics and not point.is_test and "tensor_parallel_size" not in point.params:
            groups.setdefault((point.launch, point.load), []).append(point)
    found = []
    for some in groups.values():
        metrics = {key: median(one.metrics[key] for one in some) for key in some[0].metrics}
        found.append(Seen(replace(some[0], metrics=metrics), (name, some[0].host), len(some)))
    return found


def told(point: Point, rates: Rates) -> dict[str, float]:
    """What the model says; the KV cache is the measured one where it is known, for memory is another model."""
    shape = read_shape(str(model_folder(point.model)))
    settings = settings_of(point, shape)
    assert isinstance(settings, Settings)
    assert point.load
    steps = Steps(shape=shape, gpu=card(point.gpu), settings=settings, rates=rates)
    server = Server(steps, settings, int(point.metrics.get("kv_cache_tokens", 10**6)))
    if point.load.phases:
        return replayed(server, arrivals(point.load, 0))
    requests = min(REQUESTS[1], max(REQUESTS[0], round(A_USER * (point.load.users or 0))))
    load = run_load(server, settings, workload_of(point.load), requests=requests).load
    assert load.tpot_s
    return {"output_throughput": load.output_throughput, "tpot_p50_s": load.tpot_s.p50, "ttft_p50_s": load.ttft_s.p50}


def differences(job: tuple[Seen, Rates]) -> list[float]:
    """Of one launch, in units of what the model can know; of a curve's point what `fit` takes its mean off."""
    one, rates = job
    found, weight = told(one.point, rates), min(2.0, math.sqrt(one.count))
    known = CURVES if one.point.load and one.point.load.phases else KNOWN
    return [weight * math.log(found[name] / one.point.metrics[name]) / spread for name, spread in known.items()]


def scaled(logarithms: Floats) -> Rates:
    before = Rates()
    factors = zip(SPREAD, logarithms, strict=False)
    return replace(before, **{name: getattr(before, name) * math.exp(value) for name, value in factors})


def on_host(rates: Rates, slower: float) -> Rates:
    return replace(rates, host=rates.host * slower, launch=rates.launch * slower, front=rates.front * slower)


def fit(points: Sequence[Seen], steps: int, processes: int) -> Rates:
    """Gauss-Newton with the slopes of the start, which each step corrects by what it saw (Broyden): an evaluation is dear."""
    hosts = sorted({one.host for one in points} - REFERENCE - {one.host for one in points if one.host[0] == "ppas"})
    spreads = np.array([*SPREAD.values(), *(HOST_SPREAD for _ in hosts)])
    curves = [(one.point.gpu, one.point.model, one.point.load) if one.host[0] == "ppas" else None for one in points]

    def job(one: Seen, values: Floats) -> tuple[Seen, Rates]:
        slower = math.exp(values[len(SPREAD) + hosts.index(one.host)]) if one.host in hosts else 1.0
        return one, on_host(scaled(values), slower)

    def residuals(values: Floats, part: Sequence[list[float]]) -> Floats:
        return np.concatenate([values / spreads, *shaped(part, curves)])

    with get_context("fork").Pool(processes) as pool:

        def evaluated(values: Floats, host: tuple[str, str] | None = None) -> list[list[float]]:
            some = [one for one in points if host is None or one.host == host]
            return pool.map(differences, [job(one, values) for one in some], chunksize=2)

        def slope(place: int) -> Floats:
            moved = STEP * np.eye(len(spreads))[place]
            host = hosts[place - len(SPREAD)] if place >= len(SPREAD) else None
            found = iter(evaluated(moved, host))
            part = [next(found) if host in (None, one.host) else was for one, was in zip(points, begun, strict=True)]
            console.print(".", end="")
            return (residuals(moved, part) - here) / STEP

        values, begun = np.zeros(len(spreads)), evaluated(np.zeros(len(spreads)))
        here = residuals(values, begun)
        slopes = np.stack([slope(place) for place in range(len(spreads))], axis=1)
        for number in range(steps):
            step = np.clip(step_of(slopes, here), -MOST * spreads, MOST * spreads)
            for _ in range(HALVINGS):
                there = residuals(values + step, evaluated(values + step))
                slopes = corrected(slopes, here, there, step)
                is_better = cost(there) < cost(here)
                console.print(f"step {number}: cost {cost(here):.1f} to {cost(there):.1f}")
                if is_better:
                    values, here = values + step, there
                    break
                step = step / 2
    for host, value in zip(hosts, values[len(SPREAD) :], strict=True):
        console.print(f"{' '.join(host)}: {math.exp(value):.2f} times as slow")
    return scaled(values)


def shaped(part: Sequence[list[float]], curves: Sequence[object]) -> list[list[float]]:
    """The differences, of each curve without their mean: what its card and host have in common."""
    means = {curve: fmean(of[0] for of, its in zip(part, curves, strict=True) if its == curve) for curve in {*curves}}
    return [of if curve is None else [of[0] - means[curve]] for of, curve in zip(part, curves, strict=True)]


def main() -> None:
    prediction._WARM_UP_A_USER = WARM_UP_A_USER
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    points = [one for name in SETS for one in seen(name)]
    rates = fit(points, arguments.steps, arguments.processes)
    for name, value in asdict(rates).items():
        console.print(f"{name}: {value * 1e6:.1f} us" if name.endswith("_s") and value < 1 else f"{name}: {value:.3f}")


if __name__ == "__main__":
    main()
