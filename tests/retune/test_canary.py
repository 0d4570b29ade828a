"""Canaries on servers that answer pages, with an operator's commands that are real."""

import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from metrics_page import PageServer
from retuning import open_proposal, script, stored_study
from waiting import wait_for

from tuner.decide.slo import parse_slos
from tuner.errors import RunError
from tuner.record.proposals import Proposals, State
from tuner.record.store import Store
from tuner.retune import canary as module
from tuner.retune.canary import Ended, Order, finish_unfinished, run_canary
from tuner.retune.proposals import approve, reject
from tuner.sim.page import Counts, page


class Replica:
    """A server whose latency and restarts a test sets; its mode is read from a file, which the commands write."""

    def __init__(self, mode: Path | None = None) -> None:
        self._mode, self._was, self._lock = mode, "old", threading.Lock()
        self._counts, self._number = Counts(8192), 0
        for _ in range(100):
            self._counts.finish("length", 100, 11, 0.1, 1.1)

    def answer(self) -> tuple[int, str]:
        with self._lock:
            mode = self._mode.read_text().strip() if self._mode is not None and self._mode.exists() else "old"
            if mode == "down":
                return 503, ""
            if mode != self._was:
                self._was, self._counts = mode, Counts(8192)
            for _ in range(10):
                self._number += 1
                ttft_s = 0.1 * (1 + 0.1 * math.sin(self._number)) * (4 if mode == "slow" else 1)
                self._counts.finish("length", 100, 11, ttft_s, ttft_s + 1.0)
            return 200, page(self._counts, {"num_requests_running": 2, "num_requests_waiting": 0}, {}, {}, "m")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = stored_study(f"sqlite:///{tmp_path / 'x.db'}")
    yield opened
    opened.close()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The canary, whose mode is in `mode`, and another replica."""
    with PageServer(Replica(tmp_path / "mode").answer) as one, PageServer(Replica().answer) as other:
        yield f"{one.url}/metrics", f"{other.url}/metrics"


def order(folder: Path, url: str, *others: str, deploy: str = "good", slos: tuple[str, ...] = ()) -> Order:
    return Order(
        by="Ada",
        canary_cmd=f"echo {deploy} > {folder / 'mode'}",
        revert_cmd=f"echo old-again > {folder / 'mode'}",
        url=url,
        others=others,
        watch_s=2.4,
        slos=parse_slos(slos),
        config=folder / "config.yaml",
        command_timeout_s=30,
        health_timeout_s=3,
    )


def approved(store: Store, *urls: str) -> int:
    number = open_proposal(store, urls)
    approve(store, number, by="Ada", why="try it")
    return number


def tried(store: Store, wish: Order) -> tuple[Ended, int]:
    number = approved(store, wish.url)
    return run_canary(store, Proposals(store).get(number), wish, lambda _: None), number


def whats(store: Store, number: int) -> list[str]:
    return [one.what for one in Proposals(store).log(number)][2:]


def test_one_that_is_as_good_is_kept(store: Store, servers: tuple[str, str], tmp_path: Path) -> None:
    ended, number = tried(store, order(tmp_path, *servers, slos=("ttft_p99=5s",)))
    assert ended.state is State.DEPLOYED, ended
    assert (tmp_path / "mode").read_text() == "good\n"
    assert Proposals(store).get(number).state is State.DEPLOYED
    assert whats(store, number) == ["approved", "canary", "kept on the canary"]


def test_one_that_falls_behind_is_taken_back(store: Store, servers: tuple[str, str], tmp_path: Path) -> None:
    ended, number = tried(store, order(tmp_path, *servers, deploy="slow"))
    assert ended.state is State.REVERTED, ended
    assert "its mean TTFT is" in ended.why
    assert (tmp_path / "mode").read_text() == "old-again\n"
    assert whats(store, number) == ["approved", "canary", "reverting", "reverted"]


def test_one_that_misses_an_slo_is_taken_back(store: Store, servers: tuple[str, str], tmp_path: Path) -> None:
    ended, _ = tried(store, order(tmp_path, *servers, deploy="slow", slos=("ttft_p99=300ms",)))
    assert ended.state is State.REVERTED
    assert "it misses the SLO ttft_p99 of 300 ms" in ended.why


@pytest.mark.parametrize(("deploy", "state"), [("good", State.DEPLOYED), ("slow", State.REVERTED)])
def test_without_another_replica_it_is_compared_with_itself_before(
    deploy: str, state: State, store: Store, servers: tuple[str, str], tmp_path: Path
) -> None:
    ended, _ = tried(store, order(tmp_path, servers[0], deploy=deploy))
    assert ended.state is state, ended


def test_one_that_does_not_come_up_is_taken_back(store: Store, servers: tuple[str, str], tmp_path: Path) -> None:
    ended, _ = tried(store, order(tmp_path, *servers, deploy="down"))
    assert ended.state is State.REVERTED
    assert "it did not come up within 3 s" in ended.why
    assert "HTTP 503" in ended.why


def test_a_command_that_deploys_nothing_is_seen(store: Store, servers: tuple[str, str], tmp_path: Path) -> None:
    ended, _ = tried(store, replace(order(tmp_path, *servers), canary_cmd="true"))
    assert ended.state is State.REVERTED
    assert "it is the old process" in ended.why


@pytest.mark.parametrize(
    ("command", "why"),
    [("echo no such pod; exit 4", "exit code 4 after 0 s: no such pod"), ("sleep 100", "still running after")],
)
def test_a_command_that_fails_or_hangs_is_taken_back_and_the_proposal_has_failed(
    command: str, why: str, store: Store, servers: tuple[str, str], tmp_path: Path
) -> None:
    wish = replace(order(tmp_path, *servers), canary_cmd=command, command_timeout_s=1.5)
    ended, number = tried(store, wish)
    assert ended.state is State.FAILED
    assert why in ended.why
    assert "the old config is back: mend --canary-cmd, and approve it again" in ended.why
    assert (tmp_path / "mode").read_text() == "old-again\n"
    assert whats(store, number) == ["approved", "canary", "reverting", "reverted"]
    assert approve(store, number, by="Ada", why="mended").state is State.APPROVED


@pytest.mark.parametrize("command", ["exit 5", "sleep 100"])
def test_a_revert_that_fails_or_hangs_says_what_to_do_now(
    command: str, store: Store, servers: tuple[str, str], tmp_path: Path
) -> None:
    wish = replace(order(tmp_path, *servers, deploy="slow"), revert_cmd=command, command_timeout_s=1.5)
    ended, number = tried(store, wish)
    assert ended.state is State.FAILED
    assert f"The new config may still run on {wish.url}: take it back by hand" in ended.why
    assert whats(store, number)[-1] == "revert failed"


def test_the_commands_are_told_and_are_not_stored(store: Store, servers: tuple[str, str], tmp_path: Path) -> None:
    told = tmp_path / "told"
    wish = order(tmp_path, *servers)
    deploy = script(tmp_path, "deploy", f"env | grep ^TUNER_ > {told}\n{wish.canary_cmd}")
    _, number = tried(store, replace(wish, canary_cmd=f"{deploy} --secret-flag hunter22"))
    said = dict(line.split("=", 1) for line in told.read_text().splitlines())
    assert said["TUNER_PROPOSAL_CONFIG"] == str(tmp_path / "config.yaml")
    assert said["TUNER_CANARY_URL"] == servers[0].removesuffix("/metrics")
    assert said["TUNER_PROPOSAL"] == str(number)
    data = b"".join(file.read_bytes() for file in tmp_path.glob("x.db*"))
    assert b"hunter22" not in data


def test_an_interrupted_one_is_taken_back(
    store: Store, servers: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_watched", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tried(store, order(tmp_path, *servers))
    (left,) = Proposals(store).listed()
    assert left.state is State.REVERTED
    assert (tmp_path / "mode").read_text() == "old-again\n"
    assert Proposals(store).log()[-1].why == "tuner was interrupted"


def test_only_what_is_approved_is_tried(store: Store, servers: tuple[str, str], tmp_path: Path) -> None:
    number = open_proposal(store, servers)
    with pytest.raises(RunError, match="is open, and from there it cannot become canary"):
        run_canary(store, Proposals(store).get(number), order(tmp_path, *servers), lambda _: None)
    assert not (tmp_path / "mode").exists()


_KILLED = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from tuner.record.store import Store
from tuner.record.proposals import Proposals
from tuner.retune.canary import Order, run_canary
store = Store.open({url!r})
wish = Order(by="Ada", canary_cmd="echo slow > {mode}; echo $$ > {began}; sleep 300", revert_cmd="true", url={canary!r},
             others=({other!r},), watch_s=60, slos=(), config=Path("x"))
run_canary(store, Proposals(store).get({number}), wish, print)
"""


