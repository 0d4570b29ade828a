"""A study's host: measured once, stored with it, and no condition of going on."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from faults.lab import Saboteur
from record_samples import STUDY
from replay_samples import line, written
from samples import FINGERPRINT, measured, trial
from sqlalchemy import text

from tuner.errors import UsageError
from tuner.launch.caches import caches_of
from tuner.record.rows import differences
from tuner.record.store import Store
from tuner.study.engines import set_up
from tuner.study.fingerprint import host_changed, with_host_speed
from tuner.study.identity import check_same, record_of
from tuner.study.loop import run_study
from tuner.study.options import Options
from tuner.types import Command, Failed, FailureKind, Fingerprint, HostSpeed, Params

SPACE = """
gpu: {names: ["NVIDIA X"], memory_gib: 24.0, compute_capability: "8.9"}
parameters:
  max_num_seqs: {type: int, low: 1, high: 256, log: true}
"""
SPEED = HostSpeed(python_s=0.006, text_s=0.004, memory_s=0.05, wake_s=0.006, spread=1.1, python_version="3.12")


def slower(factor: float) -> HostSpeed:
    return replace(SPEED, python_s=factor * SPEED.python_s, text_s=factor * SPEED.text_s)


def of_host(speed: HostSpeed | None) -> Fingerprint:
    return replace(FINGERPRINT, host_speed=speed)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    yield opened
    opened.close()


def test_how_fast_the_host_is_is_no_condition(tmp_path: Path) -> None:
    assert of_host(SPEED) == of_host(slower(3.0)) == of_host(None)
    assert differences(of_host(SPEED), of_host(slower(3.0))) == []
    assert caches_of(of_host(SPEED), tmp_path) == caches_of(of_host(None), tmp_path)
    assert of_host(SPEED).conditions().keys() == asdict(FINGERPRINT).keys() - {"host_speed", "mps"}


def test_a_study_that_goes_on_keeps_the_first(store: Store) -> None:
    first = replace(STUDY, fingerprint=of_host(SPEED))
    store.create_or_get_study(first)
    again = store.create_or_get_study(replace(STUDY, fingerprint=of_host(slower(2.0))))
    assert again.fingerprint.host_speed == store.study(STUDY.name).fingerprint.host_speed == SPEED


def test_the_study_of_an_older_tuner_has_none(store: Store) -> None:
    store.create_or_get_study(replace(STUDY, fingerprint=of_host(SPEED)))
    older = json.dumps({name: value for name, value in asdict(FINGERPRINT).items() if name != "host_speed"})
    with store._engine.begin() as connection:
        connection.execute(text("UPDATE tuner_study SET fingerprint = :older"), {"older": older})
    assert store.study(STUDY.name).fingerprint.host_speed is None
    assert store.create_or_get_study(replace(STUDY, fingerprint=of_host(SPEED))).fingerprint == FINGERPRINT


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (SPEED, SPEED, None),
        (SPEED, slower(1.25), None),
        (SPEED, slower(0.8), None),
        (SPEED, None, None),
        (None, SPEED, None),
        (SPEED, slower(1.6), "this host's processor is 1.6 times as slow as when the study began"),
        (SPEED, slower(0.5), "this host's processor is 2.0 times as fast as when the study began"),
    ],
)
def test_a_host_that_became_another(before: HostSpeed | None, now: HostSpeed | None, said: str | None) -> None:
    told = host_changed(before, now)
    assert told is None if said is None else told is not None and told.startswith(said)


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (
            False,
            True,
            "take turns on it, and now they have it at once, .*: go on with --mps off, or choose another --study",
        ),
        (
            True,
            False,
            "have it at once, .*, and now they take turns on it: go on where nvidia-cuda-mps-control is on the PATH",
        ),
        (True, True, None),
        (False, False, None),
    ],
)
def test_a_study_goes_on_only_with_engines_that_share_a_gpu_as_before(
    before: bool, now: bool, said: str | None
) -> None:
    with set_up(Options(engine="sim", gpu="t4"), lambda text: None) as (setup, _):
        turned = replace(setup, fingerprint=replace(setup.fingerprint, mps=now))
    stored = record_of(replace(turned, fingerprint=replace(setup.fingerprint, mps=before)))
    two: Params = {"data_parallel_size": 2, "data_parallel_size_local": 1}
    one = trial(1, measured())
    shared = replace(one, command=Command(argv=("vllm", "serve"), settings=two))
    failed = replace(shared, outcome=Failed(kind=FailureKind.HOST, message="no"))
    assert differences(stored.fingerprint, turned.fingerprint) == []
    check_same(stored, turned, [one, failed])
    if said is None:
        check_same(stored, turned, [one, shared])
    else:
        with pytest.raises(UsageError, match=said):
            check_same(stored, turned, [one, shared])


@pytest.mark.parametrize("now", [True, False])
def test_a_study_whose_engines_have_not_shared_yet_goes_on_in_the_new_way(store: Store, now: bool) -> None:
    first = replace(STUDY, fingerprint=replace(of_host(SPEED), mps=not now))
    store.create_or_get_study(first)
    store.share_gpus(STUDY.name, mps=now)
    assert store.study(STUDY.name) == replace(first, fingerprint=replace(of_host(SPEED), mps=now))
    assert store.study(STUDY.name).fingerprint.mps == now
    assert store.study(STUDY.name).fingerprint.host_speed == SPEED


def test_a_ruler_that_fails_ends_nothing(tmp_path: Path) -> None:
    told: list[str] = []
    assert with_host_speed(FINGERPRINT, Path(sys.executable), told.append).host_speed is not None
    assert told == []
    assert with_host_speed(FINGERPRINT, tmp_path / "none", told.append).host_speed is None
    assert len(told) == 1
    assert told[0].startswith(f"how fast this host is stays unknown: {tmp_path / 'none'} cannot be run")


@pytest.mark.engine
def test_the_cpu_engine_has_a_host(engine_python: Path, demo_model: Path, tmp_path: Path) -> None:
    options = Options(gpu="cpu", model=str(demo_model), vllm_python=str(engine_python), cache_dir=tmp_path)
    with set_up(options, lambda text: None) as (setup, _):
        assert setup.fingerprint.host_speed is not None


def test_a_simulation_has_none() -> None:
    with set_up(Options(engine="sim", gpu="t4"), lambda text: None) as (setup, _):
        assert setup.fingerprint.host_speed is None


def test_a_study_that_goes_on_says_that_its_host_became_slower(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SPACE)
    lines = [{"surface": {"gpu": "NVIDIA X"}}]
    lines += [line(100.0 + n, params={"max_num_seqs": 2**n}, is_default=n == 8) for n in range(9)]
    options = Options(engine="replay", surface=written(tmp_path, *lines), space=tmp_path / "mine.yaml", verify=0)
    options = replace(options, log_dir=tmp_path / "logs", storage=f"sqlite:///{tmp_path / 'x.db'}")
    notes = []
    for trials, factor in ((1, 1.0), (2, 1.2), (3, 2.0)):
        with set_up(replace(options, trials=trials), lambda text: None) as (setup, engine):
            fingerprint = replace(setup.fingerprint, host_speed=slower(factor))
            store, watch = Store.open(options.storage), Saboteur()
            run_study(replace(setup, fingerprint=fingerprint), store, engine, watch)
            assert store.study(setup.study).fingerprint.host_speed == SPEED
            assert len(store.trials(setup.study)) == trials
            store.close()
        notes.append([note for note in watch.notes if "times as" in note])
    assert [len(found) for found in notes] == [0, 0, 1]
    assert "2.0 times as slow as when the study began" in notes[2][0]
