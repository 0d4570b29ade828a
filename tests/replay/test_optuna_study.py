"""Optuna studies, made by Optuna in its own database, become launches: values by their names, units and directions."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

import optuna
import pytest
from optuna.trial import TrialState

from tuner.errors import UsageError
from tuner.propose.foreign import read_study
from tuner.replay.launches import Imported
from tuner.replay.optuna_study import launches_of
from tuner.types import Failed, FailureKind

Direction = Literal["maximize", "minimize"]
Objective = Callable[[optuna.Trial], float | Sequence[float]]


def study_in(folder: Path, directions: Sequence[Direction], objective: Objective, trials: int = 4) -> Path:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = folder / "optuna.db"
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    study = optuna.create_study(
        storage=storage, study_name="mine", directions=directions, sampler=optuna.samplers.RandomSampler(1)
    )
    study.optimize(objective, n_trials=trials, catch=(RuntimeError,))
    storage.remove_session()
    storage.engine.dispose()
    return path


def imported(path: Path, *names: str) -> Imported:
    return launches_of(read_study(f"sqlite:///{path}", {}, "mine"), names)


def served(trial: optuna.Trial) -> float:
    return 1000.0 + trial.suggest_int("max_num_seqs", 8, 512, log=True)


def late(trial: optuna.Trial) -> tuple[float, float]:
    seqs = trial.suggest_int("max-num-seqs", 8, 512, log=True)
    trial.set_user_attr("mean_tpot_ms", 12.5)
    trial.set_user_attr("mood", 3)
    return 1000.0 + seqs, 250.0 + seqs


def test_values_are_what_they_are_named(tmp_path: Path) -> None:
    found = imported(study_in(tmp_path, ["maximize"], served), "throughput")
    assert found.objectives == ("throughput",)
    for launch in found.launches:
        assert launch.outcome == {"output_throughput": 1000.0 + launch.params["max_num_seqs"]}  # type: ignore[operator]


def test_two_objectives_and_attributes_in_milliseconds(tmp_path: Path) -> None:
    found = imported(study_in(tmp_path, ["maximize", "minimize"], late), "throughput", "p99_ttft_ms")
    assert found.objectives == ("throughput", "ttft_p99")
    for launch in found.launches:
        seqs = launch.params["max_num_seqs"]
        assert isinstance(seqs, int)
        assert not isinstance(launch.outcome, Failed)
        assert launch.outcome["output_throughput"] == 1000.0 + seqs
        assert launch.outcome["ttft_p99_s"] == pytest.approx((250.0 + seqs) / 1000)
        assert launch.outcome["tpot_mean_s"] == pytest.approx(0.0125)
    assert any("mood" in note for note in found.notes)


def test_a_negated_value_is_turned_back(tmp_path: Path) -> None:
    path = study_in(tmp_path, ["minimize"], lambda trial: -served(trial))
    for launch in imported(path, "-throughput").launches:
        assert not isinstance(launch.outcome, Failed)
        assert launch.outcome["output_throughput"] > 1000
    with pytest.raises(
        UsageError, match=r"looked for less output_throughput, which is worse: .*--objective-name=-throughput"
    ):
        imported(path, "throughput")


def test_the_studys_own_names_do_where_none_are_given(tmp_path: Path) -> None:
    path = study_in(tmp_path, ["minimize"], lambda trial: trial.suggest_float("gpu_memory_utilization", 0.5, 0.9))
    with pytest.raises(UsageError, match="does not say what its values are: give --objective-name"):
        imported(path)
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    study = optuna.load_study(study_name="mine", storage=storage)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study.set_metric_names(["ttft_p50_s"])
    storage.remove_session()
    storage.engine.dispose()
    assert imported(path).objectives == ("ttft_p50",)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("ttft_p99",), "its unit is not known: say its unit, ttft_p99_ms or ttft_p99_s"),
        (("happiness",), "this is no metric: expected one such as throughput"),
        (("cost",), "this is no metric"),
        (("throughput", "ttft_p99_ms"), "the study has 1 value a trial and 2 names"),
        (("-throughput",), "leave out the -"),
        (("ttft_p99_ms",), "looked for more ttft_p99_s, which is worse"),
    ],
)
def test_names_that_do_not_fit(tmp_path: Path, names: tuple[str, ...], why: str) -> None:
    path = study_in(tmp_path, ["maximize"], served, trials=1)
    with pytest.raises(UsageError) as caught:
        imported(path, *names)
    assert why in str(caught.value)


def test_what_failed_stays_failed_and_what_was_pruned_is_left_out(tmp_path: Path) -> None:
    def objective(trial: optuna.Trial) -> float:
        trial.suggest_categorical("quantization", [None, "fp8_per_tensor"])
        match trial.number:
            case 0:
                trial.set_user_attr("error", "Traceback ...\nCUDA out of memory")
                raise RuntimeError("out of memory")
            case 1:
                raise optuna.TrialPruned
            case 2:
                return float("inf")
        return 100.0

    found = imported(study_in(tmp_path, ["maximize"], objective), "throughput")
    first, third, fourth = found.launches
    assert first.outcome == Failed(kind=FailureKind.CRASHED, message="CUDA out of memory")
    assert isinstance(third.outcome, Failed)
    assert "inf" in third.outcome.message
    assert fourth.outcome == {"output_throughput": 100.0}
    assert any("1 of 4 trials, which were pruned" in note for note in found.notes)
    assert all(launch.params in ({}, {"quantization": "fp8_per_tensor"}) for launch in found.launches)


def test_a_trial_that_runs_is_left_out(tmp_path: Path) -> None:
    path = study_in(tmp_path, ["maximize"], served, trials=2)
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    study = optuna.load_study(study_name="mine", storage=storage)
    assert study.ask().number == 2
    assert [trial.state for trial in study.trials][-1] is TrialState.RUNNING
    storage.remove_session()
    storage.engine.dispose()
    found = imported(path, "throughput")
    assert len(found.launches) == 2
    assert any("1 of 3 trials, which are not finished" in note for note in found.notes)


def test_seconds_that_no_launch_takes_are_not_told(tmp_path: Path) -> None:
    path = study_in(tmp_path, ["maximize"], served, trials=2)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE trials SET datetime_complete = '2200-01-01 00:00:00.000000' WHERE number = 1")
    first, second = imported(path, "throughput").launches
    assert first.duration_s is not None
    assert (second.startup_s, second.duration_s) == (None, None)


def test_a_parameter_that_is_no_argument_is_refused(tmp_path: Path) -> None:
    path = study_in(tmp_path, ["maximize"], lambda trial: trial.suggest_float("Learning Rate", 0, 1), trials=1)
    with pytest.raises(UsageError, match="trial 0: 'Learning Rate' is no name of an argument of vLLM"):
        imported(path, "throughput")
