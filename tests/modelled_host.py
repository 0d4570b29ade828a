"""A host that is the model of a server with other rates, and noise: what a study over it would store, without a launch."""

import random
from collections.abc import Sequence
from dataclasses import replace
from math import exp, log

from samples import trial as a_trial

from tuner.predict.prediction import Calibration, predict
from tuner.predict.shape import read_shape
from tuner.predict.unpredicted import UNPREDICTED
from tuner.sim.engine import SimEngine
from tuner.study.engines import simulated_setup
from tuner.study.model import ServerModel
from tuner.study.options import Options
from tuner.study.setup import Setup, choose_space
from tuner.types import Distribution, Failed, LoadMetrics, Mark, Measured, Params, Trial, present


def setup_of(gpu: str = "h200", **options: object) -> Setup:
    told = Options(engine="sim", gpu=gpu, **options)  # type: ignore[arg-type]
    space = choose_space(told, ())
    return simulated_setup(told, space, SimEngine(space.gpu))


class Host:
    """A machine whose rates are `truth`; measurements of it are noisy."""

    def __init__(self, setup: Setup, truth: Calibration, seed: int = 0, noise: float = 0.02) -> None:
        self.setup, self.truth, self.noise = setup, truth, noise
        self.shape, self.rng = read_shape(setup.launcher.model), random.Random(seed)

    def measure(self, params: Params) -> LoadMetrics | Failed:
        heeded = {name: value for name, value in params.items() if name not in UNPREDICTED}
        gpu, given = self.setup.space.gpu, {**self.setup.space.fixed, **heeded}
        found = predict(self.shape, gpu, given, self.setup.workload, calibration=self.truth, requests=300)
        return found if isinstance(found, Failed) else self._noisy(found.load)

    def _noisy(self, load: LoadMetrics) -> LoadMetrics:
        def factor() -> float:
            return exp(self.rng.gauss(0.0, self.noise))

        def scaled(found: Distribution, by: float) -> Distribution:
            told = {name: getattr(found, name) * by for name in ("mean", "p50", "p90", "p95", "p99")}
            return replace(found, **told)

        assert load.tpot_s is not None
        return replace(
            load,
            output_throughput=present(load.output_throughput) * factor(),
            ttft_s=scaled(present(load.ttft_s), factor()),
            tpot_s=scaled(load.tpot_s, factor()),
            e2el_s=scaled(present(load.e2el_s), factor()),
        )

    def study(self, points: Sequence[Params], told: list[str] | None = None) -> tuple[ServerModel, list[Trial]]:
        """A study over these points, as the loop runs it."""
        model = ServerModel(self.setup, (told if told is not None else []).append)
        trials: list[Trial] = []
        for number, params in enumerate(points):
            trials.append(replace(self.trial(number, params), predicted=model.predict(params, trials)))
        return model, trials

    def trial(self, number: int, params: Params) -> Trial:
        """The first is of the defaults."""
        load = self.measure(params)
        outcome = load if isinstance(load, Failed) else measured(load)
        return a_trial(number, outcome, params=params, is_default=number == 0)


def nobody(text: str) -> None:
    """Is told why something is not predicted."""


def measured(load: LoadMetrics, marks: tuple[Mark, ...] = ()) -> Measured:
    return Measured(load=load, server=None, gpu=None, server_cpu_cores=None, startup_s=30.0, marks=marks)


def off(trial: Trial, metric: str = "output_throughput") -> float:
    assert trial.predicted is not None
    assert isinstance(trial.outcome, Measured)
    return abs(log(trial.predicted.metrics[metric].value / trial.outcome.metrics()[metric]))
