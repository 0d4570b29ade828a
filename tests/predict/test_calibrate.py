"""Calibration is put to the test where the truth is known: on a machine that is the model with other rates."""

from dataclasses import replace

import pytest

from predict.shapes import H200, SMALL
from tuner.predict.calibrate import Observation, calibrate
from tuner.predict.prediction import Calibration, predict
from tuner.predict.step import Rates
from tuner.types import Failed, LoadMetrics, Params, present
from tuner.workload.presets import load_workload

WORKLOAD = replace(load_workload("chat"), users=48)
LAUNCHES: tuple[Params, ...] = (
    {"max_model_len": 4096},
    {"max_model_len": 4096, "max_num_seqs": 16},
    {"max_model_len": 4096, "enforce_eager": True},
)
OTHERS: tuple[Params, ...] = (
    {"max_model_len": 4096, "stream_interval": 8},
    {"max_model_len": 4096, "max_num_seqs": 32, "quantization": "fp8_per_tensor"},
)


def served(params: Params, calibration: Calibration) -> LoadMetrics:
    found = predict(SMALL, H200, params, WORKLOAD, calibration=calibration, requests=200)
    assert not isinstance(found, Failed)
    return found.load


def machine(**factors: float) -> Calibration:
    return Calibration(rates=replace(Rates(), **factors))


def error(params: Params, truth: Calibration, believed: Calibration) -> float:
    real = present(served(params, truth).output_throughput)
    return abs(present(served(params, believed).output_throughput) / real - 1)


@pytest.mark.parametrize("factors", [{"host": 1.6, "launch": 1.6, "front": 1.6}, {"host": 0.6, "launch": 0.6}])
def test_three_launches_tell_a_slow_host_from_a_fast_one(factors: dict[str, float]) -> None:
    truth = machine(**factors)
    seen = [Observation(params=params, workload=WORKLOAD, load=served(params, truth)) for params in LAUNCHES]
    learned = calibrate(SMALL, H200, seen)
    for params in OTHERS:
        before, after = error(params, truth, Calibration()), error(params, truth, learned)
        assert after < before / 2, (params, before, after)


def test_what_fits_already_stays_as_it_is() -> None:
    seen = [Observation(params=params, workload=WORKLOAD, load=served(params, Calibration())) for params in LAUNCHES]
    assert calibrate(SMALL, H200, seen).rates == Rates()


def test_without_a_launch_that_could_be_predicted_nothing_is_learned() -> None:
    before = machine(host=1.3)
    impossible = Observation(
        params={"gpu_memory_utilization": 0.01}, workload=WORKLOAD, load=served(LAUNCHES[0], Calibration())
    )
    assert calibrate(SMALL, H200, [impossible], before) is before
    assert calibrate(SMALL, H200, [], before) is before
