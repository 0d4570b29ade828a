"""Tables at any width: names and values are whole, no line is longer than the console, none ends in blanks."""

import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from commands import tuner
from conftest import REPOSITORY
from rich.console import Console
from rich.table import Table

from tuner.cli.tables import prose, show
from tuner.space.files import load_space

NAME, LONG = "sim-t4-DeepSeek-R1-Distill-Qwen-1.5B-chat", "max_num_batched_tokens=8192 gpu_memory_utilization=0.95 " * 2


def table() -> Table:
    made = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("#", "study", "TTFT p99 ms", "tok/s", "settings"):
        made.add_column(header, justify="right" if header == "#" else "left")
    made.add_row("7", NAME, "1,234.5", "2,676.0", LONG.strip(), style="bold green")
    made.add_row("12", "b", "-", "-", "a=[1,2]".replace("[", "\\["))
    return made


def shown(width: int) -> list[str]:
    file = StringIO()
    show(Console(width=width, file=file), table())
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [44, 60, 80, 100, 120, 200, 100_000])
def test_nothing_is_cut_at_any_width(width: int) -> None:
    lines = shown(width)
    for whole in (NAME, "1,234.5", "2,676.0", "max_num_batched_tokens=8192", "gpu_memory_utilization=0.95", "a=[1,2]"):
        assert any(whole in line for line in lines), whole
    assert all(len(line) <= width and line == line.rstrip() for line in lines)
    assert not any("…" in line for line in lines)


def test_the_settings_stand_beside_below_or_in_a_card() -> None:
    assert len(shown(100_000)) == 3
    assert shown(100)[0].split() == ["#", "study", "TTFT", "p99", "ms", "tok/s"]
    assert shown(100)[2].startswith("    max_num_batched_tokens=8192")
    assert shown(60)[0] == "#7"
    assert shown(60)[1] == f"  study {NAME},"


def test_a_sentence_is_folded_at_words_and_not_at_all_in_a_pipe() -> None:
    file = StringIO()
    prose(Console(width=20, file=file), "one two three four five six")
    prose(Console(width=100_000, file=file), "word " * 100)
    lines = file.getvalue().splitlines()
    assert lines[:2] == ["one two three four", "five six"]
    assert len(lines) == 3


def piped(**environment: str) -> list[str]:
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | environment
    command = [sys.executable, "-m", "tuner", "spaces"]
    return subprocess.run(
        command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_columns_rules_in_a_pipe() -> None:
    wide, narrow = piped(), piped(COLUMNS="60")
    assert len(wide) < len(narrow)
    assert max(map(len, narrow)) <= 60
    assert all(line == line.rstrip() for line in (*wide, *narrow))


def test_the_space_of_the_document_is_read(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "docs" / "spaces.md").read_text(), re.DOTALL)
    (tmp_path / "mine.yaml").write_text(text)
    assert set(load_space(tmp_path / "mine.yaml").parameters) == {
        "max_num_seqs",
        "gpu_memory_utilization",
        "quantization",
        "compilation_config.cudagraph_mode",
    }


def test_a_space_that_is_shown_can_be_given_back() -> None:
    done = tuner(REPOSITORY, "spaces", "show", "t4")
    assert done.stdout == (REPOSITORY / "search_spaces" / "t4.yaml").read_text()
    wrong = tuner(REPOSITORY, "spaces", "show", "h100-80bg")
    assert wrong.returncode == 2
    assert "did you mean 'h100-80gb'" in wrong.stderr
    assert load_space("t4").name == "t4"
