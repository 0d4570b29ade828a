"""A real vLLM, asked on a node of a real Ray by a coordinator that has none; and what may be lost between the two."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import conftest
import psutil
import pytest
from ray_processes import MARK, is_gone, is_on, marked
from waiting import wait_for

from tuner.errors import EngineError
from tuner.execute.messages import NodeReport, Sought
from tuner.execute.node_environment import cards_of_node, show_all_cards
from tuner.execute.ray_connection import Node, connection
from tuner.execute.ray_engine import asking, preferred
from tuner.execute.ray_nodes import Survey
from tuner.launch.engine import CannotFork
from tuner.types import DetectedGpu, Failed, Resolved

pytest.importorskip("ray", reason="no Ray: pip install 'tuner[ray]'")

ray_with_vllm = [
    pytest.mark.ray,
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's own pipes
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
T4 = DetectedGpu(index=0, uuid="GPU-1", name="Tesla T4", memory_bytes=1, compute_capability=(7, 5), driver="580.1")


@pytest.fixture
def cluster(engine_python: Path) -> Iterator[Any]:
    """A head without room for a server, and two nodes that have vLLM."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNER_VLLM_PYTHON", str(engine_python))
        patch.setenv(MARK, str(os.getpid()))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0, "include_dashboard": False})
        conftest._LOOPBACK.add(made.address.rpartition(":")[0])  # this host
        made.nodes = [made.add_node(num_cpus=2, num_gpus=0) for _ in range(2)]
    yield made
    made.shutdown()


def engines() -> list[psutil.Process]:
    """The processes with vLLM in them that the cluster's nodes have."""
    return marked("serve_forks", "vllm", "VLLM")


def resolved(answer: Resolved | Failed) -> Resolved:
    assert isinstance(answer, Resolved), answer
    return answer


