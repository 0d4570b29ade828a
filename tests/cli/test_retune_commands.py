"""`tuner watch`, `proposals`, `approve`, `reject` as a user types them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Done, tuner
from conftest import REPOSITORY
from metrics_page import PageServer
from retuning import UsedServer, open_proposal, stored_study
from waiting import wait_for

from tuner.record.proposals import Proposals, State
from tuner.record.store import Store
from tuner.retune.proposals import approve
from tuner.workload.stored import stored_workload


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = stored_study(f"sqlite:///{tmp_path / 'tuner.db'}")
    yield opened
    opened.close()


@pytest.fixture
def drifted() -> Iterator[str]:
    """A server whose answers are three times as long as the study had them, and whose requests come faster."""
    used = UsedServer()
    used.longer = 3.0
    with PageServer(used.answer) as server:
        yield server.url


@pytest.mark.usefixtures("store")
def test_a_drift_is_said_with_exit_code_3(drifted: str, tmp_path: Path) -> None:
    done = tuner(tmp_path, "watch", drifted, "--study", "prod", "--window", "0.1s", "--once", "--json", "found.json")
    assert done.returncode == 3, done.stderr
    assert "The traffic has drifted: " in done.stdout
    assert "- output tokens, mean: 128" in done.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["drifted"] is True
    assert found["proposal"] is None
    assert stored_workload(found["workload"]) is not None
    assert {"quantity", "more", "windows", "sentence"} == set(found["drifts"][0])


@pytest.mark.usefixtures("store")
def test_no_drift_is_said_with_exit_code_0(tmp_path: Path) -> None:
    with PageServer(UsedServer(requests=2).answer) as server:
        asked = ("--window", "0.2s", "--for", "1s", "--once", "--json", "-")
        done = tuner(tmp_path, "watch", server.url, "--study", "prod", *asked)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["drifted"] is False
    assert 1 <= found["windows"] <= 5  # fewer where the machine is busy
    assert f"No drift was found in {found['windows']} window" in done.stderr


def test_a_drift_queues_a_study_that_waits_for_its_hours(store: Store, drifted: str, tmp_path: Path) -> None:
    asked = ("--window", "0.1s", "--once", "--then", "queue", "--trials", "9")
    done = tuner(tmp_path, "watch", drifted, "--study", "prod", *asked)
    assert done.returncode == 3, done.stderr
    (proposal,) = Proposals(store).listed(State.TUNING)
    assert f"proposal 1: study {proposal.study_after} is queued; `tuner serve` runs it" in done.stderr
    shown = tuner(tmp_path, "proposals", "1")
    assert "proposal 1: tuning" in shown.stdout
    assert "study queued" in shown.stdout
    assert "tuning" in tuner(tmp_path, "proposals").stdout
    assert json.loads(tuner(tmp_path, "proposals", "--json", "-").stdout)["proposals"][0]["state"] == "tuning"


def refused(done: Done, code: int, text: str) -> None:
    assert done.returncode == code, (done.stdout, done.stderr)
    assert text in done.stderr
    assert done.stderr.count("Error: ") == 1
    assert "Traceback" not in done.stderr


BAD = {
    "watch ftp://x --study prod": (2, "is no server's URL"),
    "watch http://127.0.0.1:1 --study nope": (2, "no study 'nope'"),
    "watch http://127.0.0.1:1 --study prod": (1, "cannot be read: "),
    "watch http://127.0.0.1:1 --study prod --window 0m": (2, "--window '0m' is no duration"),
    "watch http://127.0.0.1:1 --study prod --for 1s": (2, "--for 1s is shorter than a window of 10m"),
    "watch http://127.0.0.1:1 --study prod --margin 1": (2, "--margin is 1 and must be above 1"),
    "watch http://127.0.0.1:1 --study prod --then tune": (2, "unknown --then 'tune'"),
    "watch http://127.0.0.1:1 --study prod --hours 1-5": (2, "--hours '1-5' is no time of day"),
    "watch http://127.0.0.1:1 --study prod --hours 01:00-05:00": (2, "give --then queue, too"),
    "watch http://127.0.0.1:1 --study prod --then queue --trials 0": (2, "--trials is 0"),
    "watch http://127.0.0.1:1 --study prod --storage none.db": (2, "none.db does not exist"),
    "proposals 7": (2, "has no proposal 7"),
    "proposals --state good": (2, "unknown --state 'good'"),
    "reject 7 --why no": (2, "has no proposal 7"),
    "approve 7 --why yes": (2, "has no proposal 7"),
    "approve 1": (2, "--why is missing"),
    "approve 1 --why yes --canary-cmd true": (2, "--revert-cmd and --canary-url missing"),
    "approve 1 --why yes --canary-cmd true --revert-cmd true --canary-url ftp://x": (2, "is no server's URL"),
    "approve 1 --why y --canary-cmd a --revert-cmd b --canary-url h:1 --watch 9": (2, "--watch '9' is no duration"),
    "approve 1 --why y --canary-cmd a --revert-cmd b --canary-url h:1 --slo x=1": (2, "--slo 'x=1'"),
    "approve 1 --why y --canary-cmd a --revert-cmd b --canary-url h:1 --replica h:1": (2, "is the canary itself"),
    "approve 1 --why y --config none.yaml": (2, "--config none.yaml cannot be read"),
    "approve 1 --why y --config odd.yaml": (2, "unknown 'canary-cmd' (did you mean 'canary_cmd'?)"),
}


@pytest.mark.parametrize("command", BAD)
def test_bad_input_is_one_sentence(command: str, store: Store, tmp_path: Path) -> None:
    open_proposal(store)
    (tmp_path / "odd.yaml").write_text("canary-cmd: ./x\n")
    before = Proposals(store).log()
    refused(tuner(tmp_path, *command.split()), *BAD[command])
    assert Proposals(store).log() == before


def test_approving_alone_deploys_nothing(store: Store, tmp_path: Path) -> None:
    number = open_proposal(store)
    done = tuner(tmp_path, "approve", str(number), "--by", "Ada", "--why", "staging is fine")
    assert done.returncode == 0, done.stderr
    assert "nothing is deployed" in done.stderr
    assert Proposals(store).get(number).state is State.APPROVED
    log = Proposals(store).log(number)[-1]
    assert (log.who, log.what, log.why) == ("Ada", "approved", "staging is fine")
    done = tuner(tmp_path, "reject", str(number), "--why", "changed my mind")
    assert done.returncode == 0
    refused(tuner(tmp_path, "approve", str(number), "--why", "again"), 1, "is rejected, and from there")


def test_a_failing_command_ends_with_1_and_says_what_to_do(store: Store, tmp_path: Path) -> None:
    number = open_proposal(store)
    (tmp_path / "canary.yaml").write_text("canary_cmd: 'echo boom; exit 9'\nrevert_cmd: touch back\nwatch: 1s\n")
    with PageServer(UsedServer().answer) as server:
        done = tuner(
            tmp_path, "approve", str(number), "--why", "y", "--canary-url", server.url, "--config", "canary.yaml"
        )
    refused(done, 1, "--canary-cmd ended with exit code 9 after 0 s: boom; the old config is back")
    assert (tmp_path / "back").exists()
    assert "max-num-seqs: 128" in (tmp_path / f"proposal-{number}.yaml").read_text()
    assert Proposals(store).get(number).state is State.FAILED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_takes_the_canary_back(number: signal.Signals, store: Store, tmp_path: Path) -> None:
    proposal = open_proposal(store)
    with PageServer(UsedServer().answer) as server:
        words = ("--canary-cmd", "touch out; sleep 300", "--revert-cmd", "touch back", "--canary-url", server.url)
        command = [sys.executable, "-m", "tuner", "approve", str(proposal), "--why", "y", *words, "--watch", "1s"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER_")}
        with subprocess.Popen(
            command, cwd=tmp_path, env={**clean, "PYTHONPATH": str(REPOSITORY)}, stderr=subprocess.PIPE, text=True
        ) as process:
            wait_for((tmp_path / "out").exists, 60)
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said
    assert (tmp_path / "back").exists()
    assert "tuner was interrupted; the old config is back" in said
    assert Proposals(store).get(proposal).state is State.REVERTED


def test_what_is_shown_of_a_server_cannot_write_to_the_terminal(store: Store, tmp_path: Path) -> None:
    number = open_proposal(store, ["http://x:1/[bold]\x1b[2J/metrics"])
    approve(store, number, by="[red]Ada", why="<script>")
    for arguments in (("proposals",), ("proposals", str(number))):
        shown = tuner(tmp_path, *arguments).stdout
        assert "\x1b" not in shown
        assert "[bold]" in shown
    assert "[red]Ada: approved: <script>" in shown
