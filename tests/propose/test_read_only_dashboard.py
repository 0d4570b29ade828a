"""tuner dashboard changes nothing, whoever asks; and what others delete of Optuna's is made anew from ours."""

import json
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import commands
import optuna
import pytest
from waiting import answers, free_port, wait_for

pytestmark = pytest.mark.timeout(300)
OPTIMIZE = ("optimize", "--engine", "sim", "--gpu", "t4", "--study", "s", "--verify", "0", "--window", "20")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a simulated study of two trials."""
    found = tmp_path_factory.mktemp("dashboard")
    done = commands.tuner(found, *OPTIMIZE, "--trials", "2")
    assert done.returncode == 0, done.stderr
    return found


@contextmanager
def served(folder: Path, *more: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    port = str(free_port())
    command = [sys.executable, "-m", "tuner", "dashboard", "--port", port, *more]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/dashboard/"))
            yield f"http://127.0.0.1:{port}", server
        finally:
            server.send_signal(signal.SIGINT)


def headers_of(url: str) -> dict[str, str]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return {name.lower(): value for name, value in answer.headers.items()}


def trial_of(url: str, number: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask(f"{url}/api/studies/1")[1])["trials"][number]
    return found


def ask(url: str, method: str = "GET", host: str | None = None, body: bytes | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url, method=method, data=body, headers={} if host is None else {"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_nothing_can_be_changed_and_only_this_machine_is_meant(folder: Path) -> None:
    before = (folder / "tuner.db").read_bytes()
    with served(folder) as (url, server):
        for method, path in (
            ("DELETE", "/api/studies/1"),
            ("POST", "/api/studies/1/rename"),
            ("PUT", "/api/studies/1/note"),
            ("POST", "/api/studies"),
            ("POST", "/api/trials/1/tell"),
            ("POST", "/api/artifacts/1/1"),
            ("DELETE", "/api/artifacts/1/1/00"),
            ("PUT", "/artifacts/1/1/00"),
        ):
            status, text = ask(f"{url}{path}", method, body=b"{}")
            assert (status, "only shows" in text) == (405, True)
        for strange in (
            "evil.example",
            "evil.example:80",
            "127.0.0.1.evil.example",
            "",
            "[",
            "localhost.evil",
            "127.0.0.1:1.evil",
        ):
            assert ask(f"{url}/api/studies", host=strange)[0] == 421, strange
        for ours in ("localhost", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:1"):
            assert ask(f"{url}/api/studies", host=ours)[0] == 200, ours
        status, text = ask(f"{url}/dashboard/")
        assert "s: SIMULATED" in text
        assert "tuner show STUDY" in text
        study = json.loads(ask(f"{url}/api/studies/1")[1])
        assert len(study["trials"]) == 2
        assert study["note"]["body"].startswith("**SIMULATED: no GPU")
        assert [one["key"] for one in study["user_attrs"]][:3] == ["reality", "verdict", "verified"]
        server.send_signal(signal.SIGINT)
        assert server.stderr
        assert server.stderr.read() == f"optuna-dashboard: {url}/dashboard/\n"
        assert server.wait(30) == 0
    assert (folder / "tuner.db").read_bytes() == before


def test_the_files_of_a_trial_are_given_and_no_other(folder: Path, tmp_path: Path) -> None:
    """Neither to another site's page, nor as a page of this one."""
    with served(folder) as (url, _):
        files = {one["filename"]: one["artifact_id"] for one in trial_of(url, 0)["artifacts"]}
        assert [*files] == ["trial-0.log", "trial-0-timeline.svg", "trial-0-timeline.json"]
        log = f"{url}/artifacts/1/1/{files['trial-0.log']}"
        status, text = ask(log)
        assert (status, text.startswith("SIMULATED: this is no vLLM")) == (200, True)
        assert ask(log, "HEAD") == (200, "")
        assert ask(log, host="evil.example")[0] == 421
        for name, kind in (("trial-0.log", "text/plain"), ("trial-0-timeline.svg", "image/svg+xml")):
            found = headers_of(f"{url}/artifacts/1/1/{files[name]}")
            assert found["content-type"].startswith(kind)
            assert "access-control-allow-origin" not in found
            assert (found["x-content-type-options"], "sandbox" in found["content-security-policy"]) == ("nosniff", True)
        assert json.loads(ask(f"{url}/artifacts/1/1/{files['trial-0-timeline.json']}")[1])["loads"][0]["t_s"]
        for path in ("1/1/00", "1/1/..%2f..%2fetc%2fpasswd", "1/../../etc/passwd", "1/1/", "", "1/1/" + "0" * 5000):
            assert ask(f"{url}/artifacts/{path}")[0] == 404, path
    outside = tmp_path / "trial-0.log"
    outside.write_text("outside")
    with closing(sqlite3.connect(folder / "tuner.db")) as database:
        ((before,),) = database.execute("SELECT log FROM tuner_launch WHERE trial_id = 1").fetchall()
        try:
            database.execute("UPDATE tuner_launch SET log = ? WHERE trial_id = 1", (str(outside),))
            database.commit()
            with served(folder) as (url, _):
                status, text = ask(f"{url}/artifacts/1/1/{files['trial-0.log']}")
                assert (status, "not below the folder of logs" in text) == (404, True)
        finally:
            database.execute("UPDATE tuner_launch SET log = ? WHERE trial_id = 1", (before,))
            database.commit()
    with served(folder, "--log-dir", str(tmp_path)) as (url, _):
        assert ask(f"{url}/artifacts/1/1/{files['trial-0.log']}")[0] == 404


