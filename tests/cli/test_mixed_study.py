"""One command, a study on each card: a real Ray with simulated cards of two models, each on a node of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import commands
import conftest
import psutil
import pytest
from ray_processes import MARK, is_gone, is_on, marked
from typer.testing import CliRunner
from waiting import wait_for

from tuner.cli.commands import app
from tuner.record.store import Store
from tuner.types import Measured

CARDS = ("t4", "l4")
#: Long enough to be disturbed.
SLOW = ("--window", "300", "--max-window", "300")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ("--gpu t4,l4", 2, "--gpu t4,l4: several cards are tuned on a Ray cluster: give --executor ray, too, or name one card"),
        ("--gpu t4,h20 --executor ray", 2, "there is no search space 'h20' (did you mean 'h200'?)"),
        ("--gpu t4,t4 --executor ray", 2, "t4 is named twice"),
        ("--gpu t4,cpu --executor ray", 2, "cpu is no card"),
        ("--gpu t4,l4 --executor ray --price 2", 2, "--price with several cards (t4, l4)"),
        ("--gpu t4,l4 --executor ray --space x.yaml", 2, "--space with several cards (t4, l4)"),
        ("--gpu t4,l4 --executor ray --events x", 2, "--events with several cards"),
        ("--gpu t4,l4 --executor ray --trials 0", 2, "--trials is 0"),
        ("--gpu t4,l4 --executor ray --storage sqlite:////nowhere/x.db", 2, "/nowhere/x.db cannot be made"),
        ("--gpu t4,l4 --executor ray --address 127.0.0.1:1", 1, "no Ray cluster answers at 127.0.0.1:1"),
        ("--gpu t4,l4 --executor ray --address ray://h:1", 2, "is of a client or of the dashboard"),
        ("--gpu auto", 2, "--engine sim simulates a card, and --gpu is auto"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(arguments: str, code: int, sentence: str, tmp_path: Path) -> None:
    done = commands.tuner(tmp_path, "optimize", "--engine", "sim", *arguments.split())
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    said = done.stderr.splitlines()
    assert sum(line.startswith("Error: ") for line in said) == 1
    assert sentence in said[-1]


def test_the_help_says_it() -> None:
    help = " ".join(CliRunner().invoke(app, ["optimize", "--help"]).stdout.split())
    assert (
        "With --executor ray also several, t4,l4: a study on each, at once; auto: on all that the cluster has." in help
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cards, and a node for each model."""
    pytest.importorskip("ray", reason="no Ray: pip install 'tuner[ray]'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, str(os.getpid()))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        conftest._LOOPBACK.add(made.address.rpartition(":")[0])  # this host
        made.card_nodes = {card: made.add_node(num_cpus=2, resources={f"simulated-{card}": 1}) for card in CARDS}
        yield made
        made.shutdown()


class Command:
    """The command in a folder, as a user starts it."""

    def __init__(self, cluster: Any, folder: Path, *more: str) -> None:
        self.folder = folder
        words = [sys.executable, "-m", "tuner", "optimize", "--engine", "sim", "--gpu", ",".join(CARDS)]
        words += ["--executor", "ray", "--address", cluster.address, "--study", "mixed", "--sampler", "random"]
        words += ["--verify", "0", "--users", "2", "--model", "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", *more]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER_")}
        self.said = (folder / "said").open("wb")
        self.process = subprocess.Popen(
            words,
            cwd=folder,
            env={**clean, MARK: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
        )

    def ended(self) -> tuple[int, str, str]:
        """Its exit code, and what it said on both of its streams."""
        shown, _ = self.process.communicate(timeout=240)
        self.said.close()
        return self.process.returncode, shown, (self.folder / "said").read_text()

    def coordinator(self, card: str) -> psutil.Process:
        found = [one for one in marked(f"--gpu={card}") if "guard.py" not in " ".join(one.cmdline())]
        assert len(found) == 1, found
        return found[0]


def servers(card: str) -> list[psutil.Process]:
    """The simulated servers of that card."""
    return [one for one in marked("tuner.sim") if f"--gpu {card} " in _words(one)]


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def measured(folder: Path) -> dict[str, int]:
    """How many trials of each study are."""
    with closing(Store.open(f"sqlite:///{folder / 'tuner.db'}")) as store:
        names = [record.name for record in store.studies()]
        return {name: sum(isinstance(one.outcome, Measured) for one in store.trials(name)) for name in names}


@pytest.mark.ray
def test_each_card_has_a_study_and_none_runs_on_the_others_card(cluster: Any, tmp_path: Path) -> None:
    command = Command(cluster, tmp_path, "--trials", "2")
    seen = dict[str, set[str]]()
    while command.process.poll() is None:
        for card in CARDS:
            places = {place for one in servers(card) for place, node in cluster.card_nodes.items() if is_on(node, one)}
            seen[card] = seen.get(card, set()) | places
        time.sleep(0.2)
    code, shown, said = command.ended()
    assert code == 0, said
    assert seen == {"t4": {"t4"}, "l4": {"l4"}}
    assert measured(tmp_path) == {"mixed-t4": 2, "mixed-l4": 2}
    rows = shown.splitlines()
    assert [row.split()[0] for row in rows[:3]] == ["study", "mixed-t4", "mixed-l4"]
    assert all(" ended " in row for row in rows[1:3])
    assert rows[3:] == ["Export it: tuner export mixed-t4", "Export it: tuner export mixed-l4"]
    lines = said.splitlines()
    assert lines[:2] == ["t4: study mixed-t4", "l4: study mixed-l4"]
    for card in CARDS:
        assert any(line.startswith(f"{card} | SIMULATED trial 1: measured") for line in lines)


@pytest.mark.ray
def test_a_card_that_the_cluster_lacks_is_told_and_the_other_is_tuned(cluster: Any, tmp_path: Path) -> None:
    code, shown, said = Command(cluster, tmp_path, "--trials", "1", "--gpu", "t4,h200").ended()
    assert code == 1
    assert "h200 | Error: no node of the Ray cluster has 1 of simulated-h200" in said
    assert "h200: the study ended by exit code 1; t4 goes on" in said.splitlines()
    assert measured(tmp_path) == {"mixed-t4": 1}
    assert "Not finished: h200. Run the same command to go on." in shown.splitlines()


@pytest.mark.ray
def test_one_that_is_killed_leaves_the_other_alone_and_the_same_command_goes_on(cluster: Any, tmp_path: Path) -> None:
    command = Command(cluster, tmp_path, "--trials", "2")
    wait_for(lambda: bool(servers("l4") and servers("t4")), 120)
    left = servers("l4")
    command.coordinator("l4").kill()
    code, shown, said = command.ended()
    assert code == 1, said
    assert "l4: the study ended by signal 9; t4 goes on" in said.splitlines()
    assert "Not finished: l4. Run the same command to go on." in shown.splitlines()
    assert measured(tmp_path)["mixed-t4"] == 2
    wait_for(lambda: is_gone(left), 30)
    code, shown, said = Command(cluster, tmp_path, "--trials", "2").ended()
    assert code == 0, said
    assert measured(tmp_path) == {"mixed-t4": 2, "mixed-l4": 2}
    assert "t4 | SIMULATED 2 of 2 trials are finished already" in said


@pytest.mark.ray
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_whatever_ends_the_command_ends_all(cluster: Any, tmp_path: Path, number: int, code: int) -> None:
    command = Command(cluster, tmp_path, "--trials", "2", *SLOW)
    wait_for(lambda: bool(servers("l4") and servers("t4")), 120)
    time.sleep(1)
    left = [*servers("l4"), *servers("t4"), *map(command.coordinator, CARDS)]
    command.process.send_signal(number)
    ended, _, said = command.ended()
    assert ended == code
    if number == signal.SIGKILL:
        wait_for(lambda: is_gone(left), 40)
        return
    assert is_gone(left)
    assert " ".join(said.split()).endswith(
        "Interrupted: all servers are stopped and every finished trial is kept. Run the same command to go on."
    )