class TestAsked:
    pytestmark = ray_with_vllm

    def test_an_actor_or_a_node_that_is_lost_is_replaced_and_the_last_one_leaves_nothing(
        self, cluster: Any, demo_model: Path
    ) -> None:
        told = list[str]()
        sought = Sought(model=str(demo_model))
        with connection(cluster.address) as ray, asking(ray, sought, told.append) as engine:
            assert engine.shown.cards.gpus == ()
            assert engine.shown.python == Path(os.environ.get("TUNER_VLLM_PYTHON") or engine.shown.python)
            engine.begin({})
            assert (engine.info.platform, engine.is_alive) == ("cpu", True)
            assert engine.host_speed(engine.shown.python).python_s > 0
            assert resolved(engine.resolve((str(demo_model), "--max-num-seqs", "7"))).settings["max_num_seqs"] == 7
            assert isinstance(engine.resolve((str(demo_model), "--max-num-seqs", "seven")), Failed)
            with pytest.raises(CannotFork), (demo_model / "config.json").open("rb") as log:
                engine.fork((), {}, log)
            assert ray.available_resources()["CPU"] == 5  # it takes none

            first = engines()
            assert first
            (actor,) = {one.ppid() for one in first if "guard.py" in " ".join(one.cmdline())}
            os.kill(actor, signal.SIGKILL)
            wait_for(lambda: is_gone(first), 20)
            assert resolved(engine.resolve((str(demo_model), "--max-num-seqs", "8"))).settings["max_num_seqs"] == 8
            assert "Ray's worker on node " in told[0]
            assert told[0].endswith(" died while vLLM was asked there: another node is asked")

            second = engines()
            guard = next(one for one in second if "guard.py" in " ".join(one.cmdline()))
            node = next(one for one in cluster.nodes if is_on(one, guard))
            cluster.remove_node(node, allow_graceful=False)
            wait_for(lambda: is_gone(second), 30)
            assert resolved(engine.resolve((str(demo_model), "--max-num-seqs", "9"))).settings["max_num_seqs"] == 9
            assert len(told) == 2

            third = engines()
            assert third
            (last,) = [one for one in cluster.nodes if one is not node]
            cluster.remove_node(last, allow_graceful=False)
            wait_for(lambda: is_gone(third), 30)  # a worker answers until it has noticed
            with pytest.raises(EngineError, match=r"no node of the Ray cluster (has 2 cores|can .*it was lost$)"):
                engine.resolve((str(demo_model),))

    def test_what_is_asked_leaves_nothing_when_it_is_closed_and_no_place_that_is_none(
        self, cluster: Any, demo_model: Path
    ) -> None:
        with connection(cluster.address) as ray:
            with asking(ray, Sought(model=str(demo_model)), print) as engine:
                engine.begin({})
                mine = engines()
                assert mine
            wait_for(lambda: is_gone(mine), 10)
            nowhere = Sought(model=str(demo_model / "gone"))
            with (
                pytest.raises(EngineError, match=r"no node of the Ray cluster can run the study: .*it has no model"),
                asking(ray, nowhere, print),
            ):
                pass

    @pytest.mark.long
    def test_a_coordinator_needs_no_vllm_and_leaves_nothing_when_it_is_killed(
        self, cluster: Any, demo_model: Path, tmp_path: Path
    ) -> None:
        """By SIGKILL. The same command goes on, no log has its secret, and `auto` is what the cluster has."""
        words = [
            sys.executable,
            "-m",
            "tuner",
            "optimize",
            "--gpu",
            "auto",
            "--model",
            str(demo_model),
            "--trials",
            "1",
        ]
        words += ["--users", "2", "--window", "2", "--precision", "0.5", "--verify", "0"]
        words += ["--executor", "ray", "--address", cluster.address]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER_")}
        without = clean | {
            "PATH": "/usr/bin:/bin",
            "HF_TOKEN": "hf_asecretofthecoordinators",
            "CUDA_VISIBLE_DEVICES": "7",
        }
        with (tmp_path / "said").open("wb") as said:
            killed = subprocess.Popen(words, cwd=tmp_path, env=without, stdout=said, stderr=said)
            wait_for(lambda: b"trial 0:" in (tmp_path / "said").read_bytes() or killed.poll() is not None, 200)
            wait_for(lambda: len([one for one in engines() if "guard.py" in " ".join(one.cmdline())]) >= 2, 60)
            left = engines()
            killed.kill()
            killed.wait()
        wait_for(lambda: is_gone(left), 30)
        done = subprocess.run(words, cwd=tmp_path, env=without, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "importing vLLM with " in done.stderr
        assert "on node " in done.stderr
        wait_for(lambda: not engines(), 20)
        for folder in (tmp_path, Path(cluster.head_node.get_session_dir_path())):
            for file in folder.rglob("*"):
                assert not file.is_file() or b"hf_asecret" not in file.read_bytes(), file


def test_the_nodes_with_the_most_cards_are_asked_first_then_those_that_most_are_like() -> None:
    nodes = [Node(id=str(number), address=f"10.0.0.{number}", resources={}) for number in range(4)]
    reports = {"0": ("Xeon", 1), "1": ("EPYC", 1), "2": ("EPYC", 1), "3": ("Xeon D", 2)}
    found = Survey(
        fit=nodes,
        reports={
            name: NodeReport(gpus=(T4,) * count, processor=processor, time_s=0.0)
            for name, (processor, count) in reports.items()
        },
    )
    assert [node.id for node in preferred(found)] == ["3", "1", "2", "0"]


def test_cards_are_those_that_ray_was_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ray hides from a worker that takes none is not hidden from vLLM."""
    two = [T4, replace(T4, index=1, uuid="GPU-2", name="NVIDIA L4")]
    monkeypatch.setattr("tuner.execute.node_environment.detect", lambda: two)
    monkeypatch.setattr("tuner.execute.node_environment._of_parent", lambda: {"CUDA_VISIBLE_DEVICES": "1"})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [gpu.name for gpu in cards_of_node().gpus] == ["NVIDIA L4"]
    show_all_cards()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.setattr("tuner.execute.node_environment._of_parent", dict)
    assert len(cards_of_node().gpus) == 2
    show_all_cards()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
