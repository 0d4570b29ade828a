"""What a few launches measured in; rates of this machine and model, for which the prediction comes closest, out.

Four factors are learned, one for each kind of work (`Rates.kernels`, `launch`, `host`, `front`), with a prior at what the
published rates say: three launches cannot tell more, and a single factor over everything was seen to make predictions worse.
It knows no search; memory is learned apart (tuner.predict.memory.calibrate_memory).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares  # type: ignore[import-untyped]  # scipy ships no types

from tuner.predict.prediction import Calibration, predict
from tuner.predict.settings import LATEST, Version
from tuner.predict.shape import Shape
from tuner.predict.step import Rates
from tuner.space.gpus import Gpu
from tuner.types import Failed, LoadMetrics, Params, Workload

Floats = NDArray[np.float64]

_FACTORS = ("kernels", "launch", "host", "front")
#: By how much the factors are expected to differ from 1, as the standard deviation of their logarithm: two hosts with the same
#: GPU were seen to differ by 2 in processor speed, kernels by 10 to 20 % from the published tables.
_SPREAD = {"kernels": 0.15, "launch": 0.4, "host": 0.4, "front": 0.4}
#: How close the model comes when its factors are right, likewise (benchmarks/predict): that much of a difference says nothing.
_KNOWN = {"output_throughput": 0.08, "tpot": 0.10, "ttft": 0.40}
#: Enough for a mean within 3 %.
_REQUESTS = 200
#: The factors' logarithms are moved by this much to see what it does: more than the noise of so few requests.
_STEP = 0.06
_EVALUATIONS = 8


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
    evaluations: int = _EVALUATIONS,
    version: Version = LATEST,
) -> Calibration:
    """`calibration` with rates that fit the observations. Those that cannot be predicted at all are passed over; without
    any it is returned as it is. `begin` are the rates that it begins with, near which it ends sooner; of the
    `evaluations` that it makes at most, each predicts every observation five times."""
    before = calibration or Calibration()
    usable = [one for one in observations if not isinstance(_predict(shape, gpu, one, before, version), Failed)]
    if not usable:
        return before

    def residuals(logarithms: Floats) -> Floats:
        tried = replace(before, rates=_scaled(before.rates, logarithms))
        found = [value / _SPREAD[name] for name, value in zip(_FACTORS, logarithms, strict=True)]
        for one in usable:
            predicted = _predict(shape, gpu, one, tried, version)
            assert not isinstance(predicted, Failed)
            found += _differences(one.load, predicted)
        return np.array(found)

    def slopes(logarithms: Floats) -> Floats:
        here = residuals(logarithms)
        moved = (residuals(logarithms + _STEP * direction) for direction in np.eye(len(_FACTORS)))
        return np.stack([(there - here) / _STEP for there in moved], axis=1)

    start = _logarithms(begin or before.rates, before.rates)
    fit = least_squares(residuals, start, jac=slopes, loss="soft_l1", max_nfev=evaluations, ftol=1e-3)
    return replace(before, rates=_scaled(before.rates, fit.x))


def _predict(
    shape: Shape, gpu: Gpu, one: Observation, calibration: Calibration, version: Version
) -> LoadMetrics | Failed:
    users = one.workload.users or 0
    requests = max(_REQUESTS, users)
    found = predict(shape, gpu, one.params, one.workload, calibration=calibration, requests=requests, version=version)
    return found if isinstance(found, Failed) else found.load


def _differences(measured: LoadMetrics, predicted: LoadMetrics) -> list[float]:
    """Of logarithms, in units of how well the model can know each."""
    pairs = {
        "output_throughput": (measured.output_throughput, predicted.output_throughput),
        "ttft": (measured.ttft_s.p50, predicted.ttft_s.p50),
    }
    if measured.tpot_s and predicted.tpot_s:
        pairs["tpot"] = measured.tpot_s.p50, predicted.tpot_s.p50
    return [log(p / m) / _KNOWN[name] for name, (m, p) in pairs.items() if m > 0 and p > 0]


def _logarithms(rates: Rates, of: Rates) -> Floats:
    """Of the factors from `of` to `rates`."""
    return np.array([log(getattr(rates, name) / getattr(of, name)) for name in _FACTORS])


def _scaled(rates: Rates, logarithms: Floats) -> Rates:
    factors = {name: getattr(rates, name) * exp(value) for name, value in zip(_FACTORS, logarithms, strict=True)}
    return replace(rates, **factors)
