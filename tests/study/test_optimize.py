"""The main job on a real vLLM: killed and resumed, exported and run by hand, shown in a real browser.

One study serves all tests of this file, because each of its launches takes half a minute.
"""

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import commands
import psutil
import pytest
from waiting import answers, free_port, wait_for

from tuner.launch.processes import members
from tuner.record.store import Store
from tuner.types import Measured, present

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]
TRIALS = 3


class Study:
    """A folder with a study in it, and the command that continues it."""

    def __init__(self, folder: Path, engine: Path, model: Path) -> None:
        self.folder = folder
        self.storage = f"sqlite:///{folder / 'x.db'}"
        self.command = [
            sys.executable,
            "-m",
            "tuner",
            "optimize",
            "--gpu",
            "cpu",
            "--model",
            str(model),
            "--study",
            "a",
        ]
        self.command += ["--trials", str(TRIALS), "--storage", self.storage, "--vllm-python", str(engine)]
        self.command += ["--users", "8", "--warmup", "1", "--window", "4", "--precision", "0.5", "--verify", "2"]
        self.command += ["--cache-dir", str(folder / "cache")]

    def start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def tuner(self, *arguments: str) -> str:
        done = commands.tuner(self.folder, *arguments, "--storage", self.storage)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        try:
            with closing(sqlite3.connect(f"file:{self.folder / 'x.db'}?mode=ro", uri=True)) as database:
                return database.execute(sql).fetchall()
        except sqlite3.OperationalError:  # not there yet
            return []

    def sessions(self) -> list[int]:
        return [int(str(row[0])) for row in self.rows("SELECT pgid FROM tuner_launch")]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, engine_python: Path, demo_model: Path) -> Study:
    """Run to the second trial's launch, kill tuner with SIGKILL there, and run the same command to its end. The first launch
    of all is discarded."""
    found = Study(tmp_path_factory.mktemp("study"), engine_python, demo_model)
    with found.start() as first:
        wait_for(lambda: len(found.sessions()) == 3, 300)
        first.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(members(session) for session in found.sessions()), 30)
    with found.start() as second:
        output, _ = second.communicate()
        assert second.returncode == 0, output
        (found.folder / "output.txt").write_text(output)
    return found


def test_no_trial_is_lost_and_none_measured_twice(study: Study) -> None:
    rows = study.rows("SELECT number, state, attempts, failure_kind FROM tuner_trial ORDER BY number")
    assert rows == [(0, "finished", 1, None), (1, "finished", 2, None), (2, "finished", 1, None)]
    optuna_rows = study.rows("SELECT number, state FROM trials ORDER BY number")
    assert optuna_rows == [(number, "COMPLETE") for number in range(TRIALS)]
    launched = study.rows(
        "SELECT t.number, l.start FROM tuner_launch l JOIN tuner_trial t ON t.id = l.trial_id ORDER BY l.id"
    )
    assert launched[:5] == [(0, "warm"), (0, "warm"), (1, "warm"), (1, "warm"), (2, "warm")]
    assert {start for _, start in launched[5:]} <= {"plain"}  # none where the defaults were the best


def test_every_process_of_a_launch_was_recorded(study: Study) -> None:
    counts = study.rows("SELECT count(*) FROM tuner_process GROUP BY launch_id ORDER BY launch_id")
    finished = [count for (count,) in counts[:2] + counts[3:]]
    assert all(int(str(count)) >= 3 for count in finished), counts  # guard, API server, EngineCore


def test_no_process_is_left(study: Study) -> None:
    assert study.sessions()
    assert not any(members(session) for session in study.sessions())
    assert study.rows("SELECT count(*) FROM tuner_launch WHERE ended_at IS NULL") == [(0,)]


def test_trial_0_is_the_defaults_as_vllm_resolved_them(study: Study) -> None:
    store = Store.open(study.storage, read_only=True)
    defaults = store.trials("a")[0]
    store.close()
    assert defaults.is_default
    assert defaults.params["max_num_seqs"] == defaults.resolved["max_num_seqs"] == 128
    assert "--max-num-seqs" not in defaults.command.argv


