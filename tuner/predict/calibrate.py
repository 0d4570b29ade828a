"""What a few launches measured in; rates of this machine and model, for which the prediction comes closest, out.

Four factors are learned, one for each kind of work (`Rates.kernels`, `launch`, `host`, `front`), with a prior at what the
published rates say: three launches cannot tell more, and a single factor over everything was seen to make predictions worse.
The last three are a processor's work: what it is slower is learned of all of them, and of each what it differs from that.
It knows no search; memory is learned apart (tuner.predict.memory.calibrate_memory).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from tuner.predict.prediction import Calibration, predict
from tuner.predict.settings import LATEST, Version
from tuner.predict.shape import Shape
from tuner.predict.step import Rates
from tuner.space.gpus import Gpu
from tuner.types import Failed, LoadMetrics, Params, Workload

Floats = NDArray[np.float64]

_PROCESSOR = ("launch", "host", "front")
_LEARNED = ("kernels", "processor", *_PROCESSOR)
#: By how much the factors are expected to differ from 1, as the standard deviation of their logarithm: two hosts with the same
#: GPU were seen to differ by 2 in processor speed, kernels by 10 to 20 % from the published tables.
_SPREAD = {"kernels": 0.15, "processor": 0.35, **dict.fromkeys(_PROCESSOR, 0.2)}
#: How close a measurement comes to the model when its factors are right, likewise (benchmarks/predict; equal launches were seen
#: to differ by 0.08 to 0.17 in throughput): that much of a difference says nothing.
_KNOWN = {"output_throughput": 0.10, "tpot": 0.12, "ttft": 0.40}
#: Enough for a mean within 3 %.
_REQUESTS = 200
#: The factors' logarithms are moved by this much to see what it does: more than the noise of so few requests.
_STEP = 0.06
#: Steps at most, how far one goes at most, and the share of the cost that is not worth another.
_STEPS, _LONGEST, _ENOUGH = 6, 0.7, 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One measurement: what was launched, what load it had, what came of it."""

    params: Params
    workload: Workload
    load: LoadMetrics


def calibrate(
    shape: Shape,
    gpu: Gpu,
    observations: Sequence[Observation],
    calibration: Calibration | None = None,
    *,
    begin: Rates | None = None,
    version: Version = LATEST,
) -> Calibration:
    """`calibration` with rates that fit the observations. Those that cannot be predicted at all are passed over; without
    any it is returned as it is. `begin` are the rates that it begins with, near which it ends sooner."""
    before = calibration or Calibration()
    usable = [one for one in observations if not isinstance(_predict(shape, gpu, one, before, version), Failed)]
    if not usable:
        return before

    def residuals(logarithms: Floats) -> Floats:
        tried = replace(before, rates=_scaled(before.rates, logarithms))
        found = [value / _SPREAD[name] for name, value in zip(_LEARNED, logarithms, strict=True)]
        for one in usable:
            predicted = _predict(shape, gpu, one, tried, version)
            assert not isinstance(predicted, Failed)
            found += _differences(one.load, predicted)
        return np.array(found)

    start = _logarithms(begin or before.rates, before.rates)
    return replace(before, rates=_scaled(before.rates, _nearest(residuals, start)))


def _nearest(residuals: Callable[[Floats], Floats], start: Floats) -> Floats:
    """Least squares with a soft L1 loss, by Gauss-Newton: slopes are taken at the start, and each step corrects them by what it
    saw (C. G. Broyden, 1965), for a prediction is dear and the factors are few."""
    values, here = start, residuals(start)
    moved = [residuals(start + _STEP * direction) for direction in np.eye(len(start))]
    slopes = np.stack([(there - here) / _STEP for there in moved], axis=1)
    for _ in range(_STEPS):
        step = step_of(slopes, here)
        step *= min(1.0, _LONGEST / max(np.abs(step).max(), 1e-12))
        there = residuals(values + step)
        slopes = corrected(slopes, here, there, step)
        gain = cost(here) - cost(there)
        if gain > 0:
            values, here = values + step, there
        if abs(gain) < _ENOUGH * cost(here):
            break
    return values


def step_of(slopes: Floats, here: Floats) -> Floats:
    """From residuals to where they are least if their slopes hold, with the weights of a soft L1 loss."""
    weights = (1 + here**2) ** -0.25
    return np.asarray(np.linalg.lstsq(weights[:, None] * slopes, -weights * here)[0], dtype=np.float64)


def corrected(slopes: Floats, here: Floats, there: Floats, step: Floats) -> Floats:
    """The slopes that lie nearest to these and explain what a step saw (Broyden)."""
    found: Floats = slopes + np.outer(there - here - slopes @ step, step) / max(float(step @ step), 1e-12)
    return found


def cost(found: Floats) -> float:
    """Soft L1, which grows as the square of what is near and as the size of what is far."""
    return float((np.sqrt(1 + found**2) - 1).sum())


def _predict(
    shape: Shape, gpu: Gpu, one: Observation, calibration: Calibration, version: Version
) -> LoadMetrics | Failed:
    users = one.workload.users or 0
    requests = max(_REQUESTS, users)
    found = predict(shape, gpu, one.params, one.workload, calibration=calibration, requests=requests, version=version)
    return found if isinstance(found, Failed) else found.load


def _differences(measured: LoadMetrics, predicted: LoadMetrics) -> list[float]:
    """Of logarithms, in units of how well the model can know each."""
    pairs = {"output_throughput": (measured.output_throughput, predicted.output_throughput)}
    for name, one, other in (
        ("ttft", measured.ttft_s, predicted.ttft_s),
        ("tpot", measured.tpot_s, predicted.tpot_s),
    ):
        if one and other:
            pairs[name] = one.p50, other.p50
    return [log(p / m) / _KNOWN[name] for name, (m, p) in pairs.items() if m and p]


def _logarithms(rates: Rates, of: Rates) -> Floats:
    """Of what is learned, that leads from `of` to `rates`: the processor is what launch, host and front have in common."""
    found = {name: log(getattr(rates, name) / getattr(of, name)) for name in ("kernels", *_PROCESSOR)}
    common = fmean(found[name] for name in _PROCESSOR)
    return np.array([found["kernels"], common, *(found[name] - common for name in _PROCESSOR)])


def _scaled(rates: Rates, logarithms: Floats) -> Rates:
    learned = dict(zip(_LEARNED, map(float, logarithms), strict=True))
    factors = {name: learned[name] + learned["processor"] for name in _PROCESSOR} | {"kernels": learned["kernels"]}
    return replace(rates, **{name: getattr(rates, name) * exp(value) for name, value in factors.items()})
