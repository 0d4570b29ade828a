"""The benchmark of many launches on a Ray: what stands for a launch, and the table. `make bench-scale` starts Ray itself."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

sys.path.append(str(REPOSITORY / "benchmarks" / "scale"))
from ray_many import Found, Run, StandIn, table  # type: ignore[import-not-found]

from tuner.launch.job import Job
from tuner.study.engines import set_up
from tuner.study.options import Options
from tuner.types import Measured

RUN = Run(sampler="random", trials=9, seconds=10, is_predicted=True, cards=64, killed=0.05, minutes=1)
FOUND = Found(
    begun=9,
    ours=8,
    optunas=9,
    lost=1,
    doubled=0,
    launches=10,
    killed=1,
    again=1,
    resumed=0,
    wall_s=20,
    cpu_s=5,
    loop_s=4,
    launch_s=100,
    late_cpu_s=0.7,
)


def job(folder: Path, number: int) -> Job:
    with set_up(Options(engine="sim", gpu="t4", users=2), lambda text: None) as (setup, _):
        return Job(
            launcher=setup.launcher,
            command=setup.launcher.command({}),
            params={"max_num_seqs": 8},
            workload=setup.workload,
            gpus=(),
            log=folder / "log",
            salt=number,
        )


def test_what_stands_for_a_launch_leaves_a_trace_and_answers_the_same_again(tmp_path: Path) -> None:
    stand_in = StandIn(folder=tmp_path, seconds=0.0, killed=0.0)
    outcomes = [asyncio.run(stand_in(job(tmp_path, number), print, print, print)) for number in (0, 1, 1)]
    throughputs = [one.load.output_throughput for one in outcomes if isinstance(one, Measured)]
    assert len(throughputs) == 3
    assert all(95 < (value or 0) < 105 for value in throughputs)
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {f"{launch}.{state}" for launch in ("0-0", "1-0", "1-1") for state in ("begun", "ended")}


def test_a_worker_is_killed_in_the_share_that_was_asked_for(tmp_path: Path) -> None:
    script = (
        "import sys, asyncio; sys.path[:0] = sys.argv[1:3]\n"
        "from pathlib import Path\n"
        "import test_ray_many as t\n"
        "folder = Path(sys.argv[3])\n"
        "stand_in = t.StandIn(folder=folder, seconds=0.0, killed=1.0)\n"
        "asyncio.run(stand_in(t.job(folder, 0), print, print, print))\n"
    )
    paths = [str(REPOSITORY / "tests"), str(REPOSITORY / "benchmarks" / "scale"), str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"0-0.begun", "0-0.killed"}


def test_the_table_tells_what_was_asked_for_and_what_is_there() -> None:
    lines = list(table({RUN: FOUND}))
    assert "| in tuner's table, in Optuna's | 8, 9 |" in lines
    assert "| lost, doubled | 1, 0 |" in lines
    assert "| of one core | 25 % |" in lines
    assert FOUND.share(64, 300) == pytest.approx(64 * 5 / 8 / 300)
