"""NVIDIA's multi-process service: the real daemon, which listens without a GPU; and programs of its name that do not."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from waiting import wait_for

from tuner.errors import LaunchError
from tuner.launch import mps
from tuner.launch.processes import members
from tuner.types import FailureKind


def started_in(folder: Path) -> tuple[bool, bool, list[int]]:
    """Whether CUDA programs find it while it runs and afterwards, and what of it is left then."""

    async def run() -> tuple[bool, bool, list[int]]:
        group = await mps.start(folder, {"TUNER_SCRATCH": str(folder)})
        try:
            while_it_runs = mps.is_running(mps.variables(folder))
        finally:
            await group.stop(5.0)
        left = [process.pid for process in members(group.session)]
        return while_it_runs, mps.is_running(mps.variables(folder)), left

    return asyncio.run(run())


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only one of this name."""
    file = folder / "bin" / mps.CONTROL
    file.parent.mkdir()
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}:/usr/bin:/bin")


def folder_of(tmp_path: Path) -> Path:
    found = tmp_path / "pipes"
    found.mkdir()
    return found


def test_it_listens_while_it_runs_and_nothing_of_it_is_left(mps_control: Path, tmp_path: Path) -> None:
    assert mps.is_there()
    assert started_in(folder_of(tmp_path)) == (True, False, [])


def test_the_daemon_of_somebody_else_is_found_where_cuda_looks_for_it(
    mps_control: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = folder_of(tmp_path)
    monkeypatch.setattr(mps, "_USUAL", str(usual))

    async def run() -> list[bool]:
        group = await mps.start(usual, {})
        try:
            elsewhere: list[Mapping[str, str]] = [{}, {"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path)}]
            return [mps.is_running(one) for one in elsewhere]
        finally:
            await group.stop(5.0)

    assert asyncio.run(run()) == [True, False]
    assert not mps.is_running({})  # its socket is still there, and nobody listens
    assert (usual / "control").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo 'An instance of this daemon is already running'; exit 1", "already running"),
        ("exit 3", "it says nothing"),
        ("echo wait for it; exec sleep 60", "wait for it"),
    ],
)
def test_one_that_does_not_listen_says_why_and_is_ended(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, f"echo $$ > {tmp_path}/pid; {text}", monkeypatch)
    monkeypatch.setattr(mps, "_START_S", 0.5)
    with pytest.raises(LaunchError) as raised:
        started_in(folder_of(tmp_path))
    failed = raised.value.failed
    assert failed.kind is FailureKind.HOST
    assert said in failed.message
    assert "--mps off" in failed.message
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.parametrize(
    ("cards", "seen"), [("1", None), ("0,1", None), ("GPU-1,GPU-2", "GPU-1,GPU-2"), ("GPU-1,1", None)]
)
def test_a_daemon_is_not_told_numbers_of_cards_from_which_its_clients_would_count_anew(
    cards: str, seen: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, 'echo "sees ${CUDA_VISIBLE_DEVICES-all}"; exit 1', monkeypatch)
    with pytest.raises(LaunchError, match=f"sees {seen or 'all'}\\)"):
        asyncio.run(mps.start(folder_of(tmp_path), {"CUDA_VISIBLE_DEVICES": cards}))


@pytest.mark.parametrize("text", [None, "\0"], ids=["absent", "not a program"])
def test_a_host_without_it(text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if text is not None:
        (tmp_path / mps.CONTROL).write_text(text)
        (tmp_path / mps.CONTROL).chmod(0o755)
    assert mps.is_there() == (text is not None)
    with pytest.raises(LaunchError, match=f"{mps.CONTROL} (cannot be started|does not listen)"):
        started_in(folder_of(tmp_path))
