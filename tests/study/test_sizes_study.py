"""Studies in which the parallel sizes are settings: which cards a launch gets, what is told of each, what is refused."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import commands
import pytest
from samples import measured

from tuner.decide.early import Outdo
from tuner.decide.objective import OBJECTIVES
from tuner.errors import UsageError
from tuner.launch.engine import EngineInfo
from tuner.launch.job import Job
from tuner.space.files import load_space
from tuner.space.parallel import SIZES, gpus_of, most_gpus
from tuner.study.decided import fixed_gpus_of, objectives_of
from tuner.study.identity import record_of
from tuner.study.launches import run_recorded
from tuner.study.options import Options
from tuner.study.setup import Setup, choose_space, make_setup
from tuner.types import DetectedGpu, Outcome, Params

SIM = ("--engine", "sim", "--gpu", "t4", "--verify", "0", "--stop", "never", "--study", "s")


def cards(count: int) -> list[DetectedGpu]:
    return [
        DetectedGpu(
            index=index,
            uuid=f"GPU-{index}",
            name="Tesla T4",
            memory_bytes=2**34,
            compute_capability=(7, 5),
            driver="550.1",
        )
        for index in range(count)
    ]


def setup(folder: Path, count: int = 4, **asked: Any) -> Setup:
    options = Options(gpu="t4", cache_dir=folder / "caches", log_dir=folder / "logs", start="plain", **asked)
    space = choose_space(options, cards(count))
    whole = load_space("t4")
    info = EngineInfo("0.32.0", "cuda", frozenset({*whole.parameters, *whole.fixed, *SIZES}), 10.0)
    return make_setup(options, space, Path("/opt/engine/bin/python"), info, cards(count))


def job_of(known: Setup, params: Params, outdo: Outdo | None = None) -> Job:
    """What a launch of these settings is given."""
    jobs: list[Job] = []

    async def run(job: Job, *_: Any) -> Outcome:
        await asyncio.sleep(0)
        jobs.append(job)
        return measured()

    known.caches.mark_warm()
    watch: Any = SimpleNamespace(phase=print, note=print, underway=print)
    command = known.launcher.command(params)
    run_recorded(replace(known, run=run), None, watch, 1, command, params, outdo=outdo)  # type: ignore[arg-type]
    return jobs[0]


def test_a_trial_has_as_many_of_the_cards_as_its_sizes_need(tmp_path: Path) -> None:
    known = setup(tmp_path, groups="parallel")
    assert [gpu.index for gpu in known.gpus] == [0, 1, 2, 3]
    seen = {**known.launcher.caches, "CUDA_VISIBLE_DEVICES": "GPU-0,GPU-1,GPU-2,GPU-3"}
    known = replace(known, launcher=replace(known.launcher, caches=seen))
    for params, count in (
        ({}, 1),
        ({"tensor_parallel_size": 2}, 2),
        ({"pipeline_parallel_size": 2, "data_parallel_size": 2}, 4),
        ({"prefill_context_parallel_size": 2}, 2),
    ):
        job = job_of(known, params)
        assert [gpu.index for gpu in job.gpus] == list(range(count))
        assert job.gpu_count == count
        named = ",".join(f"GPU-{index}" for index in range(count))
        assert job.launcher.caches["CUDA_VISIBLE_DEVICES"] == named


def test_where_a_card_counts_twice_the_cards_must_do_twice_as_much(tmp_path: Path) -> None:
    bar = Outdo(trial=0, metric="output_throughput", maximize=True, value=100.0, margin=0.1, gpus=2)
    known = setup(tmp_path, groups="parallel")
    for found, value in ((bar, 200.0), (replace(bar, gpus=None), 100.0)):
        job = job_of(known, {"tensor_parallel_size": 4}, found)
        assert job.outdo is not None
        assert job.outdo.value == value


@pytest.mark.parametrize(("count", "searched"), [(1, 0), (2, 3), (8, 3)])
def test_only_sizes_that_this_machine_has_cards_for_are_searched(tmp_path: Path, count: int, searched: int) -> None:
    found = setup(tmp_path, count, groups="batch,parallel")
    assert sum(name in found.space.parameters for name in SIZES) == searched
    assert len(found.gpus) == count
    assert setup(tmp_path, count, groups="all").gpus == tuple(cards(1))


def test_hand_settings_may_have_sizes_that_are_searched(tmp_path: Path) -> None:
    found = setup(tmp_path, groups="batch,parallel", baseline=["-tp 2 --max-num-seqs 64"])
    assert found.baselines[0].params["tensor_parallel_size"] == 2
    with pytest.raises(UsageError, match="it takes 8 GPUs, and a server of this study has 4 at the most"):
        setup(tmp_path, groups="batch,parallel", baseline=["-tp 4 -dp 2"])
    with pytest.raises(UsageError, match="give --engine-arg tensor_parallel_size=2"):
        setup(tmp_path, groups="batch", baseline=["-tp 2"])


def test_where_servers_run_at_once_each_has_its_part_of_the_cards(tmp_path: Path) -> None:
    found = setup(tmp_path, 4, groups="batch,parallel", parallel="2")
    assert most_gpus(found.space) == 2
    with pytest.raises(UsageError, match="it takes 4 GPUs, and a server of this study has 2 at the most"):
        setup(tmp_path, 4, groups="batch,parallel", parallel="2", baseline=["-tp 4"])
    with pytest.raises(UsageError, match="its tensor_parallel_size is 2 and that of all trials is 1"):
        setup(tmp_path, 2, groups="batch,parallel", parallel="2", baseline=["-tp 2"])


def test_hand_settings_may_have_engines_that_share_a_gpu(tmp_path: Path) -> None:
    hand = setup(tmp_path, baseline=["--engines-per-gpu 2"])
    assert int(hand.launcher.command(hand.baselines[0].params).settings["kv_cache_memory_bytes"]) > 2**30
    as_nodes = "--data-parallel-size 2 --data-parallel-size-local 1"
    assert gpus_of(setup(tmp_path, baseline=[as_nodes]).baselines[0].params) == 1


@pytest.mark.parametrize(
    ("baseline", "more", "why"),
    [
        ("--engines-per-gpu two", {}, "engines_per_gpu two: expected how many"),
        ("--engines-per-gpu 0", {}, "engines_per_gpu 0: expected how many"),
        ("--engines-per-gpu 2 --gpu-memory-utilization high", {}, "gpu_memory_utilization high: expected a number"),
        ("--engines-per-gpu 2 --data-parallel-size two", {}, "data_parallel_size two: expected a whole number"),
        ("--engines-per-gpu 2 --kv-cache-memory-bytes auto", {}, "kv_cache_memory_bytes auto: expected a whole"),
        ("--engines-per-gpu 2", {"model": "Qwen/Qwen3-30B-A3B"}, "engines_per_gpu: .* through NCCL"),
    ],
)
def test_engines_that_hand_settings_cannot_have_are_refused_before_a_launch(
    tmp_path: Path, baseline: str, more: dict[str, Any], why: str
) -> None:
    with pytest.raises(UsageError, match=f"--baseline {baseline}: .*{why}"):
        setup(tmp_path, baseline=[baseline], groups="batch,parallel", **more)


def test_a_price_is_of_the_cards_that_a_trial_uses(tmp_path: Path) -> None:
    found = setup(tmp_path, objective=["cost"], price=0.5, groups="batch,parallel")
    fixed = setup(tmp_path, objective=["cost"], price=0.5, engine_arg=["tensor_parallel_size=2"])
    two = replace(measured().load, gpus=2)
    assert found.objective.of_load(two) == fixed.objective.of_load(two)
    assert found.objective.of_load(two) == 2 * (found.objective.of_load(replace(two, gpus=1)) or 0.0)
    for known, price, gpus in ((found, 0.5, 1), (fixed, 1.0, 2)):
        stored = record_of(known)
        assert (stored.settings["price_per_hour"], fixed_gpus_of(stored)) == (price, gpus)
        assert objectives_of(stored) == known.objectives


def test_two_objectives_of_one_order_are_two_where_sizes_are_searched(tmp_path: Path) -> None:
    both = ["throughput", "throughput_per_gpu"]
    assert len(setup(tmp_path, objective=both, groups="parallel").objectives) == 2
    with pytest.raises(UsageError, match="says nothing beside --objective throughput: all servers"):
        setup(tmp_path, objective=both)
    assert OBJECTIVES["throughput_per_gpu"].is_per_gpu


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "tuner.db")) as database:
        return database.execute(sql).fetchall()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("sizes")
    asked = ("--groups", "parallel", "--trials", "6", "--objective", "throughput_per_gpu", "--price", "0.35")
    done = commands.tuner(found, "optimize", *SIM, *asked)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return found


def test_a_simulated_study_over_sizes(folder: Path) -> None:
    sql = "SELECT t.number, m.name, m.value FROM tuner_trial t JOIN tuner_metric m ON m.trial_id = t.id"
    found: dict[int, dict[str, float]] = {}
    for number, name, value in rows(folder, sql):
        found.setdefault(number, {})[name] = value
    assert found[0]["gpus"] == 1.0
    assert {one["gpus"] for one in found.values()} > {1.0}
    for one in found.values():
        assert one["output_throughput_per_gpu"] == pytest.approx(one["output_throughput"] / one["gpus"])
    refused = rows(folder, "SELECT params, attempts FROM tuner_trial WHERE failure_kind = 'rejected'")
    assert all(attempts == 0 for _, attempts in refused)  # 12 heads are not divided by 8


def test_cards_are_told_in_tables_and_exports(folder: Path) -> None:
    table = commands.tuner(folder, "trials", "s")
    assert table.returncode == 0
    assert "GPUs" in table.stdout
    assert "tok/s a GPU" in table.stdout
    number = rows(
        folder,
        "SELECT t.number FROM tuner_trial t JOIN tuner_metric m ON m.trial_id = t.id WHERE m.name = 'gpus' AND m.value > 1",
    )[0][0]
    shown = commands.tuner(folder, "show", "s", str(number))
    assert "output_throughput_per_gpu" in shown.stdout
    exported = commands.tuner(folder, "export", "s", "--trial", str(number), "--format", "json")
    assert '"output_throughput_per_gpu"' in exported.stdout


def test_a_size_that_vllm_refuses_is_named(tmp_path: Path) -> None:
    done = commands.tuner(tmp_path, "optimize", *SIM, "--engine-arg", "tensor_parallel_size=5")
    assert done.returncode == 1
    assert "what is fixed (dtype=half tensor_parallel_size=5)" in " ".join(done.stderr.split())


def test_engines_that_share_a_gpu_are_planned_for_where_they_are_fixed(tmp_path: Path) -> None:
    asked = ("--gpu", "h200", "--users", "8", "--groups", "batch", "--engine-arg", "engines_per_gpu=2", "--json", "-")
    done = commands.tuner(tmp_path, "plan", *asked)
    assert done.returncode == 0, done.stderr
    assert "engines that share a GPU take turns on it" in done.stdout
