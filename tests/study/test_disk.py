"""A full disk and a locked database: one sentence within 15 s wherever they strike, and nothing is lost.

Real disks (tmpfs) and real locks, on the simulated engine, whose trials take seconds.
"""

import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import commands
import pytest
from record_samples import COMMAND, MEASURED, NOW, STUDY, TIMELINE, a_trial
from waiting import wait_for

from tuner.errors import StorageError
from tuner.record import connect
from tuner.record.aside import reserved, stored_or_kept, take_back
from tuner.record.rows import Verification
from tuner.record.store import Store
from tuner.types import Proposal, Resolved, Trial

pytestmark = pytest.mark.timeout(300)
#: From the moment that the database is locked.
SENTENCE_S = 15.0
OPTIMIZE = ("optimize", "--engine", "sim", "--gpu", "t4", "--study", "s", "--verify", "0", "--window", "20")


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def start(folder: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tuner", *OPTIMIZE, *more]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def sentence(output: str) -> str:
    assert "Traceback" not in output, output
    (line,) = re.findall(r"^Error: .*", output, re.MULTILINE)
    return str(line)


def finished(database: Path) -> list[int]:
    if not database.is_file():
        return []
    with closing(sqlite3.connect(database, timeout=0.1)) as connection, closing(connection.cursor()) as cursor:
        try:
            return [
                n for (n,) in cursor.execute("SELECT number FROM tuner_trial WHERE state = 'finished' ORDER BY number")
            ]
        except sqlite3.OperationalError:
            return []


@pytest.mark.parametrize("size", ["60k", "130k", "300k", "420k", "600k", "1100k"])
def test_a_full_disk_is_one_sentence_wherever_it_strikes(tmp_path: Path, size: str) -> None:
    """In the migration, in Optuna's tables, in ours, in the log folder; once there is room the same command goes on."""
    with disk(tmp_path / "small", size) as small:
        with start(small, "--trials", "30") as tuner:
            output, _ = tuner.communicate(timeout=200)
        assert tuner.returncode in (1, 2)
        assert "the disk is full" in sentence(output) or "No space left" in sentence(output)
        before = finished(small / "tuner.db")
        subprocess.run(["mount", "-o", "remount,size=16m", str(small)], check=True)
        with start(small, "--trials", str(len(before) + 1)) as again:
            output, _ = again.communicate(timeout=200)
        assert again.returncode == 0, output
        assert finished(small / "tuner.db") == list(range(len(before) + 1))


@pytest.mark.parametrize("output", ["/dev/full", "x.txt"])
def test_what_cannot_be_printed_or_exported_is_one_sentence(tmp_path: Path, output: str) -> None:
    done = commands.tuner(tmp_path, *OPTIMIZE, "--trials", "1")
    assert done.returncode == 0, done.stderr
    if output == "/dev/full":
        with Path("/dev/full").open("w") as full:
            for words in (["studies"], ["export", "s"], ["trials", "s"], ["show", "s"], ["spaces"]):
                command = [sys.executable, "-m", "tuner", *words]
                refused = subprocess.run(
                    command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False
                )
                assert (refused.returncode, sentence(refused.stderr).count("the disk is full")) == (1, 1)
                assert refused.stderr.count("\n") == 1
        return
    with disk(tmp_path / "small", "4k") as small:
        kept = small / output
        kept.write_text("what was there")
        done = commands.tuner(tmp_path, "export", "s", "--format", "json", "--output", str(kept))
        assert done.returncode == 1
        assert "the disk is full" in sentence(done.stderr)
        assert [path.name for path in small.iterdir()] == [output]
        assert kept.read_text() == "what was there"


@pytest.mark.parametrize("when", ["at the start", "while it loads", "while it measures"])
def test_a_locked_database_is_one_sentence_and_what_was_measured_is_kept(tmp_path: Path, when: str) -> None:
    database = tmp_path / "tuner.db"
    done = commands.tuner(tmp_path, *OPTIMIZE, "--trials", "1")
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        if when == "at the start":
            other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with start(tmp_path, "--trials", "2") as tuner:
            if when != "at the start":
                log = tmp_path / "tuner-logs" / "s" / "trial-1.log"
                ready = "" if when == "while it loads" else "POST /v1"
                wait_for(lambda: log.is_file() and (ready in log.read_text() or "startup complete" in log.read_text()))
                other.execute("BEGIN IMMEDIATE")
                began = time.monotonic()
            output, _ = tuner.communicate(timeout=120)
            took_s = time.monotonic() - began
        assert tuner.returncode == 1
        assert "is locked by another program" in sentence(output)
        assert took_s < SENTENCE_S + (15 if when != "at the start" else 5)  # the trial itself, and a busy machine
        other.execute("ROLLBACK")
    assert commands.tuner(tmp_path, *OPTIMIZE, "--trials", "2").returncode == 0
    assert finished(database) == [0, 1]
    assert list((tmp_path / "tuner-logs" / "s").glob("kept-*")) == []


def test_a_measurement_that_the_database_refuses_is_not_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits in a file beside the logs, without what is secret, and the same command stores it."""
    monkeypatch.setattr(connect, "BUSY_TIMEOUT_S", 0.2)
    store = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    store.create_or_get_study(STUDY)
    proposal, resolved = Proposal(number=0, params={"a": 1}, is_default=True), Resolved(settings={}, digest="d")
    store.begin("a study", proposal, COMMAND, resolved, NOW)
    secret = replace(COMMAND, environment={"HF_TOKEN": "s3cr3t", "OMP_NUM_THREADS": "1"})
    trial = replace(a_trial(0), command=secret, outcome=replace(MEASURED, timeline=TIMELINE))
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other, reserved(tmp_path):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match=r"is locked by another program.*trial 0 is kept in .*kept-0-.*json"):
            stored_or_kept(lambda: store.finish("a study", trial), tmp_path, STUDY, trial)
    (file,) = tmp_path.glob("kept-*.json")
    assert "s3cr3t" not in file.read_text()
    assert not (tmp_path / ".reserve").exists()
    taken: list[Trial | Verification] = []
    take_back(tmp_path, STUDY, taken.append)
    assert taken == [replace(trial, command=COMMAND)]
    assert not file.exists()
    store.finish("a study", *taken)  # type: ignore[arg-type]
    assert [one.timeline for one in store.timelines("a study")] == [TIMELINE]
    store.close()


@pytest.mark.parametrize("is_other", [True, False])
def test_a_kept_measurement_of_a_trial_that_another_host_has_measured_is_told(tmp_path: Path, is_other: bool) -> None:
    """Killed after it was stored and before its file was removed, it is the same, and nothing is to be told."""
    assert commands.tuner(tmp_path, *OPTIMIZE, "--trials", "1").returncode == 0
    store, logs = Store.open(f"sqlite:///{tmp_path / 'tuner.db'}"), tmp_path / "tuner-logs" / "s"
    (trial,) = store.trials("s")
    study = store.study("s")
    assert study is not None

    def refuse() -> None:
        raise StorageError("the database is away")

    ended_at = trial.ended_at + timedelta(seconds=60 if is_other else 0)
    with pytest.raises(StorageError):
        stored_or_kept(refuse, logs, study, replace(trial, ended_at=ended_at))
    done = commands.tuner(tmp_path, *OPTIMIZE, "--trials", "1")
    assert done.returncode == 0
    told = "a measurement of trial 0 that was kept here is left out: it was made again meanwhile"
    assert (told in done.stderr) is is_other
    assert store.trials("s") == [trial]
    assert list(logs.glob("kept-*")) == []
    store.close()


def test_a_study_that_could_not_begin_does_not_stay(tmp_path: Path) -> None:
    """A log folder that cannot be made, a name too long for one, requests that do not fit: whatever stops it before trial 0."""
    (tmp_path / "file").write_text("")
    for more in (["--log-dir", "file"], ["--study", "x" * 600], ["--max-model-len", "16"]):
        done = commands.tuner(tmp_path, *OPTIMIZE, *more, "--trials", "1")
        assert done.returncode in (1, 2)
        sentence(done.stderr)
        with closing(sqlite3.connect(tmp_path / "tuner.db")) as database:
            assert database.execute("SELECT count(*) FROM tuner_study").fetchone() == (0,)
