"""Whole studies on a PostgreSQL that restarts, is away, or is all that a killed study leaves: nothing is lost, nothing doubled.

Replayed studies, whose time is virtual, so that one that was disturbed must say the same as one that was not; and a simulated
one, which launches servers.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import psycopg
import pytest
import yaml
from own_postgres import Postgres
from replay_samples import SPACE, header, line, written
from waiting import wait_for

from tuner.record.store import Store
from tuner.types import Measured, Params, Trial

pytestmark = [pytest.mark.postgres, pytest.mark.long, pytest.mark.timeout(600)]
TRIALS = 8
SIM = ("--engine", "sim", "--gpu", "t4", "--verify", "0", "--window", "20", "--sampler", "random")


def replayed(folder: Path) -> tuple[str, ...]:
    """The options of a study that is answered from a file."""
    seqs = [line(100.0 + n, params={"max_num_seqs": n}) for n in (1, 2, 4, 8, 16, 32, 64, 128)]
    surface = written(folder, header(answer="nearest"), *seqs)
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE.model_dump(mode="json", exclude_none=True)))
    space = ("--space", str(folder / "space.yaml"), "--sampler", "random", "--verify", "2")
    return ("--engine", "replay", "--surface", str(surface), *space)


@contextmanager
def optimizing(
    folder: Path, url: str, study: str, *options: str, trials: int = TRIALS
) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tuner", "optimize", "--storage", url, "--study", study, "--trials", str(trials)]
    started = subprocess.Popen(
        [*command, *options], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def finished(url: str, study: str) -> list[Trial]:
    store = Store.open(url, read_only=True)
    try:
        return store.trials(study)
    finally:
        store.close()


def wait_for_trials(url: str, study: str, least: int) -> None:
    """Until so many are finished, asked of the tables."""
    count = (
        "SELECT count(*) FROM tuner_trial t JOIN tuner_study s ON s.id = t.study_id WHERE s.name = %s AND t.state = %s"
    )

    def is_there() -> bool:
        try:
            with psycopg.connect(url) as connection:
                found = connection.execute(count, (study, "finished")).fetchone()
        except psycopg.Error:  # no tables yet
            return False
        time.sleep(0.2)
        return found is not None and found[0] >= least

    wait_for(is_there, 200)


def told(trials: list[Trial]) -> list[tuple[int, Params, int, float | None]]:
    """What must be the same in two runs of a study."""
    outcomes = [one.outcome.load.output_throughput if isinstance(one.outcome, Measured) else 0 for one in trials]
    return [(one.number, one.params, one.attempts, outcome) for one, outcome in zip(trials, outcomes, strict=True)]


def in_optuna(url: str, study: str) -> list[tuple[int, str]]:
    storage = optuna.storages.RDBStorage(url.replace("postgresql://", "postgresql+psycopg://"))
    shown = optuna.load_study(study_name=study, storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    return [(one.number, one.state.name) for one in shown]


def test_studies_at_once_outlive_restarts_and_say_the_same(tmp_path: Path, postgres_server: Postgres) -> None:
    """Two coordinators of one database, which is restarted twice as by a power cut."""
    options, url = replayed(tmp_path), postgres_server.database()
    alone = f"sqlite:///{tmp_path / 'alone.db'}"
    with optimizing(tmp_path, alone, "a", *options) as one:
        assert one.wait(200) == 0
    with (
        optimizing(tmp_path, url, "a", *options) as a,
        optimizing(tmp_path, url, "b", *options) as b,
    ):
        for least in (1, TRIALS // 2):
            wait_for_trials(url, "b", least)
            postgres_server.restart()
        for each in (a, b):
            output, _ = each.communicate(timeout=500)
            assert each.returncode == 0, output
            assert "Traceback" not in output, output
    want = told(finished(alone, "a"))
    assert [one[0] for one in want] == list(range(TRIALS))
    for study in "ab":
        assert told(finished(url, study)) == want
        assert in_optuna(url, study) == in_optuna(alone, "a")


def test_launches_go_on_while_the_database_is_away(tmp_path: Path, postgres_server: Postgres) -> None:
    """Away for 6 s in the midst of a launch: the measurement is stored when it is back."""
    url = postgres_server.database()
    with optimizing(tmp_path, url, "s", *SIM, trials=3) as study:
        log = tmp_path / "tuner-logs" / "s" / "trial-1.log"
        wait_for(lambda: log.is_file() and "ready after" in log.read_text(), 200)
        postgres_server.stop()
        time.sleep(6)
        postgres_server.start()
        output, _ = study.communicate(timeout=500)
    assert study.returncode == 0, output
    trials = finished(url, "s")
    assert [(one.number, one.attempts) for one in trials] == [(0, 1), (1, 1), (2, 1)]
    assert [state for _, state in in_optuna(url, "s")] == ["COMPLETE"] * 3
    store = Store.open(url, read_only=True)
    assert store.open_launches() == []
    store.close()


def test_what_is_killed_while_the_database_is_away_is_kept(tmp_path: Path, postgres_server: Postgres) -> None:
    """Measured, not stored: the same command stores it, and launches it no second time."""
    url = postgres_server.database()
    kept = tmp_path / "tuner-logs" / "s"
    with optimizing(tmp_path, url, "s", *SIM, trials=3) as study:
        log = kept / "trial-1.log"
        wait_for(lambda: log.is_file() and "ready after" in log.read_text(), 200)
        postgres_server.stop()
        try:
            wait_for(lambda: any(kept.glob("kept-1-*.json")), 200)
            study.send_signal(signal.SIGKILL)
            study.communicate(timeout=30)
        finally:
            postgres_server.start()
    assert len(finished(url, "s")) == 1
    with optimizing(tmp_path, url, "s", *SIM, trials=3) as again:
        output, _ = again.communicate(timeout=500)
    assert again.returncode == 0, output
    assert [(one.number, one.attempts) for one in finished(url, "s")] == [(0, 1), (1, 1), (2, 1)]
    assert list(kept.glob("kept-*")) == []


def test_a_password_that_is_changed_meanwhile_is_one_sentence(tmp_path: Path, postgres_server: Postgres) -> None:
    """No server comes back from that, so nothing waits for it, and the password stands nowhere."""
    admin, name = postgres_server.database(), "other"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD 's3cr3t'".encode())
        url = admin.replace(admin[len("postgresql://") : admin.rindex("@")], f"{name}:s3cr3t")
        try:
            with optimizing(tmp_path, url, "s", *SIM, trials=2) as study:
                wait_for_trials(admin, "s", 1)
                connection.execute(f"ALTER ROLE {name} PASSWORD 'another'".encode())
                connection.execute(b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'other'")
                output, _ = study.communicate(timeout=60)
            assert study.returncode == 1, output
            assert output.count("password authentication failed") == 1
            assert "Traceback" not in output
            assert "s3cr3t" not in output
        finally:
            connection.execute(b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'other'")
    assert (tmp_path / "tuner-logs" / "s").is_dir()
