"""`tuner import`, and the command that it prints, on a real sweep's files and on real Optuna studies."""

import hashlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import optuna
import pytest
from commands import tuner
from conftest import REPOSITORY

from tuner.record.store import Store
from tuner.types import Failed, Measured, Trial

Direction = Literal["maximize", "minimize"]
SAMPLE = REPOSITORY / "tests" / "replay" / "sweep_sample"
SPACE = ("--space-output", "space.yaml", "--gpu", "cpu")
OF_12 = ("--load", "max_concurrency=12")


def replayed(folder: Path, told: str, *more: str) -> list[Trial]:
    """What the command that the import has printed finds."""
    (command,) = [line.removeprefix("Replay it: ") for line in told.splitlines() if line.startswith("Replay it: ")]
    first, *words = shlex.split(command)
    assert first == "tuner"
    done = tuner(folder, *words, "--study", "again", *more)
    assert done.returncode == 0, done.stderr
    assert "REPLAYED" in done.stdout
    store = Store.open(f"sqlite:///{folder / 'tuner.db'}", read_only=True)
    try:
        return list(store.trials("again"))
    finally:
        store.close()


def test_a_sweep_is_imported_and_replayed(tmp_path: Path) -> None:
    done = tuner(tmp_path, "import", str(SAMPLE), *OF_12, *SPACE)
    assert (done.returncode, done.stdout) == (0, "")
    assert "surface.jsonl: 7 launches of 4 settings, 1 of them failed" in done.stderr
    raw = [json.loads(path.read_text()) for path in SAMPLE.glob("*max_concurrency=12*/run=*.json")]
    trials = replayed(tmp_path, done.stderr, "--trials", "12", "--verify", "0", "--stop", "never")
    measured = [trial.outcome.load.output_throughput for trial in trials if isinstance(trial.outcome, Measured)]
    assert len(measured) >= 3
    assert set(measured) <= {run["output_throughput"] for run in raw}
    assert trials[0].is_default


def test_the_defaults_can_be_said(tmp_path: Path) -> None:
    given = (
        "--default",
        "max_num_seqs=16",
        "--default",
        "max_num_batched_tokens=2048",
        "--default",
        "stream-interval=8",
    )
    done = tuner(tmp_path, "import", str(SAMPLE), *OF_12, *SPACE, *given)
    assert done.returncode == 0, done.stderr
    assert "stands for them" not in " ".join(done.stderr.split())
    trials = replayed(tmp_path, done.stderr, "--trials", "1", "--verify", "0")
    chunked = SAMPLE.glob("*max_num_batched_tokens=2048*max_concurrency=12*/run=*.json")
    assert isinstance(trials[0].outcome, Measured)
    assert trials[0].outcome.load.output_throughput in [
        json.loads(path.read_text())["output_throughput"] for path in chunked
    ]


def test_nothing_that_was_assumed_is_kept_silent(tmp_path: Path) -> None:
    told = " ".join(tuner(tmp_path, "import", str(SAMPLE), *OF_12, *SPACE).stderr.split())
    assert "Nothing says what vLLM's defaults are: max_num_seqs=16" in told
    assert "Left out, for tuner has no such metric or setting: max_output_tokens_per_s" in told


def optuna_study(folder: Path, directions: Sequence[Direction]) -> Path:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'optuna.db'}")

    def objective(trial: optuna.Trial) -> tuple[float, ...] | float:
        seqs = trial.suggest_int("max_num_seqs", 8, 512, log=True)
        eager = trial.suggest_categorical("enforce_eager", [True, False])
        if trial.number == 1:
            raise RuntimeError("it did not start")
        throughput, latency = seqs * (1.0 if eager else 2.0), 5.0 * seqs
        return throughput if len(directions) == 1 else (throughput, latency)

    study = optuna.create_study(
        storage=storage, study_name="mine", directions=directions, sampler=optuna.samplers.RandomSampler(7)
    )
    study.optimize(objective, n_trials=12, catch=(RuntimeError,))
    storage.remove_session()
    storage.engine.dispose()
    return folder / "optuna.db"


