"""Whole studies on a surface: the real loop, sampler and database, with time as it was recorded."""

import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import log2
from pathlib import Path
from typing import Any

import pytest
from faults.lab import Saboteur
from replay_samples import DEFAULTS, SPACE, failure, header, line, written
from samples import FINGERPRINT

from tuner.decide.contest import FINALISTS
from tuner.decide.objective import OBJECTIVES
from tuner.decide.rank import stopped_early
from tuner.decide.stopping import FAILED_IN_A_ROW
from tuner.errors import UsageError
from tuner.export.surface import surface_of
from tuner.launch.caches import Caches
from tuner.launch.engine import CannotFork
from tuner.launch.job import Job
from tuner.launch.vllm import VllmLauncher
from tuner.record.rows import Verification
from tuner.record.store import Store
from tuner.replay.clock import VirtualClock
from tuner.replay.surface import ReplayEngine, Surface, open_surface
from tuner.space.search_space import SearchSpace
from tuner.study.loop import run_study
from tuner.study.setup import Setup
from tuner.types import Failed, FailureKind, Measured, Outcome, Params, Trial, present
from tuner.workload.presets import PRESETS


@dataclass
class Replay:
    """A study on the surface of a file, as `--engine replay` runs it; `calls` are the trials that were asked for."""

    folder: Path
    path: Path
    space: SearchSpace = SPACE
    trials: int = 30
    verify: int = 0
    max_hours: float | None = None
    timeout_s: float | None = None
    may_stop: bool = False
    sampler: str = "model"
    clock: VirtualClock = field(default_factory=VirtualClock)
    watch: Saboteur = field(default_factory=Saboteur)
    calls: list[int] = field(default_factory=list)

    def setup(self, surface: Surface) -> Setup:
        (self.folder / "caches").mkdir(exist_ok=True)
        caches = Caches(self.folder / "caches")
        caches.mark_warm()
        answers, clock = surface.runner(self.clock), self.clock

        async def run(job: Job, *told: Any) -> Outcome:
            self.calls.append(job.salt)
            return await answers(job, *told)

        return Setup(
            study="replayed",
            storage=f"sqlite:///{self.folder / 'x.db'}",
            space=self.space,
            launcher=VllmLauncher(python=Path(sys.executable), model="some/model", fixed=self.space.fixed),
            workload=PRESETS["chat"],
            objective=OBJECTIVES["throughput"],
            slos=(),
            gpus=(),
            fingerprint=replace(FINGERPRINT, engine_version=surface.fingerprint_text),
            trials=self.trials,
            warm=False,
            trial_timeout_s=self.timeout_s,
            max_hours=self.max_hours,
            verify=self.verify,
            seed=0,
            logs=self.folder / "logs",
            caches=caches,
            clock=clock,
            run=run,
            may_stop=self.may_stop,
            sampler=self.sampler,
        )

    def run(self) -> list[Trial]:
        surface = open_surface(self.path)
        store = Store.open(f"sqlite:///{self.folder / 'x.db'}")
        try:
            with ReplayEngine(surface, self.space) as engine:
                run_study(self.setup(surface), store, engine, self.watch)
            return store.trials("replayed")
        finally:
            store.close()

    def verified(self) -> list[Verification]:
        store = Store.open(f"sqlite:///{self.folder / 'x.db'}", read_only=True)
        found = store.verifications("replayed")
        store.close()
        return found

    def stored(self) -> list[Trial]:
        store = Store.open(f"sqlite:///{self.folder / 'x.db'}", read_only=True)
        found = store.trials("replayed")
        store.close()
        return found


def hill(params: Params) -> float:
    """Best at 64 sequences of 0.9 without eager; tokens a second."""
    seqs, share = float(params["max_num_seqs"]), float(params["gpu_memory_utilization"])
    worse = abs(log2(seqs) - 6) + 5 * (0.9 - share) + 2 * (params["enforce_eager"] is True)
    return 200.0 / (1 + 0.3 * worse) + (20.0 if params["quantization"] != "none" else 0.0)