def test_what_an_older_tuner_did_not_say_is_said_once_its_study_is_looked_at(folder: Path) -> None:
    def attributes() -> int:
        with closing(sqlite3.connect(f"file:{folder / 'tuner.db'}?mode=ro", uri=True)) as database:
            ((count,),) = database.execute(
                "SELECT (SELECT count(*) FROM study_system_attributes) + (SELECT count(*) FROM study_user_attributes)"
            ).fetchall()
            return int(count)

    before = attributes()
    with closing(sqlite3.connect(folder / "tuner.db")) as database:
        database.execute("DELETE FROM study_system_attributes WHERE key LIKE 'dashboard:%'")
        database.execute("DELETE FROM study_user_attributes")
        database.commit()
    assert attributes() < before
    with served(folder) as (url, _):
        wait_for(lambda: attributes() == before, 60)
        wait_for(lambda: "Trial 1" in trial_of(url, 1)["note"]["body"], 60)


def test_a_database_in_a_read_only_folder_is_shown(folder: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(folder / "tuner.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    mounted = subprocess.run(
        ["mount", "--bind", "-o", "ro", str(folder), str(tmp_path)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted read-only: {mounted.stderr.decode().strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(tmp_path)], check=True)
        with served(tmp_path) as (url, _):
            assert len(json.loads(ask(f"{url}/api/studies/1")[1])["trials"]) == 2
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.parametrize("port", ["0", "-1", "65536", "99999"])
@pytest.mark.parametrize("command", ["dashboard", "export"])
def test_a_port_that_is_none_is_one_sentence(folder: Path, command: str, port: str) -> None:
    done = commands.tuner(folder, command, *(["s"] if command == "export" else []), "--port", port)
    assert (done.returncode, done.stderr) == (2, f"Error: --port is {port} and must be 1 to 65535\n")


def test_a_taken_port_is_told_before_any_url(folder: Path) -> None:
    with served(folder) as (url, _):
        done = commands.tuner(folder, "dashboard", "--port", url.rpartition(":")[2])
        assert done.returncode == 2
        assert done.stderr.startswith("Error: 127.0.0.1:")


def test_whoever_listens_for_everybody_is_told(folder: Path) -> None:
    with served(folder, "--host", "0.0.0.0") as (_, server):
        server.send_signal(signal.SIGINT)
        assert server.stderr
        assert "has no password: whoever reaches" in server.stderr.readline()


def test_a_study_that_was_deleted_in_optuna_goes_on_from_ours(folder: Path) -> None:
    """As the plain optuna-dashboard's trash button does; the numbers of the trials and their values are as they were."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{folder / 'tuner.db'}"
    before = optuna.load_study(study_name="s", storage=url).get_trials()
    optuna.delete_study(study_name="s", storage=url)
    assert commands.tuner(folder, "studies").returncode == 0
    done = commands.tuner(folder, *OPTIMIZE, "--trials", "3")
    assert done.returncode == 0, done.stderr
    after = optuna.load_study(study_name="s", storage=url).get_trials()
    assert [(t.number, t.params, t.value, t.user_attrs) for t in after[:2]] == [
        (t.number, t.params, t.value, t.user_attrs) for t in before
    ]
    assert [t.state.name for t in after] == ["COMPLETE"] * 3


def test_tuner_delete_asks_and_leaves_nothing(folder: Path) -> None:
    """The last test of this file: the study is gone."""
    assert (folder / "tuner-logs" / "s").is_dir()
    done = commands.tuner(folder, "delete", "s")
    assert done.returncode == 2
    assert "would be deleted for good: say that you mean it with --yes" in done.stderr
    assert commands.tuner(folder, "delete", "none", "--yes").returncode == 2
    done = commands.tuner(folder, "delete", "s", "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("deleted: study 's', 3 trials, ")
    assert not (folder / "tuner-logs" / "s").exists()
    with closing(sqlite3.connect(folder / "tuner.db")) as database:
        for table in (
            "tuner_study",
            "tuner_trial",
            "tuner_launch",
            "tuner_process",
            "tuner_metric",
            "studies",
            "trials",
        ):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    nowhere = commands.tuner(folder, "delete", "s", "--yes", "--storage", "sqlite:///nowhere.db")
    assert "does not exist" in nowhere.stderr
    assert not (folder / "nowhere.db").exists()
