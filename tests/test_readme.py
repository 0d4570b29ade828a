"""Every command and every YAML of the README is run: a README that lies costs a user more than none."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from commands import tuner
from conftest import REPOSITORY
from metrics_page import Page, PageServer

from tuner.workload.presets import load_workload

README = (REPOSITORY / "README.md").read_text()
COMMANDS = [shlex.split(line[2:]) for line in re.findall(r"^\$ .+$", README, re.MULTILINE)]
INDENTED = re.findall(r"^    (tuner .+?|make .+?)(?:\s+#.*)?$", README, re.MULTILINE)


#: Short windows.
FAST = {"TUNER_USERS": "4", "TUNER_WARMUP": "2", "TUNER_WINDOW": "3", "TUNER_PRECISION": "0.5", "TUNER_VERIFY": "0"}


def run(arguments: list[str], cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `tuner ARGUMENTS` as written."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER_")}
    command = [sys.executable, "-m", "tuner", *arguments]
    return subprocess.run(command, cwd=cwd, env=clean | FAST | environment, capture_output=True, text=True, check=False)


def test_the_first_screen_has_one_command_to_run_and_one_to_test() -> None:
    assert INDENTED == ["tuner optimize --gpu t4 --trials 40", "make demo", "make test"]
    targets = re.findall(r"^(\w[\w-]*):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test", "check"} <= set(targets)


@pytest.mark.engine
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_session_without_a_gpu_runs_as_written(engine_python: Path, tmp_path: Path) -> None:
    (tmp_path / ".engine").symlink_to(engine_python.parents[1])  # what install-engine would make
    section = README.split("## Without a GPU")[1].split("## ")[0]
    ran = []
    for line in re.findall(r"^\$ (.+)$", section, re.MULTILINE):
        program, *arguments = shlex.split(line)
        assert program == "tuner"
        done = run(arguments, tmp_path, TUNER_VLLM_PYTHON=str(engine_python))
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        ran.append(arguments[0])
    assert len(ran) == len(set(ran)) + 3  # show twice, export three times
    assert "model: " in (tmp_path / "vllm.yaml").read_text()


@pytest.mark.parametrize(
    "command",
    [c for c in COMMANDS if c[:2] == ["tuner", "optimize"] and not {"cpu", "--engine"} & set(c)],
    ids=" ".join,
)
def test_the_commands_for_a_gpu_are_understood(command: list[str], tmp_path: Path) -> None:
    """Where the card, or the cluster, is absent they end with the sentence that says so, after every flag was read."""
    for path in ("/models/mine", "/models/mine-awq"):
        name = path.rsplit("/", 1)[-1]
        command = [part.replace(path, str(tmp_path / name)) for part in command]
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    is_ray = "ray" in command
    done = tuner(tmp_path, *("127.0.0.1:1" if is_ray and part == "auto" else part for part in command[1:]), **FAST)
    assert done.returncode == (1 if is_ray else 2)
    absent = r"no Ray cluster answers at 127\.0\.0\.1:1" if is_ray else r"\S+ is for .* and this machine has"
    assert re.search(f"Error: {absent}", done.stderr), done.stderr


def test_the_commands_for_a_running_server_are_those_that_test_docs_runs() -> None:
    section = README.split("## A server that runs already")[1].split("## ")[0]
    commands = re.findall(r"^\$ (.+)$", section, re.MULTILINE)
    docs = (REPOSITORY / "docs" / "metrics.md").read_text()
    assert len(commands) == 5
    assert [command for command in commands if f"$ {command}\n" not in docs] == [commands[-1]]  # the next test's


def test_the_traffic_of_a_live_server_is_imitated_as_written(tmp_path: Path) -> None:
    (command,) = [line for line in COMMANDS if line[:3] == ["tuner", "workload", "from-metrics"]]
    page = Page()

    def answer() -> tuple[int, str]:
        page.finish(100, 10)
        return 200, page.text()

    with PageServer(answer) as server:
        arguments = [part.replace("http://127.0.0.1:8000", server.url).replace("10m", "3s") for part in command[1:]]
        done = tuner(tmp_path, *arguments, **FAST)
    assert done.returncode == 0, done.stderr
    assert load_workload(str(tmp_path / "live.yaml")).request_rate


def test_the_workload_file_is_read(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "workload.yaml").write_text(text)
    assert load_workload(str(tmp_path / "workload.yaml")).users == 64


def test_the_other_commands_exist() -> None:
    named = set(re.findall(r"`tuner ([a-z-]+)", README)) | {c[1] for c in COMMANDS if c[0] == "tuner"}
    shown = tuner(REPOSITORY, "--help").stdout
    for command in named:
        assert re.search(rf"^  {command} ", shown, re.MULTILINE), command