def synthetic(count: int = 200) -> Iterator[dict[str, Any]]:
    """The defaults, and as many points of the space: some do not fit, some are refused."""
    yield header(gpu="Tesla T4", engine_version="0.32.0")
    yield line(hill(DEFAULTS), is_default=True, params=DEFAULTS, startup_s=40.0, duration_s=20.0)
    for params in itertools.islice(drawn(), count - 1):
        if float(params["max_num_seqs"]) > 200 and params["gpu_memory_utilization"] == 0.5:
            yield failure(params, startup_s=25.0, duration_s=0.0)
        else:
            yield line(hill(params), params=params, startup_s=40.0, duration_s=20.0)


def drawn() -> Iterator[Params]:
    """Points of the space, each once."""
    draw, seen = random.Random(1), set[str]()
    while True:
        params: Params = {
            "max_num_seqs": draw.randint(1, 256),
            "gpu_memory_utilization": round(draw.choice((0.5, 0.6, 0.7, 0.8, 0.9)), 1),
            "quantization": draw.choice(("none", "fp8_per_tensor")),
            "enforce_eager": draw.choice((True, False)),
        }
        if (key := json.dumps(params)) not in seen:
            seen.add(key)
            yield params


@pytest.fixture
def surface(tmp_path: Path) -> Path:
    return written(tmp_path, *synthetic())


def throughputs(path: Path) -> list[float]:
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    return [value["metrics"]["output_throughput"] for value in lines if "metrics" in value]


def throughput(trial: Trial) -> float | None:
    return trial.outcome.load.output_throughput if isinstance(trial.outcome, Measured) else None


def test_a_study_of_30_trials_finds_a_point_of_the_surface(tmp_path: Path, surface: Path) -> None:
    replay = Replay(tmp_path, surface, verify=3, sampler="tpe")
    trials = replay.run()
    assert [trial.number for trial in trials if trial.attempts] == replay.calls[:30]
    assert (trials[0].is_default, trials[0].params) == (True, DEFAULTS)
    found = [value for trial in trials if (value := throughput(trial))]
    assert set(found) <= set(throughputs(surface))
    assert max(found) > hill(DEFAULTS)
    leader, *others = replay.calls[
        30:
    ]  # the verification: the leader and the defaults in turn, others while they may be ahead
    assert [number for number in others if number in (leader, 0)] == [0, 0, leader]
    assert len(others) - 3 <= 2 * (FINALISTS - 1)  # in each of the two rounds
    told = [note for note in replay.watch.notes if note.startswith("replayed: ")]
    (last,) = set(replay.watch.notes) - set(told)
    assert "without what seems to bring nothing" in last
    assert len(told) == len(replay.calls)
    assert "surface.jsonl:2 is a recording of these settings" in replay.watch.notes[0]


@pytest.mark.parametrize("sampler", ["model", "random"])
def test_where_only_the_defaults_start_ours_ends_after_failures_in_a_row(tmp_path: Path, sampler: str) -> None:
    """Random draws learn of none, and go on to the last launch."""
    others = [params for params in itertools.islice(drawn(), 60) if params != DEFAULTS]
    start = line(params=DEFAULTS, is_default=True, startup_s=40.0, duration_s=20.0)
    path = written(tmp_path, header(gpu="Tesla T4", answer="nearest"), start, *map(failure, others))
    replay = Replay(tmp_path, path, trials=20, may_stop=True, sampler=sampler)
    failed = [trial for trial in replay.run() if trial.attempts and isinstance(trial.outcome, Failed)]
    told = [note for note in replay.watch.notes if f"each of the last {FAILED_IN_A_ROW} launches failed" in note]
    assert (len(failed), len(told)) == ((FAILED_IN_A_ROW, 1) if sampler == "model" else (19, 0))


def test_time_is_what_was_recorded(tmp_path: Path, surface: Path) -> None:
    """A trial begins when the one before it has ended, and took the seconds of its line: 40 + 20, or 25 of a failure. Of the
    10 s of a window those are left that one needs which is stopped early."""
    trials = Replay(tmp_path, surface, trials=12, may_stop=True).run()
    took_s = [(trial.ended_at - trial.started_at).total_seconds() for trial in trials]
    windows_s = [trial.outcome.load.window_s if isinstance(trial.outcome, Measured) else None for trial in trials]
    assert took_s == [25.0 if window_s is None else 50.0 + window_s for window_s in windows_s]
    assert all(
        (window_s == 10.0) is not stopped_early(t) for t, window_s in zip(trials, windows_s, strict=True) if window_s
    )
    assert any(map(stopped_early, trials))
    assert [trial.started_at for trial in trials[1:]] == [trial.ended_at for trial in trials[:-1]]