@pytest.mark.parametrize("how", ["revert", "by hand"])
def test_what_a_killed_tuner_left_is_seen_and_taken_back(
    how: str, store: Store, servers: tuple[str, str], tmp_path: Path
) -> None:
    number = approved(store, *servers)
    began, mode = tmp_path / "began", tmp_path / "mode"
    program = _KILLED.format(
        tests=str(Path(__file__).parents[1]), url=store.url, mode=mode, began=began, canary=servers[0], other=servers[1],
        number=number,
    )  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", program], start_new_session=True) as process:
        wait_for(lambda: began.exists() and began.read_text().endswith("\n"), 60)
        with pytest.raises(RunError, match="is under way"):
            reject(store, number, by="Ada", why="no")
        assert finish_unfinished(store, None, "Ada", lambda _: None) == []  # it lives
        process.send_signal(signal.SIGKILL)
    with pytest.raises(RunError, match="give --revert-cmd, which takes it back, or take it back by hand"):
        finish_unfinished(store, None, "Ada", lambda _: None)
    if how == "revert":
        command = int(began.read_text())
        (ended,) = finish_unfinished(store, f"echo old-again > {mode}", "Ada", lambda _: None)
        assert ended.state is State.REVERTED
        assert mode.read_text() == "old-again\n"
        assert not psutil.pid_exists(command) or psutil.Process(command).status() == psutil.STATUS_ZOMBIE
        assert finish_unfinished(store, None, "Ada", lambda _: None) == []
    else:
        assert reject(store, number, by="Ada", why="taken back by hand").state is State.REJECTED
        os.killpg(int(began.read_text()), signal.SIGKILL)
