"""A simulated study whose host is slower than the model thinks: what it says of each trial, stored, shown, gone on with."""

import re
from dataclasses import replace
from math import log
from pathlib import Path
from statistics import median

import pytest
from commands import tuner
from faults.lab import Saboteur

from tuner.errors import UsageError
from tuner.predict.prediction import Calibration
from tuner.predict.step import Rates
from tuner.predict.uncertainty import CALIBRATED, Known
from tuner.record.store import Store
from tuner.sim import speed
from tuner.sim.engine import SimEngine
from tuner.study.engines import simulated_setup
from tuner.study.loop import run_study
from tuner.study.options import Options
from tuner.study.setup import Setup, choose_space
from tuner.types import Mark, Measured, Trial, present

#: The model takes the host for twice as fast as the simulated one is.
FAST = Calibration(rates=replace(Rates(), host=0.5, launch=0.5, front=0.5))


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time runs so slowly that the load generator is the limit on a very busy machine alone."""
    monkeypatch.setattr(speed, "REQUESTS_PER_S", 250.0)


def a_setup(folder: Path, trials: int) -> Setup:
    """On an H200, where the host limits a small model."""
    options = Options(
        engine="sim",
        gpu="h200",
        groups="batch",
        trials=trials,
        verify=0,
        log_dir=folder / "logs",
        study="s",
        stop="never",
        sampler="tpe",
    )
    space = choose_space(options, ()).without({"long_prefill_token_threshold"})
    return simulated_setup(options, space, SimEngine(space.gpu))


def run(folder: Path, setup: Setup, watch: Saboteur | None = None) -> list[Trial]:
    store = Store.open(f"sqlite:///{folder / 'tuner.db'}")
    try:
        run_study(setup, store, SimEngine(setup.space.gpu), watch or Saboteur())
        return store.trials(setup.study)
    finally:
        store.close()


def off(trial: Trial) -> float:
    assert trial.predicted is not None
    assert isinstance(trial.outcome, Measured)
    return abs(log(trial.predicted.metrics["output_throughput"].value / present(trial.outcome.load.output_throughput)))


def teaches(trial: Trial) -> bool:
    """A client that was the limit says nothing of the server: on a busy machine that is so now and then."""
    assert isinstance(trial.outcome, Measured)
    return not {Mark.CLIENT_BOUND, Mark.BUNCHED, Mark.OTHER_LENGTHS} & {*trial.outcome.marks}


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_study_predicts_its_trials_better_and_better_also_when_it_goes_on(tmp_path: Path) -> None:
    setup = replace(a_setup(tmp_path, 3), calibration=FAST)
    first = run(tmp_path, setup)
    trials = run(tmp_path, replace(setup, trials=6))
    assert trials[:3] == first
    launched = [trial for trial in trials if trial.attempts]
    if not all(map(teaches, launched)):
        pytest.skip("the machine was so busy that the client was the limit, not the simulated server")
    assert off(launched[0]) > 0.25
    assert median(map(off, launched[3:])) < off(launched[0]) / 2
    known = [(trial.predicted.known, trial.predicted.launches) for trial in launched if trial.predicted]
    counts = [sum(teaches(one) for one in launched[:number]) for number in range(len(launched))]
    assert known == [(Known.HOST.value if count >= CALIBRATED else Known.CARD.value, count) for count in counts]
    shown = tuner(tmp_path, "show", "s", "0").stdout
    assert re.search(r"^output_throughput +[\d,.]+ +predicted [\d,.]+ \([\d,.]+ to [\d,.]+\)$", shown, re.MULTILINE)
    result = tuner(tmp_path, "show", "s").stdout
    told = r"which the simulation itself runs on, was within \d+% in the median of 6 trials, rank -?\d\.\d; \d of 6"
    assert re.search(rf"^The model of the server, {told} inside its 95 % intervals\.$", result, re.MULTILINE)


class Told(Saboteur):
    """Keeps the details."""

    def detail(self, text: str) -> None:
        self.notes.append(text)


def test_a_study_whose_model_cannot_be_read_runs_without_predictions_and_says_why_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine reads what the prediction, by a fault injected here, does not."""

    def unreadable(model: str) -> None:
        raise UsageError(f"{model} cannot be read")

    monkeypatch.setattr("tuner.study.model.read_shape", unreadable)
    watch = Told()
    trials = run(tmp_path, a_setup(tmp_path, 2), watch)
    assert [(isinstance(trial.outcome, Measured), trial.predicted) for trial in trials] == [(True, None)] * 2
    assert [note for note in watch.notes if "prediction" in note] == [
        f"no prediction: {Options().model} cannot be read"
    ]
    assert "The model of the server" not in tuner(tmp_path, "show", "s").stdout


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_second_study_is_predicted_from_its_first_trial_on(tmp_path: Path) -> None:
    setup = replace(a_setup(tmp_path, 3), calibration=FAST)
    first = run(tmp_path, setup)
    second, alone = (
        run(tmp_path, replace(setup, study=name, trials=1, warm_start=warm_start))
        for name, warm_start in (("warm", "auto"), ("alone", "none"))
    )
    if not all(map(teaches, (*first, *second, *alone))):
        pytest.skip("the machine was so busy that the client was the limit, not the simulated server")
    assert off(alone[0]) > 0.25
    assert off(second[0]) < off(alone[0]) / 2
    with pytest.raises(UsageError, match="--warm-start alone: alone has 1 launches to learn from"):
        run(tmp_path, replace(setup, study="named", trials=1, warm_start="alone"))
