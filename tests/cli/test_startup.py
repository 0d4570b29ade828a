"""A command imports only what it uses: which of the libraries that are slow to import each may load, and what help says."""

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import REPOSITORY
from record_samples import COMMAND, MEASURED, NOW, STUDY, a_trial
from typer.main import get_command_name

from tuner.cli import commands
from tuner.decide.confidence import LEAST_PAIRS
from tuner.record.rows import Verification
from tuner.record.store import Store
from tuner.types import Measured

HEAVY = {
    *("aiohttp", "alembic", "numpy", "optuna", "prometheus_client", "pydantic", "pynvml"),
    *("scipy", "sqlalchemy", "yaml"),
}
#: Typer reads the values of a command with it.
TYPER = {"pydantic"}
#: Of a database of this tuner: no Alembic, and for the answer of a verified study no SciPy.
DATABASE = {*TYPER, "sqlalchemy", "yaml"}
#: The heavy libraries that a command may import, at most.
MAY_LOAD = {
    "--help": set[str](),
    "--version": set[str](),
    "studies": DATABASE,
    "trials a-study": DATABASE,
    "show a-study": DATABASE,
    "show a-study 0": DATABASE,
    "export a-study": DATABASE,
    "export a-study --format json": DATABASE,
    "export a-study --format yaml": DATABASE,
    "export a-study --format surface": DATABASE,
    "spaces": {*TYPER, "yaml"},
    "spaces show t4": {*TYPER, "yaml"},
    "studies --json -": DATABASE,
    "demo-model demo": TYPER,
    "install-engine taken": TYPER,
    "doctor": {*TYPER, "pynvml", "yaml"},
    "workload show chat": {*TYPER, "yaml"},
    "chat http://127.0.0.1:1": {*TYPER, "aiohttp", "yaml"},
    "workload from-metrics http://127.0.0.1:1": {*TYPER, "aiohttp", "prometheus_client", "yaml"},
}
PROGRAM = """
import atexit, sys
atexit.register(lambda: print("", *sys.modules, sep="\\n", file=open("modules", "w")))
sys.argv[0] = "tuner"
from tuner.cli import run
run()
"""


def named() -> Iterator[tuple[str, str]]:
    """Each command as it is typed, and the docstring of its function."""
    for prefix, group in (("", commands.app), ("workload ", commands.workload), ("spaces ", commands.spaces)):
        for command in group.registered_commands:
            assert command.callback is not None
            name = command.name or get_command_name(command.callback.__name__)
            yield prefix + name, inspect.getdoc(command.callback) or ""


DOCS = dict(named())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a study that is verified, and a folder that no engine is installed into, because it holds something else."""
    found = tmp_path_factory.mktemp("startup")
    store = Store.open(f"sqlite:///{found / 'tuner.db'}")
    store.create_or_get_study(STUDY)
    store.finish(STUDY.name, a_trial(0))
    store.finish(STUDY.name, a_trial(1, served(60.0)))
    store.begin_contest(STUDY.name, [1], 3, NOW)
    for turn, (trial, tokens) in enumerate(((0, 44.0), (1, 60.0), (1, 61.0), (0, 45.0), (0, 44.5), (1, 60.5))):
        again = Verification(
            round=1 + turn // 2,
            role="finalist" if trial else "defaults",
            trial_number=trial,
            command=COMMAND,
            outcome=served(tokens),
            started_at=NOW,
            ended_at=NOW,
        )
        store.add_verification(STUDY.name, again)
    store.close()
    (found / "taken").mkdir()
    (found / "taken" / "something").touch()
    return found


def served(tokens: float) -> Measured:
    return replace(MEASURED, load=replace(MEASURED.load, output_throughput=tokens))


def run(command: str, folder: Path) -> tuple[str, set[str]]:
    """What the command says, and all that it has imported when it ends."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER_")}
    arguments = [STUDY.name if word == "a-study" else word for word in command.split()]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env=clean | {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout, set((folder / "modules").read_text().split())


@pytest.mark.parametrize("command", MAY_LOAD)
def test_what_a_command_may_load(command: str, folder: Path) -> None:
    said, modules = run(command, folder)
    assert HEAVY & modules <= MAY_LOAD[command]
    assert "tuner.cli.commands" in modules
    assert said.strip() or MAY_LOAD[command] != DATABASE  # the database was read


def test_the_answer_of_the_study_needs_statistics(folder: Path) -> None:
    said, _ = run("show a-study", folder)
    assert "95 % interval" in said


@pytest.mark.parametrize("command", DOCS)
def test_the_help_of_a_command_loads_nothing_of_it(command: str, folder: Path) -> None:
    said, modules = run(f"{command} --help", folder)
    assert " ".join(DOCS[command].split("\n\n")[0].split()) in " ".join(said.split())
    assert HEAVY & modules <= TYPER
    ours = {name for name in modules if re.match(r"tuner\b", name) and not name.startswith("tuner.types.")}
    expected = {
        "tuner",
        "tuner.cli",
        "tuner.cli.commands",
        "tuner.cli.help",
        "tuner.cli.options",
        "tuner.cli.refusals",
        "tuner.errors",
        "tuner.types",
    }
    assert ours == expected | {"tuner.study", "tuner.study.options"}


@pytest.mark.parametrize("group", ["", "workload", "spaces"])
def test_the_lines_of_the_help_are_those_of_the_commands(group: str, folder: Path) -> None:
    said, _ = run(f"{group} --help", folder)
    rows = re.sub(r"\n {4,}", " ", said.split("Commands:\n")[1])  # folded
    lines = dict(re.findall(r"^  ([a-z-]+) {2,}(.+)$", rows, re.MULTILINE))
    heads = {name: " ".join(name.split()[:-1]) for name in DOCS}
    names = {name.split()[-1] for name, head in heads.items() if head == group}
    assert set(lines) == names | (set() if group else {"workload", "spaces"})
    for name in names:
        first = " ".join(DOCS[f"{group} {name}".strip()].split("\n\n")[0].split())
        assert lines[name] == first, name


def test_the_pairs_of_a_comparison_are_enough_for_a_verdict() -> None:
    assert commands.PAIRS == LEAST_PAIRS
