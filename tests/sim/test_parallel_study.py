"""Simulated studies of several launches at once: whole, killed, interrupted, and what a launch sees of its slot."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import commands
import pytest
from simulating import rows, sessions
from waiting import wait_for

from tuner.execute.slot import Slot
from tuner.launch.processes import members
from tuner.record.store import Store
from tuner.sim.engine import SimEngine
from tuner.space.files import load_space
from tuner.study.engines import simulated_setup
from tuner.study.options import Options
from tuner.study.slots import in_slot
from tuner.types import DetectedGpu, Mark, Measured

ASKED = ("--engine", "sim", "--gpu", "t4", "--study", "s", "--verify", "0", "--stop", "never", "--window", "13")
CARDS = [
    DetectedGpu(
        index=index, uuid=f"GPU-{index}", name="Tesla T4", memory_bytes=2**34, compute_capability=(7, 5), driver="580"
    )
    for index in range(4)
]


def begin(folder: Path, *more: str) -> "subprocess.Popen[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER_")}
    command = [sys.executable, "-m", "tuner", "optimize", *ASKED, *more]
    return subprocess.Popen(command, cwd=folder, env=clean, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def in_flight(folder: Path) -> int:
    return len(rows(folder, "SELECT 1 FROM tuner_launch WHERE ended_at IS NULL"))


def nothing_is_left(folder: Path) -> bool:
    return not any(members(session) for session in sessions(folder))


@pytest.mark.parametrize("sampler", ["model", "tpe"])
def test_as_many_trials_as_are_asked_for_are_launched_each_once(tmp_path: Path, sampler: str) -> None:
    with begin(tmp_path, "--trials", "7", "--parallel", "3", "--sampler", sampler) as tuner:
        _, said = tuner.communicate(timeout=300)
    assert tuner.returncode == 0, said
    store = Store.open(f"sqlite:///{tmp_path / 'tuner.db'}", read_only=True)
    trials = store.trials("s")
    store.close()
    launched = [trial for trial in trials if trial.attempts]
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert [trial.attempts for trial in launched] == [1] * 7
    assert all(isinstance(trial.outcome, Measured) for trial in launched)
    settings = {tuple(sorted(trial.params.items())) for trial in trials}
    assert len(settings) == len(trials)
    places = {trial.number: trial.place for trial in launched}
    assert all(places.values())
    assert {place.slot for place in places.values() if place} == {0, 1, 2}
    assert max(place.beside for place in places.values() if place) == 2
    usual, *others = launched
    first = next(trial for trial in others if trial.number == 1)
    assert first.started_at < usual.ended_at  # its server starts while that of the defaults does
    assert isinstance(usual.outcome, Measured)
    assert Mark.NEIGHBOURS not in usual.outcome.marks  # all are compared with the defaults: their load runs alone
    assert [row[0] for row in rows(tmp_path, "SELECT number FROM trials ORDER BY number")] == list(range(len(trials)))
    assert rows(tmp_path, "SELECT count(*) FROM trials WHERE state = 'RUNNING'") == [(0,)]
    shown = commands.tuner(tmp_path, "show", "s", str(launched[-1].number)).stdout
    assert "beside" in shown


def test_whatever_ends_it_with_three_in_flight_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    asked = ("--trials", "7", "--parallel", "3", "--sampler", "random")
    with begin(tmp_path, *asked) as tuner:
        wait_for(lambda: in_flight(tmp_path) == 3, 120)
        tuner.kill()
    wait_for(lambda: nothing_is_left(tmp_path), 30)
    begun = {row[0] for row in rows(tmp_path, "SELECT number FROM tuner_trial WHERE state = 'running'")}
    finished = set(rows(tmp_path, "SELECT number, params FROM tuner_trial WHERE state = 'finished'"))
    assert len(begun) >= 2
    before = len(rows(tmp_path, "SELECT 1 FROM tuner_launch"))
    with begin(tmp_path, *asked) as tuner:
        wait_for(lambda: len(rows(tmp_path, "SELECT 1 FROM tuner_launch")) > before and in_flight(tmp_path) == 3, 120)
        tuner.send_signal(signal.SIGINT)
        _, said = tuner.communicate(timeout=60)
    assert tuner.returncode == 130, said
    assert all(f"trial {number} was interrupted and is run again" in said for number in begun)
    assert nothing_is_left(tmp_path)
    assert in_flight(tmp_path) == 0
    with begin(tmp_path, *asked) as tuner:
        _, said = tuner.communicate(timeout=300)
    assert tuner.returncode == 0, said
    assert finished <= set(rows(tmp_path, "SELECT number, params FROM tuner_trial WHERE state = 'finished'"))
    assert rows(tmp_path, "SELECT count(*), count(DISTINCT number) FROM tuner_trial WHERE state = 'finished'") == [
        (7, 7)
    ]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--parallel", "0"), "--parallel is '0' and must be a number, 1 to 1,024, or auto"),
        (("--parallel", "two"), "--parallel is 'two' and must be a number"),
        (("--parallel", "1025"), "--parallel is '1025' and must be a number"),
        (("--parallel", "1" * 5000), "and must be a number, 1 to 1,024, or auto"),
        (("--address", "host:6379"), "--address host:6379 is that of a Ray cluster: give --executor ray, too"),
        (("--executor", "ray", "--address", " "), "--address is empty: give HOST:PORT"),
        (("--executor", "rays"), "--executor is 'rays'"),
    ],
)
def test_what_is_no_number_of_launches_is_refused(tmp_path: Path, flags: tuple[str, ...], sentence: str) -> None:
    done = commands.tuner(tmp_path, "optimize", *ASKED, *flags)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not (tmp_path / "tuner.db").exists()


def test_a_launch_sees_the_cards_of_its_slot_and_its_export_names_none() -> None:
    options = Options(engine="sim", gpu="t4")
    space = load_space("t4")
    setup = simulated_setup(options, space, SimEngine(space.gpu))
    one = replace(setup, gpus=(CARDS[0],))
    assert in_slot(one, one.slots[0]) is one  # as the user's own CUDA_VISIBLE_DEVICES says
    several = replace(setup, slots=(Slot(number=0, gpus=(CARDS[0],)), Slot(number=1, gpus=(CARDS[1], CARDS[3]))))
    assert [gpu.uuid for gpu in several.all_gpus] == ["GPU-0", "GPU-1", "GPU-3"]
    found = in_slot(several, several.slots[1])
    assert found.gpus == (CARDS[1], CARDS[3])
    assert found.launcher.caches["CUDA_VISIBLE_DEVICES"] == "GPU-1,GPU-3"
    assert "CUDA_VISIBLE_DEVICES" not in found.launcher.command({}).environment
