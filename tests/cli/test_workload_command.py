"""`tuner workload`: what is written, to the screen and into files, and what is said when it cannot be."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from metrics_page import Page, PageServer
from typer.testing import CliRunner, Result
from waiting import wait_for

from tuner.cli.commands import workload
from tuner.cli.workload import parse_duration
from tuner.errors import RunError, UsageError
from tuner.workload.lengths import mean
from tuner.workload.presets import PRESETS, load_workload


class LiveServer:
    """A page on which each reading finishes four more requests."""

    def __init__(self) -> None:
        self.page, self.readings = Page(), 0
        self.page.in_flight(running=1, waiting=9)
        self._lock = threading.Lock()

    def answer(self) -> tuple[int, str]:
        with self._lock:
            text = self.page.text()
            self.readings += 1
            for prompt, generated in ((300, 40), (330, 60), (400, 80), (420, 20)):
                self.page.finish(prompt, generated, hits=100)
        return 200, text


@pytest.fixture
def live() -> Iterator[tuple[LiveServer, str]]:
    server = LiveServer()
    with PageServer(server.answer) as pages:
        yield server, pages.url


def tuner_workload(*arguments: str) -> Result:
    return CliRunner().invoke(workload, list(arguments))


def test_a_preset_is_shown_as_yaml_that_reads_back(tmp_path: Path) -> None:
    for name, preset in PRESETS.items():
        shown = tuner_workload("show", name)
        assert shown.exit_code == 0
        (tmp_path / "x.yaml").write_text(shown.stdout)
        assert load_workload(str(tmp_path / "x.yaml")) == preset


def test_what_is_no_workload_is_said() -> None:
    done = tuner_workload("show", "chit-chat")
    assert isinstance(done.exception, UsageError)
    assert "there is no workload 'chit-chat'" in str(done.exception)


def test_the_traffic_is_written_into_a_file(live: tuple[LiveServer, str], tmp_path: Path) -> None:
    _, url = live
    file = tmp_path / "live.yaml"
    done = tuner_workload("from-metrics", url, "--for", "2s", "--output", str(file), "--api", "completions")
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "live.yaml: 8 requests finished in 2 s" in done.stderr
    found = load_workload(str(file))
    assert found.name == "live"
    assert found.api == "completions"
    assert found.request_rate == pytest.approx(4, rel=0.2)
    assert found.burstiness == 1
    assert mean(found.input_tokens) == pytest.approx(362.5, rel=0.02)
    assert mean(found.output_tokens) == pytest.approx(50, rel=0.02)
    assert found.shared_prefix is not None
    assert found.shared_prefix.tokens == 100
    comment = " ".join(line[2:] for line in file.read_text().splitlines() if line.startswith("# "))
    assert f"Imitates the traffic of {url}/metrics: 8 requests finished in 2 s" in comment
    assert "On average 1.0 requests were running and 9.0 waiting." in comment
    assert "The server was saturated" in comment
    assert "Too few requests to tell the burstiness" in comment
    assert "Prefix-cache hit rate 28%: imitated by one prefix that all prompts share, which gives about 28%" in comment


def test_ctrl_c_takes_what_was_seen(live: tuple[LiveServer, str], tmp_path: Path) -> None:
    server, url = live
    program = "from tuner.cli.commands import workload; workload()"
    with subprocess.Popen(
        [sys.executable, "-c", program, "from-metrics", url, "--for", "2h"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for(lambda: server.readings >= 3)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        try:
            written, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert "stopped: what was seen in" in said
    (tmp_path / "x.yaml").write_text(written)
    assert mean(load_workload(str(tmp_path / "x.yaml")).output_tokens) == pytest.approx(50, rel=0.02)


def test_an_idle_server_is_said() -> None:
    page = Page()
    with PageServer(lambda: (200, page.text())) as server:
        done = tuner_workload("from-metrics", server.url, "--for", "0.2s")
    assert isinstance(done.exception, RunError)
    assert "no request finished in 0 s: look for longer (--for)" in str(done.exception)


def test_a_file_that_cannot_be_written_is_said_before_the_watching(
    live: tuple[LiveServer, str], tmp_path: Path
) -> None:
    server, url = live
    for file in (tmp_path, tmp_path / "absent" / "x.yaml"):
        done = tuner_workload("from-metrics", url, "--for", "2h", "--output", str(file))
        assert isinstance(done.exception, UsageError)
        assert f"--output {file} cannot be written" in str(done.exception)
    assert server.readings == 0


def test_another_api_is_said() -> None:
    done = tuner_workload("from-metrics", "h:8000", "--api", "embeddings")
    assert isinstance(done.exception, UsageError)
    assert "unknown --api 'embeddings': choose one of chat, completions" in str(done.exception)


def test_durations() -> None:
    assert [parse_duration(text) for text in ("90s", "10m", "1.5h", "168h")] == [90, 600, 5400, 604800]


@pytest.mark.parametrize("text", ["", "10", "0s", "-1m", "10 minutes", "1e3s", "169h", "9" * 400 + "s", "١s", "nan"])
def test_what_is_no_duration_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="is no duration above 0 and of at most 168h: give one such as 90s, 10m or 2h"):
        parse_duration(text)