def test_the_numbers_are_whole_and_agree_with_vllm(study: Study) -> None:
    store = Store.open(study.storage, read_only=True)
    for trial in store.trials("a"):
        assert isinstance(trial.outcome, Measured)
        found = trial.outcome
        assert found.load.failed == 0
        assert present(found.load.completed) >= 8
        assert found.server is not None
        assert found.server.prefix_cache_hits == 0
        assert found.server.agreement == pytest.approx(1, abs=0.1)  # two scrapes on a busy machine
        assert (
            present(present(found.load.ttft_s).p50)
            <= present(present(found.load.ttft_s).p99)
            < present(present(found.load.e2el_s).p99)
        )
        assert found.gpu is None  # absent, not zero
        assert found.server_cpu_cores is not None
        assert found.server_cpu_cores > 0
        assert found.kv_cache_tokens == 1048576
    store.close()


def test_the_end_is_a_table_and_an_answer(study: Study) -> None:
    output = (study.folder / "output.txt").read_text()
    assert "trial 1 was interrupted and is run again" in output
    assert "vLLM's defaults (trial 0): max_num_seqs=128" in output
    assert "Before and after" in output
    assert re.search(r"Output throughput .* tok/s .* tok/s", output)
    assert "tuner export a" in output


def test_the_result_can_be_asked_for_later(study: Study) -> None:
    assert " tok/s" in study.tuner("studies")
    listed = json.loads(study.tuner("trials", "a", "--json", "-"))["list"]
    assert [trial["failure"] for trial in listed] == [None] * TRIALS
    assert "Output throughput" in study.tuner("show", "a")
    shown = study.tuner("show", "a", "1")
    assert "ttft_p99_s" in shown
    assert "resolved max_model_len" in shown


def test_running_it_once_more_launches_nothing(study: Study) -> None:
    before = study.sessions()
    assert subprocess.run(study.command, cwd=study.folder, capture_output=True, check=False).returncode == 0
    assert study.sessions() == before


def test_the_exported_command_answers_a_chat_request(study: Study, tmp_path: Path) -> None:
    port = free_port()
    command = study.tuner("export", "a", "--trial", "1", "--port", str(port))
    model = json.loads(study.tuner("export", "a", "--trial", "1", "--format", "json"))["fingerprint"]["model"]
    assert shlex.quote(model) in command
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(["bash", "-c", command], stdout=log, stderr=log, start_new_session=True) as server,
    ):
        try:
            wait_for(lambda: server.poll() is not None or answers(f"http://127.0.0.1:{port}/health"), 300)
            body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/chat/completions",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
        finally:
            os.killpg(server.pid, signal.SIGKILL)
    assert answer["usage"]["completion_tokens"] == 5
    wait_for(lambda: not members(server.pid), 30)


@pytest.fixture
def dashboard(study: Study) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "tuner", "dashboard", "--storage", study.storage, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/dashboard/"), 60)
            addresses = {
                c.laddr.ip for c in psutil.Process(server.pid).net_connections() if c.status == psutil.CONN_LISTEN
            }
            assert addresses == {"127.0.0.1"}
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(30) == 0


@pytest.mark.browser
def test_optuna_dashboard_shows_the_study_and_its_metrics(
    study: Study, dashboard: str, text_of: Callable[[str], str]
) -> None:
    assert "1. a" in text_of(f"{dashboard}/dashboard/")
    page = text_of(f"{dashboard}/dashboard/studies/1/trials")
    assert f"{TRIALS} Trials" in page
    (value,) = study.rows("SELECT value FROM tuner_metric WHERE trial_id = 1 AND name = 'output_throughput'")[0]
    assert f"output_throughput {value}" in page
    assert "ttft_p99_s" in page


def test_ctrl_c_stops_the_server_and_keeps_what_is_finished(study: Study) -> None:
    """The last test of this file: it leaves a trial unfinished."""
    before = study.rows("SELECT count(*) FROM tuner_trial WHERE state = 'finished'")
    known = len(study.sessions())
    more = [*study.command, "--trials", str(TRIALS + 1)]
    with subprocess.Popen(more, cwd=study.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as tuner:
        wait_for(lambda: len(study.sessions()) > known, 300)
        tuner.send_signal(signal.SIGINT)
        output, _ = tuner.communicate(timeout=60)
    assert tuner.returncode == 130
    assert "every finished trial is kept" in output
    assert not members(study.sessions()[-1])
    assert study.rows("SELECT count(*) FROM tuner_trial WHERE state = 'finished'") == before