@pytest.mark.parametrize("directions", [["maximize"], ["maximize", "minimize"]])
def test_an_optuna_study_is_imported_and_replayed(tmp_path: Path, directions: list[Direction]) -> None:
    path = optuna_study(tmp_path, directions)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    names = ["--objective-name", "throughput", "--objective-name", "ttft_p99_ms"][: 2 * len(directions)]
    done = tuner(tmp_path, "import", "--optuna", f"sqlite:///{path}", "--study", "mine", *names, *SPACE)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "12 launches of 11 settings, 1 of them failed" in done.stderr
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    space = (tmp_path / "space.yaml").read_text()
    assert "max_num_seqs: {type: int, low: 8, high: 512, log: true}" in space
    trials = replayed(tmp_path, done.stderr, "--trials", "15", "--verify", "2", "--stop", "never")
    for trial in trials:
        assert isinstance(trial.outcome, Measured | Failed)
        if isinstance(trial.outcome, Measured):
            assert trial.outcome.load.output_throughput
            assert (trial.outcome.load.ttft_s is not None) is (len(directions) == 2)


def test_a_postgresql_database_is_read_and_cannot_be_written(tmp_path: Path, postgres_url: str) -> None:
    storage = optuna.storages.RDBStorage(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    study = optuna.create_study(storage=storage, study_name="mine", direction="maximize")
    study.optimize(lambda trial: float(trial.suggest_int("max_num_seqs", 8, 64)), n_trials=3)
    storage.remove_session()
    storage.engine.dispose()
    done = tuner(tmp_path, "import", "--optuna", postgres_url, "--objective-name", "throughput")
    assert done.returncode == 0, done.stderr
    assert "3 launches" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "give a folder of `vllm bench sweep serve`, or --optuna with a database"),
        ((str(SAMPLE), "--optuna", "x.db"), "one of the two"),
        ((str(SAMPLE), "--study", "mine"), "--study is of an Optuna study"),
        ((str(SAMPLE), "--objective-name", "throughput"), "--objective-name is of an Optuna study"),
        (("--optuna", "x.db", "--load", "a=1"), "--load is of a sweep"),
        (("--optuna", "x.db"), "x.db does not exist: give the database of the study with --optuna"),
        (("--optuna", "mysql://me:pw@host/db"), "--optuna does not know 'mysql' databases"),
        (("--optuna", "sqlite://"), "--optuna needs a file"),
        ((str(SAMPLE),), "the runs have different loads"),
        ((str(SAMPLE), "--load", "max_concurrency"), "--load 'max_concurrency': expected NAME=VALUE"),
        ((str(SAMPLE), *OF_12, *OF_12), "--load max_concurrency is given twice"),
        ((str(SAMPLE), *OF_12, "--default", "nope=1"), "--default nope: no launch sets it"),
        ((str(SAMPLE), *OF_12, "--default", "max_num_seqs={a: 1}"), "--default max_num_seqs.a: no launch sets it"),
        ((str(SAMPLE), *OF_12, "--default", "Max Seqs=1"), "--default: 'Max Seqs' is no name of an argument of vLLM"),
        ((str(SAMPLE), *OF_12, "--space-output", "s.yaml"), "--space-output needs the card that was measured"),
        ((str(SAMPLE), *OF_12, "--gpu", "t4"), "--gpu is that of the search space"),
        ((str(SAMPLE), *OF_12, "--space-output", "s.yaml", "--gpu", "t5"), "there is no search space 't5'"),
        ((str(SAMPLE), *OF_12, "--space-output", "s.txt", "--gpu", "t4"), "a search space is a .yaml file"),
        ((str(SAMPLE), *OF_12, "--output", "a.yaml", "--space-output", "a.yaml", "--gpu", "t4"), "are the same file"),
        ((str(SAMPLE), *OF_12, "--output", "no/such/file"), "--output no/such/file cannot be written"),
        (("nowhere",), "nowhere does not exist"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(tmp_path: Path, arguments: tuple[str, ...], why: str) -> None:
    done = tuner(tmp_path, "import", *arguments)
    assert done.returncode == 2, done.stderr
    assert why in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert "pw" not in done.stderr.replace("WARNING", "")
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("not a database, but long enough to be looked at" * 40)
    done = tuner(tmp_path, "import", "--optuna", "x.db", "--objective-name", "throughput")
    assert done.returncode == 1
    assert "x.db is not a SQLite database: choose another --optuna" in done.stderr


def test_what_is_imported_is_not_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "run=0.json"
    source.write_text((SAMPLE / next(SAMPLE.glob("*/run=0.json")).relative_to(SAMPLE)).read_text())
    done = tuner(tmp_path, "import", str(source), "--output", str(source))
    assert done.returncode == 2
    assert "would be overwritten" in done.stderr
