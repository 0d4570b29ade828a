"""An Optuna database of somebody else is read, and stays byte for byte what it was."""

import hashlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest

from tuner.errors import RunError, UsageError
from tuner.propose.foreign import State, read_study
from tuner.space.parameters import Float, Int


def make(path: Path, *names: str, trials: int = 3) -> Path:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")

    def objective(trial: optuna.Trial) -> float:
        trial.set_user_attr("mood", 3)
        trial.set_user_attr("host", "a")
        return trial.suggest_float("share", 0.5, 0.9, step=0.1) + trial.suggest_int("seqs", 8, 64, log=True)

    for name in names:
        sampler = optuna.samplers.RandomSampler(1)
        optuna.create_study(storage=storage, study_name=name, sampler=sampler).optimize(objective, n_trials=trials)
    storage.remove_session()
    storage.engine.dispose()
    return path


def read_only(path: Path) -> Mapping[str, Any]:
    return {"creator": lambda: sqlite3.connect(f"file:{path}?mode=ro", uri=True)}


def test_a_study_is_read_and_nothing_is_written(tmp_path: Path) -> None:
    path = make(tmp_path / "o.db", "mine")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    study = read_study("sqlite://", read_only(path), None)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert [one.name for one in tmp_path.iterdir()] == ["o.db"]
    assert (study.name, study.maximize, study.is_ours) == ("mine", (False,), False)
    assert study.searched == {
        "share": Float(type="float", low=0.5, high=0.9, step=0.1),
        "seqs": Int(type="int", low=8, high=64, log=True),
    }
    assert [trial.state for trial in study.trials] == [State.MEASURED] * 3
    first = study.trials[0]
    assert (first.numbers, first.texts) == ({"mood": 3.0}, {"host": "a"})
    assert first.values == (first.params["share"] + first.params["seqs"],)  # type: ignore[operator]


def test_one_of_several_has_to_be_chosen(tmp_path: Path) -> None:
    path = make(tmp_path / "o.db", "mine", "yours", trials=1)
    with pytest.raises(UsageError, match="holds 2 studies: choose one with --study: mine, yours"):
        read_study("sqlite://", read_only(path), None)
    with pytest.raises(UsageError, match="no study 'miney'"):
        read_study("sqlite://", read_only(path), "miney")
    assert read_study("sqlite://", read_only(path), "yours").name == "yours"


def test_a_database_without_a_study(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no Optuna study"):
        read_study("sqlite://", read_only(make(tmp_path / "o.db")), None)


def test_a_schema_that_this_optuna_does_not_know_is_not_upgraded(tmp_path: Path) -> None:
    path = make(tmp_path / "o.db", "mine", trials=1)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v2.6.0.a'")
    connection.close()
    with pytest.raises(RunError, match="copy it, and run `optuna storage upgrade` on the copy"):
        read_study("sqlite://", read_only(path), None)
