"""The constants of tuner/predict/step.py, fitted on the training half of the H200 measurements.

    python benchmarks/predict/fit.py [--evaluations 12] [--processes 2]

Least squares of the logarithms of throughput, TPOT and TTFT, each in units of how well the model can know it, with a prior that
holds every constant near what it was. Prints the constants; putting them into `Rates` is left to you. Takes minutes.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from multiprocessing import get_context

import numpy as np
from cards import card
from numpy.typing import NDArray
from ours import settings_of, workload_of
from points import DATA, Point, read
from scipy.optimize import least_squares  # type: ignore[import-untyped]
from show import console

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
    **dict.fromkeys(("layer_s", "step_s", "sequence_s", "activations"), 0.5),
    **dict.fromkeys(("piecewise_layer_s", "compiled_layer_s", "eager_layer_s", "eager_fp8_layer_s"), 1.0),
    **dict.fromkeys(("schedule_s", "schedule_sequence_s", "admit_s"), 0.4),
    **dict.fromkeys(("request_s", "request_turns", "token_s", "chunk_s"), 0.4),
}
KNOWN = {"output_throughput": 0.08, "tpot_p50_s": 0.10, "ttft_p50_s": 0.40}
STEP = 0.06
#: Requests of a simulated window: 1.2 for each user.
REQUESTS, A_USER = 60, 1.2


def differences(job: tuple[Point, Rates]) -> list[float]:
    """Of one point; its KV cache is the measured one, for memory is another model."""
    point, rates = job
    shape = read_shape(str(DATA / "models" / point.model))
    settings = settings_of(point, shape)
    assert isinstance(settings, Settings)
    assert point.load
    steps = Steps(shape=shape, gpu=card(point.gpu), settings=settings, rates=rates)
    server = Server(steps, settings, int(point.metrics["kv_cache_tokens"]))
    requests = max(REQUESTS, round(A_USER * (point.load.users or 0)))
    load = run_load(server, settings, workload_of(point.load), requests=requests).load
    assert load.tpot_s
    told = {"output_throughput": load.output_throughput, "tpot_p50_s": load.tpot_s.p50, "ttft_p50_s": load.ttft_s.p50}
    return [math.log(told[name] / point.metrics[name]) / known for name, known in KNOWN.items()]


def scaled(logarithms: Floats) -> Rates:
    before = Rates()
    factors = zip(SPREAD, logarithms, strict=True)
    return replace(before, **{name: getattr(before, name) * math.exp(value) for name, value in factors})


def fit(points: Sequence[Point], evaluations: int, processes: int) -> Rates:
    with get_context("fork").Pool(processes) as pool:

        def residuals(*tried: Floats) -> list[Floats]:
            jobs = [(point, scaled(values)) for values in tried for point in points]
            found = pool.map(differences, jobs, chunksize=4)
            parts = [found[start : start + len(points)] for start in range(0, len(jobs), len(points))]
            priors = [values / list(SPREAD.values()) for values in tried]
            return [np.concatenate([prior, *part]) for prior, part in zip(priors, parts, strict=True)]

        def slopes(values: Floats) -> Floats:
            here, *there = residuals(values, *(values + STEP * np.eye(len(values))))
            return np.stack([(moved - here) / STEP for moved in there], axis=1)

        start = np.zeros(len(SPREAD))
        found = least_squares(
            lambda values: residuals(values)[0], start, jac=slopes, loss="soft_l1", max_nfev=evaluations, ftol=2e-3
        )
    console.print(f"cost {found.cost:.1f} after {found.nfev} evaluations, of {len(points)} points")
    return scaled(found.x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=12)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    points = [point for point in read("h200") if point.load and not point.failure and not point.is_test]
    one_gpu = [point for point in points if "tensor_parallel_size" not in point.params]
    rates = fit(one_gpu, arguments.evaluations, arguments.processes)
    for name, value in asdict(rates).items():
        console.print(f"{name}: {value * 1e6:.1f} us" if name.endswith("_s") and value < 1 else f"{name}: {value:.3f}")


if __name__ == "__main__":
    main()
