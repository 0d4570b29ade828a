"""The fault matrix: what goes wrong on a machine at night, done to a real vLLM, and what must be left of it.

After each fault no process and no port is left, the trials that were finished are as they were, and `tuner show` names the
kind and says a sentence. The last test prints how many faults were survived.
"""

import ast
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from faults.lab import BETWEEN, LOAD, LOADING, STOP, Lab, Saboteur, strike, strike_each
from faults.matrix import COVERED, FAULTS, SERVER, WHEN, small_disk, stale_server
from faults.study import FaultyStudy, roles
from faults.suicide import MOMENTS
from waiting import free_port, wait_for

from tuner.cli.history import show
from tuner.errors import RunError
from tuner.launch import vllm
from tuner.types import Failed, FailureKind, Measured, Trial

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
SURVIVED: set[str] = set()
SKIPPED: set[str] = set()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, engine_python: Path, demo_model: Path) -> Iterator[Lab]:
    """A study whose defaults are measured."""
    folder = tmp_path_factory.mktemp("faults")
    found = Lab(folder, engine_python, shutil.copytree(demo_model, folder / "model"))
    assert isinstance(found.one_more().outcome, Measured)
    yield found
    found.close()


def assert_shown(lab: Lab, trial: Trial, kind: FailureKind, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(trial.outcome, Failed)
    assert (trial.outcome.kind, sentence in trial.outcome.message) == (kind, True), trial.outcome.message
    show("s", trial.number, lab.setup.storage)
    shown = capsys.readouterr().out
    assert f"trial {trial.number}: {kind.value}" in shown
    assert " ".join(f"{kind.value}: {trial.outcome.message}".split()) in " ".join(
        shown.split()
    )  # vLLM's lines have tabs


def assert_plain_again(lab: Lab, trial: Trial, watch: Saboteur, before: int) -> None:
    """Launched twice, the second time plainly, and measured."""
    assert isinstance(trial.outcome, Measured)
    assert [start for _, _, start in lab.launches()[before:]] == ["warm", "plain"]
    assert [note for note in watch.notes if note.startswith("once more: crashed: ")]


@pytest.mark.parametrize("phase", WHEN)
@pytest.mark.parametrize("victim", SERVER)
def test_kill_9_of_a_process_of_the_server(
    lab: Lab, victim: str, phase: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """While it loads the fork may be to blame, so it is started plainly; under load it has crashed; when it is stopped, all
    is measured."""
    before = len(lab.launches())
    watch = Saboteur(phase, strike(victim, once="worker" if victim == "worker" else "EngineCore"))
    trial = lab.one_more(watch)
    if phase == LOADING:
        assert_plain_again(lab, trial, watch, before)
    elif phase == LOAD:
        assert_shown(lab, trial, FailureKind.CRASHED, "the server's process ended while it was under load; ", capsys)
    else:
        assert isinstance(trial.outcome, Measured)
    SURVIVED.add(f"kill -9 of {victim} {WHEN[phase]}")


@pytest.mark.parametrize("phase", WHEN)
def test_kill_9_of_the_host(lab: Lab, phase: str) -> None:
    """Its servers die with it, and the attempt is repeated from a new one."""
    before = len(lab.launches())
    watch = Saboteur(phase, strike("fork server", once="EngineCore"))
    assert isinstance(lab.one_more(watch).outcome, Measured)
    assert [start for _, _, start in lab.launches()[before:]] == ["warm"] * (1 if phase == STOP else 2)
    assert bool(watch.notes) == (phase != STOP)
    SURVIVED.add(f"kill -9 of fork server {WHEN[phase]}")


def test_kill_9_of_a_load_worker(lab: Lab) -> None:
    """Half a load measures nothing: the attempt is repeated."""
    before = len(lab.launches())
    watch = Saboteur(LOAD, strike("load worker"))
    assert isinstance(lab.one_more(watch).outcome, Measured)
    assert [start for _, _, start in lab.launches()[before:]] == ["warm", "warm"]
    assert [
        note
        for note in watch.notes
        if note.startswith("once more: client bound: a process of the load generator ended")
    ]
    SURVIVED.add("kill -9 of a load worker under load")


def test_an_engine_that_hangs_is_stalled(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """/health stays 200, but no token comes."""
    trial = lab.one_more(Saboteur(LOAD, strike("EngineCore", signal.SIGSTOP)))
    assert_shown(lab, trial, FailureKind.STALLED, "accepts requests, but for 6 s no byte came for any of the 4", capsys)
    SURVIVED.add("hung server")


def test_a_trial_that_takes_too_long(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    slow = replace(lab.setup, trial_timeout_s=6.0, workload=replace(lab.setup.workload, window_s=60.0))
    trial = lab.one_more(setup=slow)
    assert_shown(lab, trial, FailureKind.TRIAL_TIMEOUT, "not done within 6 s (--trial-timeout); the server was", capsys)
    SURVIVED.add("trial timeout")


def test_a_server_that_does_not_become_ready(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    hasty = replace(lab.setup, launcher=replace(lab.setup.launcher, startup_timeout_s=0.3))
    assert_shown(lab, lab.one_more(setup=hasty), FailureKind.START_TIMEOUT, "not ready in time; last line: ", capsys)
    SURVIVED.add("start timeout")


@pytest.mark.parametrize("times", [1, 2])
def test_a_stale_server_on_the_port(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, times: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is never taken for ours, nor stopped; the launch is repeated once on another port."""
    watch = Saboteur()
    with stale_server() as (server, port):
        ports = [port] * times
        lab.stale_ports.add(port)
        monkeypatch.setattr(vllm, "_free_port", lambda: ports.pop() if ports else free_port())
        if times == 1:
            assert isinstance(lab.one_more(watch).outcome, Measured)
        else:
            with pytest.raises(RunError, match=r"port in use: .*run the same command again"):
                lab.one_more(watch)
            assert_shown(lab, lab.store.unfinished("s")[0], FailureKind.PORT_IN_USE, "Address already in use", capsys)
        assert server.poll() is None
    assert watch.notes[0].startswith("once more: port in use: ")
    SURVIVED.add("stale server on the port" if times == 1 else "stale servers on both ports")


def test_a_database_locked_for_5_s(lab: Lab) -> None:
    """tuner waits, and loses nothing; what is locked for longer than 10 s ends it with a sentence."""

    def lock() -> None:
        with closing(sqlite3.connect(lab.database, isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
            locked.append(time.monotonic())
            time.sleep(5)
            locked.append(time.monotonic())

    locked: list[float] = []
    watch = Saboteur(LOADING, lock)
    assert isinstance(lab.one_more(watch).outcome, Measured)
    assert time.monotonic() > locked[1] > locked[0] + 5
    SURVIVED.add("database locked for 5 s")


def test_a_model_folder_that_is_deleted_between_trials(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """The study stops, the trial is not counted, and the same command goes on once the folder is back."""
    away = lab.model.with_name("away")
    with pytest.raises(RunError, match=r"model not found: .*run the same command again") as stopped:
        lab.one_more(Saboteur(BETWEEN, lambda: lab.model.rename(away)))
    assert stopped.value.exit_code == 1
    (trial,) = lab.store.unfinished("s")
    assert_shown(lab, trial, FailureKind.MODEL_NOT_FOUND, "", capsys)
    away.rename(lab.model)
    again = lab.one_more()
    assert again.number == trial.number
    assert isinstance(again.outcome, Measured)
    SURVIVED.add("model folder deleted between trials")


def test_a_host_on_which_every_start_dies(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """No setting is to blame: the study stops, and the same command goes on with the same trial."""
    with pytest.raises(RunError, match=r"defaults fail alike: .*run the same command again"):
        lab.one_more(Saboteur(LOADING, strike_each("EngineCore", 3)))
    (trial,) = lab.store.unfinished("s")
    assert_shown(lab, trial, FailureKind.DEFAULTS_FAIL, "vLLM's defaults do not start either: ", capsys)
    again = lab.one_more()
    assert again.number == trial.number
    assert isinstance(again.outcome, Measured)
    SURVIVED.add("every start dies, the defaults' too")


def test_a_disk_that_is_full_for_the_log(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The settings are not to blame, so the study stops, and the trial is not counted."""
    with small_disk(tmp_path) as reason:
        if reason:
            SKIPPED.add("disk full for the log")
            pytest.skip(f"no small disk: {reason}")
        with pytest.raises(RunError, match=f"the disk of {tmp_path}/s is full.*run the same command again"):
            lab.one_more(setup=replace(lab.setup, logs=tmp_path))
    assert_shown(lab, lab.store.unfinished("s")[0], FailureKind.DISK_FULL, "see --log-dir", capsys)
    assert isinstance(lab.one_more().outcome, Measured)
    SURVIVED.add("disk full for the log")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, engine_python: Path, lab: Lab) -> FaultyStudy:
    folder = tmp_path_factory.mktemp("killed")
    return FaultyStudy(folder, engine_python, lab.model, "--trials", "2", "--cache-dir", str(lab.cache))


@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_9_of_tuner(study: FaultyStudy, moment: str) -> None:
    """Each time the same command goes on where the one before was killed; the last test lets it end."""
    before = study.finished()
    program = f"import sys; sys.path.insert(0, {str(HERE)!r}); from faults.suicide import main; main({moment!r})"
    with study.running(program=("-c", program)) as tuner:
        assert tuner.wait(120) == -signal.SIGKILL, study.output.read_text()
    wait_for(lambda: not study.processes(), 60)
    after = study.finished()
    assert before.items() <= after.items()
    assert len(after) == len(before) + (moment == MOMENTS[-1])
    SURVIVED.add(f"kill -9 of tuner {moment}")


def test_kill_9_of_the_host_while_it_imports_and_the_same_command_ends_the_study(study: FaultyStudy) -> None:
    """vLLM is imported again; and after all kills every trial was finished once, in ours and in Optuna's table."""
    before = study.finished()
    with study.running() as tuner:
        wait_for(lambda: "fork server" in roles(tuner.pid))
        roles(tuner.pid)["fork server"].kill()
        assert tuner.wait(300) == 0, study.output.read_text()
    assert study.processes() == []
    assert before.items() <= study.finished().items()
    rows = study.rows("SELECT number, state, failure_kind FROM tuner_trial ORDER BY number")
    assert rows == [(0, "finished", None), (1, "finished", None)]
    assert study.rows("SELECT number, state FROM trials ORDER BY number") == [(0, "COMPLETE"), (1, "COMPLETE")]
    assert study.rows("SELECT count(*) FROM tuner_launch WHERE ended_at IS NULL") == [(0,)]
    assert "Traceback" not in study.output.read_text()
    SURVIVED.add("kill -9 of fork server while it imports vLLM")


@pytest.mark.parametrize("test", sorted(COVERED.values()))
def test_a_fault_of_another_file_is_tested_there(test: str) -> None:
    file, name = test.split("::")
    functions = [node.name for node in ast.walk(ast.parse((HERE / file).read_text())) if hasattr(node, "name")]
    assert name in functions


def test_the_matrix_is_whole(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    """The last test of this file: prints the count."""
    count, wanted = len(SURVIVED) + len(COVERED), len(FAULTS) + len(COVERED)
    with capsys.disabled():
        sys.stdout.write(f"\nfault matrix: {count} of {wanted} faults survived\n")
    mine = [item for item in request.session.items if item.path == Path(__file__)]
    if len(mine) < len(FAULTS):
        pytest.skip("only a part of the matrix was run")
    assert SURVIVED | SKIPPED == FAULTS
