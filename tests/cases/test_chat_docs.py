"""docs/chat.md: its commands are run, its tables are those of the code."""

import re
import shlex
from pathlib import Path

import pytest
from commands import tuner
from conftest import REPOSITORY
from other_server import OtherServer
from test_chat_faults import good

from tuner.bench.chat_faults import Kind
from tuner.bench.chat_form import LAST_PART, TOGETHER_S
from tuner.bench.chatting import TIMEOUT_S
from tuner.launch.demo_model import make_demo_model
from tuner.predict.advise.checklist_server import LINES
from tuner.predict.error import ERROR
from tuner.workload.advice import ADVICE

TEXT = (REPOSITORY / "docs" / "chat.md").read_text()
COMMANDS = re.findall(r"^\$ (.+)$", TEXT, re.MULTILINE)


def first_cells(title: str) -> list[str]:
    rows = re.findall(r"^\| (.+?) \|", TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0], re.MULTILINE)
    return [row.strip("`") for row in rows[1:]]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs_as_written(command: str, tmp_path: Path) -> None:
    make_demo_model(tmp_path / "demo")
    with OtherServer(good(), head=b"") as server:
        _, *arguments = shlex.split(command.replace("http://127.0.0.1:8000", server.url))
        done = tuner(tmp_path, *arguments, TUNER_VLLM_PYTHON=str(tmp_path / "none"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tables_are_those_of_the_code() -> None:
    assert first_cells("What is told") == [kind.value for kind in Kind]
    assert first_cells("Advice for reasoning models") == [advice.family for advice in ADVICE]
    assert first_cells("The checklist") == list(LINES)
    for advice in ADVICE:
        assert advice.source in TEXT


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"{TOGETHER_S * 1000:g} ms apart" in TEXT
    assert LAST_PART == 1 / 20
    assert f"in {TIMEOUT_S:g} s" in TEXT
    assert ERROR.output_throughput is not None
    assert f"from {100 * ERROR.output_throughput:g} % on" in TEXT
