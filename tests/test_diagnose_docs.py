"""The examples of docs/diagnose-a-server.md, run as written, but for the address."""

import json
import re
import shlex
from pathlib import Path

import pytest
from commands import tuner
from conftest import REPOSITORY
from metrics_page import PageServer

TEXT = (REPOSITORY / "docs" / "diagnose-a-server.md").read_text()
WATCH, LOAD, PROVE = (shlex.split(line)[1:] for line in re.findall(r"^\$ (.+)$", TEXT, re.MULTILINE))
PAGE = (REPOSITORY / "tests" / "measure" / "vllm-0.32.0.metrics.txt").read_text()


def test_the_traffic_of_a_server_is_watched(tmp_path: Path) -> None:
    with PageServer(lambda: (200, PAGE)) as server:
        command = [part.replace("http://127.0.0.1:8000", server.url) for part in WATCH]
        done = tuner(tmp_path, *command, "--window", "1", "--json", "-")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["server"] == server.url
    assert found["models"] == ["tiny"]
    assert found["findings"][0]["cause"] == found["verdict"]
    assert "what holds it back: " in done.stderr


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        (LOAD, 1, "no server answers at http://127.0.0.1:9"),
        (PROVE, 1, "--vllm-python names"),
        ([*WATCH, "--users", "4"], 2, "name its workload with --load"),
        ([*WATCH, "--window", "0.1"], 2, "--window is 0.1 and must be 1 to 3600 seconds"),
        (["diagnose"], 2, "name the URL of a server, or have one launched with --prove"),
        ([*PROVE, "--repeats", "0"], 2, "--repeats is 0 and must be at least 1"),
        ([*LOAD, "--engine-arg", "nonsense"], 2, "--engine-arg 'nonsense'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(command: list[str], code: int, sentence: str, tmp_path: Path) -> None:
    there = [part.replace("http://127.0.0.1:8000", "http://127.0.0.1:9") for part in command]
    done = tuner(tmp_path, *there, TUNER_VLLM_PYTHON=str(tmp_path / "none"))
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
