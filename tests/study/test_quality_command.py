"""The user's own command: what it says, and what becomes of one that hangs, fails or prints nothing of use."""

import asyncio
import os
import time
from pathlib import Path

import psutil
import pytest

from tuner.study.quality_command import run_quality_command
from tuner.types import Target
from tuner.types.quality import Task

TARGET = Target(base_url="http://127.0.0.1:8123", model="maker/model", api_key="a-key-of-the-server")


def ran(command: str, folder: Path, timeout_s: float = 20.0) -> Task | str:
    return asyncio.run(run_quality_command(command, TARGET, timeout_s, folder / "quality.log"))


@pytest.mark.parametrize(
    ("command", "task"),
    [
        ("true", Task(exit_code=0)),
        ("exit 3", Task(exit_code=3)),
        ("echo 'all wrong'; exit 1", Task(exit_code=1)),
        ("exit 255", Task(exit_code=255)),
        ("exit 200", Task(exit_code=200)),
        ("echo asking; echo 0.75", Task(exit_code=0, score=0.75)),
        ("echo asking; echo 'q1 1'; echo 'q2 0'", Task(exit_code=0, right={"q1": True, "q2": False})),
        ("echo much talk >&2; echo 5", Task(exit_code=0, score=5.0)),
        ('test "$TUNER_BASE_URL $TUNER_MODEL" = "http://127.0.0.1:8123 maker/model"', Task(exit_code=0)),
    ],
)
def test_what_it_says_is_read(command: str, task: Task, tmp_path: Path) -> None:
    assert ran(command, tmp_path) == task


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("no-such-program --at all", "could not be started: .*no-such-program"),
        ("echo done", "printed neither a number nor lines"),
        ("echo nan", "printed neither a number nor lines"),
        ("echo 'a 1'; echo 'a 0'", "printed a twice"),
        ("kill -9 $$", "was ended by signal 9"),
    ],
)
def test_what_says_nothing_is_a_sentence(command: str, why: str, tmp_path: Path) -> None:
    found = ran(command, tmp_path)
    assert isinstance(found, str)
    assert "\n" not in found
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(found)


def test_one_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    began = time.monotonic()
    found = ran(f"setsid sleep 300 & echo $! > {tmp_path}/pid; trap '' TERM; sleep 300", tmp_path, timeout_s=1.0)
    assert found == "--quality-cmd did not end within 1 s (--quality-timeout)"
    assert time.monotonic() - began < 15
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_an_interrupted_one_is_killed_too(tmp_path: Path) -> None:
    async def interrupted() -> None:
        running = asyncio.create_task(
            run_quality_command(f"echo $$ > {tmp_path}/pid; sleep 300", TARGET, 100.0, tmp_path / "quality.log")
        )
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.02)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(interrupted())
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_its_output_is_kept_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_TOKEN", "only-we-know-this")
    assert ran("echo key $TEAM_TOKEN; echo API_KEY=abcdefgh >&2; env; echo; echo 1", tmp_path) == Task(
        exit_code=0, score=1.0
    )
    text = (tmp_path / "quality.log").read_text()
    assert "key ***" in text
    assert not any(secret in text for secret in ("only-we-know-this", "abcdefgh", "a-key-of-the-server"))


def test_a_folder_that_cannot_be_written_loses_the_log_alone(tmp_path: Path) -> None:
    found = asyncio.run(run_quality_command("echo 2", TARGET, 20.0, tmp_path / "none" / "quality.log"))
    assert found == Task(exit_code=0, score=2.0)
    assert "none" not in os.listdir(tmp_path)  # noqa: PTH208
