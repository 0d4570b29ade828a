"""Every command and every number of docs/metrics.md: its examples are run, its tables are those of the code."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import REPOSITORY
from samples import NOW, load_metrics, measured

from tuner.decide.confidence import LEAST_PAIRS
from tuner.decide.gain import LEAST_GAIN
from tuner.decide.rate_search import RESOLUTION
from tuner.export.bench_json import Asked, bench_json
from tuner.load import generate as client
from tuner.load import warm_up
from tuner.measure import marks
from tuner.study.find_rate import WINDOWS, WINDOWS_A_PROBE
from tuner.types import Mark
from tuner.workload.presets import PRESETS

TEXT = (REPOSITORY / "docs" / "metrics.md").read_text()
COMMANDS = re.findall(r"^\$ (.+)$", TEXT, re.MULTILINE)
FILES = dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", TEXT, re.DOTALL))
#: As the README's test does: short windows, and one pair instead of six.
FAST = {"TUNER_WARMUP": "1", "TUNER_WINDOW": "1", "TUNER_MAX_WINDOW": "2", "TUNER_REPEATS": "1"}


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_cells(title: str) -> list[str]:
    """What stands in the first column of the tables of a section."""
    rows = re.findall(r"^\| (.+?) \|", section(title), re.MULTILINE)
    return [row for row in rows if row not in ("Mark", "Metric", "Field")]


@pytest.mark.engine
@pytest.mark.parametrize("command", [COMMANDS[0], *(pytest.param(c, marks=pytest.mark.long) for c in COMMANDS[1:])])
def test_the_examples_run_as_written(
    command: str, vllm_url: str, engine_python: Path, demo_model: Path, tmp_path: Path
) -> None:
    """Both addresses are those of one server; `demo` is the model of `tuner demo-model demo`."""
    program, *arguments = shlex.split(re.sub(r"http://127\.0\.0\.1:800[01]", vllm_url, command))
    assert program == "tuner"
    (tmp_path / "demo").symlink_to(demo_model)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    clean = {name: value for name, value in os.environ.items() if name != "TUNER_USERS"}
    short = {"TUNER_WINDOW": "0.1"} if "--find-rate" in arguments else {}  # its search lasts many windows
    environment = clean | FAST | short | {"TUNER_VLLM_PYTHON": str(engine_python)}
    done = subprocess.run(
        [sys.executable, "-m", "tuner", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    slow = "client bound" in done.stdout or re.search(r"^SLO .*, missed$", done.stdout, re.MULTILINE)  # a busy machine
    assert done.returncode == (1 if slow else 0), f"{done.stdout}\n{done.stderr}"
    assert "Output throughput" in done.stdout
    for name in re.findall(r"--json (\S+)", command):
        assert json.loads((tmp_path / name).read_text())


def test_the_commands_are_those_of_the_text() -> None:
    assert {shlex.split(command)[1] for command in COMMANDS} == {"bench", "compare"}
    assert sorted(FILES) == ["few.yaml", "many.yaml"]


def test_the_json_fields_are_those_that_are_written() -> None:
    asked = Asked(workload=PRESETS["open-chat"], yaml="")
    load = replace(load_metrics(), request_rate=8.0)
    server = replace(measured().server, drafts=0.0, draft_tokens=0.0, accepted_tokens=0.0)  # type: ignore[type-var]
    written = json.loads(
        bench_json(replace(measured(), load=load, server=server), asked, server="s", model="m", at=NOW)
    )
    named = set(re.findall(r"`(\w+)`", " ".join(first_cells("JSON"))))
    others = {re.sub("_(tpot|itl|e2el)_", "_ttft_", name) for name in written}
    assert named == others | written["tuner"].keys()


def test_every_mark_is_explained_with_the_threshold_that_holds() -> None:
    assert first_cells("Marks") == [mark.value for mark in Mark]
    shares = (marks.BUSY, marks.TTFT_SHARE, marks.THROTTLED, marks.PREFIX_HITS, marks.LEFT_BEHIND)
    for share in shares:
        assert f"{share * 100:g} %" in section("Marks")
    assert f"{marks.LEAST_DELAY_S * 1e3:g} ms" in section("Marks")
    assert marks.LEAST_SHARE == 1
    assert "less than one request a user" in section("Marks")


def test_the_other_numbers_are_those_of_the_code() -> None:
    window = section("The window")
    assert (warm_up.MAX_WARMUP_FACTOR, warm_up.MAX_REQUEST_FACTOR, client.MAX_HOLD_FACTOR) == (5, 4, 2)
    assert all(
        text in window for text in ("four times the longest request", "first fifth", "twice the longest request")
    )
    assert (client.ENDED_PER_USER, client.ENDED_OPEN_LOOP) == (2, 20)
    assert all(text in window for text in ("five times `warmup_s`", "two requests a user (20 in an open loop)"))
    assert f"({client.MAX_WINDOW_FACTOR} times `window_s`" in window
    assert f"Above {client.MAX_ERROR_SHARE:.0%}".replace("%", " %") in section("Metrics")
    assert f"down to {RESOLUTION:.0%}".replace("%", " %") in section("The highest rate")
    assert f"at most {WINDOWS_A_PROBE} times" in section("The highest rate")
    assert f"together {WINDOWS} times" in section("The highest rate")
    assert f"at least {LEAST_GAIN:.0%}".replace("%", " %") in section("Comparing two")
    assert f"{LEAST_PAIRS} pairs p cannot" in section("Comparing two").replace("\n", " ")