def test_the_hours_are_those_of_the_recordings(tmp_path: Path, surface: Path) -> None:
    replay = Replay(tmp_path, surface, trials=1000, max_hours=0.25)
    trials = replay.run()
    assert replay.clock.monotonic() <= 900
    assert replay.clock.monotonic() + 60 > 900
    assert 15 <= len(trials) < 36
    assert "the search ends here: another trial" in replay.watch.notes[-1]


def test_a_long_verification_leaves_the_search_half_of_the_hours(tmp_path: Path, surface: Path) -> None:
    """Ten rounds of two launches would take all of them, and then there would be nothing to verify."""
    replay = Replay(tmp_path, surface, trials=1000, max_hours=0.25, verify=10)
    trials = replay.run()
    searched_s = (trials[-1].ended_at - trials[0].started_at).total_seconds()
    assert 450 - 2 * 60 < searched_s <= 450
    verified = replay.verified()
    assert verified
    assert replay.clock.monotonic() <= 900


#: A study that is killed when its seventh trial is answered.
KILLED = """
import os, sys
from pathlib import Path
from test_replay import Replay

replay = Replay(Path(sys.argv[1]), Path(sys.argv[2]))
replay.watch.phase = lambda name, trial=None: os.kill(os.getpid(), 9) if len(replay.calls) == 7 else None
replay.run()
"""


def test_a_killed_study_goes_on_and_nothing_is_measured_twice(tmp_path: Path, surface: Path) -> None:
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(surface)]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    finished = Replay(tmp_path, surface).stored()
    assert len(finished) == 6
    replay = Replay(tmp_path, surface)
    trials = replay.run()
    assert trials[:6] == finished
    assert replay.calls == list(range(6, 30))
    assert "trial 6 was interrupted and is run again" in replay.watch.notes
    assert len({json.dumps(dict(trial.params), sort_keys=True) for trial in trials}) == 30


def test_another_surface_is_another_study(tmp_path: Path, surface: Path) -> None:
    Replay(tmp_path, surface, trials=2).run()
    surface.write_text(surface.read_text().replace("0.32.0", "0.33.0"))
    with pytest.raises(UsageError, match=r"cannot be continued under other conditions \(engine_version"):
        Replay(tmp_path, surface, trials=3).run()


def test_the_same_job_is_answered_alike_and_a_launch_of_it_once_more_may_differ(tmp_path: Path) -> None:
    """As noise does: the verification's launches are other launches of the same settings."""
    path = written(tmp_path, header(), *[line(100.0 + value) for value in range(20)])

    def answers(folder: str) -> list[float]:
        (tmp_path / folder).mkdir()
        replay = Replay(tmp_path / folder, path)
        surface = open_surface(path)
        ReplayEngine(surface, SPACE)
        setup = replay.setup(surface)
        found = []
        for label in ("", "-verify-1", "-verify-2"):
            log = tmp_path / folder / f"trial-0{label}.log"
            job = Job(
                launcher=setup.launcher,
                command=setup.launcher.command({}),
                workload=setup.workload,
                gpus=(),
                log=log,
                salt=0,
            )
            outcome = asyncio.run(setup.run(job, lambda launch: None, lambda text: None, lambda text: None))
            assert isinstance(outcome, Measured)
            found.append(present(outcome.load.output_throughput))
        return found

    one = answers("one")
    assert one == answers("other")
    assert len(set(one)) > 1


