"""Studies in which proposals repeat each other: none of them is launched twice, and every surface says which it equals."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from commands import tuner
from faults.lab import Saboteur
from replay_samples import header, line, written
from samples import FINGERPRINT

from tuner.decide.objective import OBJECTIVES
from tuner.errors import UsageError
from tuner.launch.caches import Caches
from tuner.launch.job import Job
from tuner.launch.vllm import VllmLauncher
from tuner.record.store import Store
from tuner.replay.clock import VirtualClock
from tuner.replay.surface import ReplayEngine, open_surface
from tuner.space.search_space import SearchSpace
from tuner.study.loop import run_study
from tuner.study.setup import Setup
from tuner.types import Failed, Measured, Outcome, Resolved, Trial, Twin, Value
from tuner.types.resolved import digest_of
from tuner.workload.presets import PRESETS

GRAPHS = "cudagraph_mode"
MODE = "compilation_config.cudagraph_mode"
DEFAULTS: Mapping[str, Value] = {"max_num_seqs": 256, "max_num_batched_tokens": 64, GRAPHS: "FULL_AND_PIECEWISE"}
#: Of 5 x 3 x 2 points.
SPACE = SearchSpace.model_validate(
    {
        "name": "twins",
        "gpu": {"names": ["Tesla T4"], "compute_capability": "7.5"},
        "parameters": {
            "max_num_seqs": {"type": "categorical", "choices": [16, 32, 64, 128, 256]},
            "max_num_batched_tokens": {"type": "categorical", "choices": [16, 32, 64]},
            GRAPHS: {"type": "categorical", "choices": ["FULL", "FULL_AND_PIECEWISE"]},
        },
    }
)
FELL_BACK = (
    "(EngineCore_DP0 pid=4) WARNING 11-28 09:41:03 [compilation.py:1359] CUDAGraphMode.FULL is not supported with "
    "FlashInferBackend backend (support: AttentionCGSupport.UNIFORM_BATCH); setting cudagraph_mode=FULL_AND_PIECEWISE\n"
)


class Capping(ReplayEngine):
    """An engine that admits no more sequences than a step has tokens, and that names the graphs as vLLM does."""

    def resolve(self, arguments: tuple[str, ...]) -> Resolved | Failed:
        found = super().resolve(arguments)
        assert isinstance(found, Resolved)
        settings = dict(found.settings)
        settings["max_num_seqs"] = min(int(settings["max_num_seqs"]), int(settings["max_num_batched_tokens"]))
        settings[MODE] = settings.pop(GRAPHS)
        digest = digest_of(arguments[0], settings)
        return Resolved(settings={**settings, GRAPHS: settings[MODE]}, digest=digest, compile_key=str(settings[MODE]))


class Study:
    """Over SPACE, with the measurements of its defaults for all; `says` is what a launch writes into its log."""

    def __init__(self, folder: Path, trials: int, says: Callable[[Job], str] = lambda job: "") -> None:
        self.folder, self.says, self.trials = folder, says, trials
        rates = {seqs: line(float(seqs), params={"max_num_seqs": seqs}) for seqs in (16, 32, 64, 128, 256)}
        self.surface = written(folder, header(defaults=dict(DEFAULTS)), *rates.values())
        self.watch, self.launched = Saboteur(), list[int]()
        self.url = f"sqlite:///{folder / 'x.db'}"

    def setup(self) -> Setup:
        (self.folder / "caches").mkdir(exist_ok=True)
        caches = Caches(self.folder / "caches")
        caches.mark_warm()
        clock, surface = VirtualClock(), open_surface(self.surface)
        surface.within(SPACE)
        answers = surface.runner(clock)

        async def run(job: Job, *told: Any) -> Outcome:
            self.launched.append(job.salt)
            job.log.write_text(self.says(job))
            return await answers(job, *told)

        return Setup(
            study="twins",
            storage=self.url,
            space=SPACE,
            launcher=VllmLauncher(python=Path("python"), model="some/model"),
            workload=PRESETS["chat"],
            objective=OBJECTIVES["throughput"],
            slos=(),
            gpus=(),
            fingerprint=replace(FINGERPRINT, engine_version=surface.fingerprint_text),
            trials=self.trials,
            warm=False,
            trial_timeout_s=None,
            max_hours=None,
            verify=0,
            seed=1,
            logs=self.folder / "logs",
            caches=caches,
            clock=clock,
            run=run,
            may_stop=False,
        )

    def run(self) -> list[Trial]:
        store = Store.open(self.url)
        try:
            with Capping(open_surface(self.surface), SPACE) as engine:
                run_study(self.setup(), store, engine, self.watch)
            return store.trials("twins")
        finally:
            store.close()


def _equals(trial: Trial) -> int | None:
    return trial.outcome.equals if isinstance(trial.outcome, Twin) else None


def test_what_resolves_alike_is_launched_once_and_counts_once(tmp_path: Path) -> None:
    """No more sequences than a step has tokens: of 15 pairs of the two sizes 6 are left, and 12 with the two modes."""
    study = Study(tmp_path, trials=8)
    trials = study.run()
    launched = [trial for trial in trials if trial.attempts]
    assert [trial.number for trial in launched] == study.launched
    assert len(launched) == 8
    sizes = [(t.resolved["max_num_seqs"], t.resolved["max_num_batched_tokens"], t.resolved[MODE]) for t in launched]
    assert len(set(sizes)) == len(sizes)
    twins = [trial for trial in trials if isinstance(trial.outcome, Twin)]
    assert twins
    for twin in twins:
        one = trials[_equals(twin) or 0]
        assert isinstance(one.outcome, Measured)
        assert (one.digest, one.resolved) == (twin.digest, twin.resolved)
        assert (twin.attempts, twin.started_at) == (0, twin.ended_at)


def test_a_space_of_which_nothing_new_is_left_ends_with_its_own_sentence(tmp_path: Path) -> None:
    study = Study(tmp_path, trials=40)
    trials = study.run()
    assert len(study.launched) <= 12
    last = study.watch.notes[-1]
    assert last in (
        "the search ends here: 50 of the last 50 proposals equal settings that were launched",
        "every setting of the search space that can run has been tried",
    )
    assert len({frozenset(trial.params.items()) for trial in trials}) == len(trials)  # none was proposed again


def test_fifty_twins_in_a_row_end_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.study.loop._IN_A_ROW", 3)
    study = Study(tmp_path, trials=40)
    trials = study.run()
    assert [_equals(trial) is None for trial in trials[-3:]] == [False] * 3
    assert study.watch.notes[-1] == (
        "the search ends here: 3 of the last 3 proposals equal settings that were launched"
    )


def test_a_mode_that_fell_back_is_not_launched_beside_the_one_it_became(tmp_path: Path) -> None:
    """Once a start has shown it: until then the first of the two modes that is proposed is launched."""

    def says(job: Job) -> str:
        return FELL_BACK if job.params.get(GRAPHS) == "FULL" else ""

    study = Study(tmp_path, trials=40, says=says)
    trials = study.run()
    fell = [trial for trial in trials if trial.effective]
    assert fell
    assert all(trial.effective == {MODE: "FULL_AND_PIECEWISE"} for trial in fell)
    assert all((trial.resolved[MODE], trial.params[GRAPHS]) == ("FULL", "FULL") for trial in fell)
    launched = [trial for trial in trials if trial.attempts]
    after = [trial for trial in launched if trial.number > fell[0].number]
    sizes = [(trial.resolved["max_num_seqs"], trial.resolved["max_num_batched_tokens"]) for trial in launched]
    assert len(set(sizes)) >= len(sizes) - 1  # the first one of FULL may have been launched in the other mode before
    assert after
    why = [trial.outcome.why for trial in trials if isinstance(trial.outcome, Twin)]
    assert f"{MODE} FULL became FULL_AND_PIECEWISE" in why


def test_optuna_is_told_nothing_of_a_twin_but_what_it_equals(tmp_path: Path) -> None:
    trials = Study(tmp_path, trials=8).run()
    found = optuna.load_study(study_name="twins", storage=f"sqlite:///{tmp_path / 'x.db'}").trials
    assert [trial.number for trial in found] == [trial.number for trial in trials]
    for trial, told in zip(trials, found, strict=True):
        assert (told.state.name == "FAIL") == isinstance(trial.outcome, Twin)
        if isinstance(trial.outcome, Twin):
            assert told.value is None
            assert told.user_attrs["status"] == f"equals trial {trial.outcome.equals}"


def test_a_study_goes_on_with_the_twins_it_has(tmp_path: Path) -> None:
    first = Study(tmp_path, trials=6)
    before = first.run()
    second = Study(tmp_path, trials=9)
    after = second.run()
    assert after[: len(before)] == before
    assert len(second.launched) == 3
    launched = [trial for trial in after if trial.attempts]
    assert len({trial.digest + str(trial.resolved[MODE]) for trial in launched if trial.digest}) == 9


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trial]:
    """A study, and a twin in it."""
    folder = tmp_path_factory.mktemp("stored")
    trials = Study(folder, trials=5, says=lambda job: FELL_BACK if job.params.get(GRAPHS) == "FULL" else "").run()
    return folder, next(trial for trial in trials if isinstance(trial.outcome, Twin))


def _said(folder: Path, *words: str) -> str:
    done = tuner(folder, *words, "--storage", "sqlite:///x.db")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_says_which_trial_it_equals(stored: tuple[Path, Trial]) -> None:
    folder, twin = stored
    said = f"equals trial {_equals(twin)}"
    assert said in _said(folder, "trials", "twins", "--all")
    shown = _said(folder, "show", "twins", str(twin.number))
    assert f"trial {twin.number}: {said}" in shown
    assert f"not launched, for it {said}: " in shown
    listed = json.loads(_said(folder, "trials", "twins", "--json", "-"))["list"]
    (one,) = [trial for trial in listed if trial["trial"] == twin.number]
    assert (one["equals"], one["metrics"], one["failure"], one["attempts"]) == (_equals(twin), None, None, 0)
    assert {trial["compile_key"] for trial in listed} == {"FULL", "FULL_AND_PIECEWISE"}
    fell = next(trial for trial in listed if trial["effective"])
    shown = _said(folder, "show", "twins", str(fell["trial"]))
    assert f"when it started, {MODE} FULL became FULL_AND_PIECEWISE" in " ".join(shown.split())


def test_a_twin_is_exported_as_what_it_equals(stored: tuple[Path, Trial]) -> None:
    folder, twin = stored
    done = tuner(folder, "export", "twins", "--trial", str(twin.number), "--storage", "sqlite:///x.db")
    assert done.returncode == UsageError.exit_code
    assert f"export that (--trial {_equals(twin)})" in done.stderr
    lines = [json.loads(text) for text in _said(folder, "export", "twins", "--format", "surface").splitlines()[1:]]
    (one,) = [line for line in lines if line["params"] == dict(twin.params)]
    assert one["equals"] == _equals(twin)
    with closing(sqlite3.connect(folder / "x.db")) as database:
        assert len(lines) == database.execute("SELECT count(*) FROM tuner_trial").fetchone()[0]
    (folder / "again.jsonl").write_text(_said(folder, "export", "twins", "--format", "surface"))
    assert open_surface(folder / "again.jsonl").within(SPACE).points