def test_a_trial_that_takes_longer_than_its_timeout_fails_as_it_would_have(tmp_path: Path) -> None:
    path = written(
        tmp_path, header(), line(1.0, duration_s=20.0), line(2.0, params={"max_num_seqs": 1}, duration_s=90.0)
    )
    replay = Replay(tmp_path, path, trials=6, timeout_s=70.0)
    trials = replay.run()
    late = [trial for trial in trials if isinstance(trial.outcome, Failed)]
    assert late
    assert all(isinstance(t.outcome, Failed) and t.outcome.kind is FailureKind.TRIAL_TIMEOUT for t in late)
    assert all((trial.ended_at - trial.started_at).total_seconds() == 70.0 for trial in late)


def test_what_vllm_refused_is_refused_without_a_launch(tmp_path: Path) -> None:
    path = written(
        tmp_path, header(), line(1.0), failure({"enforce_eager": True, "max_num_seqs": 8}, kind="rejected"), line(2.0)
    )
    replay = Replay(tmp_path, path, trials=8)
    trials = replay.run()
    refused = [trial for trial in trials if trial.params["enforce_eager"] is True]
    assert refused
    for trial in refused:
        assert trial.attempts == 0
        assert isinstance(trial.outcome, Failed)
        assert trial.outcome.message.startswith("it did not fit (")
        assert trial.ended_at == trial.started_at
    assert len([trial for trial in trials if trial.attempts]) == 8


@pytest.mark.parametrize(
    "params",
    [
        {"max_num_seqs": 8, "gpu_memory_utilization": 0.7, "quantization": "fp8_per_tensor", "enforce_eager": True},
        {"max_num_seqs": 8, "gpu_memory_utilization": 0.7, "quantization": "none", "enforce_eager": False},
        {},
    ],
)
def test_the_engine_reads_the_arguments_that_the_launcher_writes(tmp_path: Path, params: Params) -> None:
    engine = ReplayEngine(open_surface(written(tmp_path, header(), line())), SPACE)
    launcher = VllmLauncher(python=Path(sys.executable), model="m", fixed=SPACE.fixed)
    found = engine.resolve(launcher.arguments(params))
    assert not isinstance(found, Failed)
    assert found.settings == {"dtype": "half", **DEFAULTS, **params}


def test_a_checkpoint_of_its_own_is_refused_when_it_is_launched(tmp_path: Path) -> None:
    refused = failure({"quantization": "fp8_per_tensor"}, kind="rejected")
    engine = ReplayEngine(open_surface(written(tmp_path, header(), line(), refused)), SPACE)
    checkpoint = VllmLauncher(python=Path(sys.executable), model="m", quantized_models={"fp8_per_tensor": "m-fp8"})
    resolved = engine.resolve(checkpoint.arguments({"quantization": "fp8_per_tensor"}))
    assert not isinstance(resolved, Failed)
    assert "quantization" not in resolved.settings


def test_the_host_launches_nothing_and_says_what_it_is(tmp_path: Path) -> None:
    surface = open_surface(written(tmp_path, header(gpu="Tesla T4", engine_version="0.32.0"), line(), line()))
    engine = ReplayEngine(surface, SPACE)
    assert engine.is_alive
    assert engine.info.version == surface.fingerprint_text
    assert surface.fingerprint_text.startswith("REPLAYED vLLM 0.32.0, surface ")
    assert {*SPACE.parameters, *SPACE.fixed} <= engine.info.arguments
    assert surface.describe() == f"REPLAYED from {tmp_path / 'surface.jsonl'}: 1 points, nearest point"
    with pytest.raises(CannotFork), (tmp_path / "log").open("wb") as log:
        engine.fork((), {}, log)


def test_a_study_can_be_replayed_from_what_it_stored(tmp_path: Path, surface: Path) -> None:
    """Written as a surface, it answers its own proposals with its own measurements, in its own time."""
    first = Replay(tmp_path, surface, trials=8).run()
    (tmp_path / "again").mkdir()
    path = tmp_path / "again" / "surface.jsonl"
    path.write_text(surface_of(first, FINGERPRINT))
    second = Replay(tmp_path / "again", path, trials=8).run()
    assert [trial.params for trial in second] == [trial.params for trial in first]
    assert [throughput(trial) for trial in second] == [throughput(trial) for trial in first]
    assert [t.ended_at - t.started_at for t in second] == [t.ended_at - t.started_at for t in first]
